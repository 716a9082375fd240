"""The npm package as it is published, in a fresh project: loaded by Node in both ways, typed, in a bundler's page."""

from __future__ import annotations

import asyncio
import re
import subprocess
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from playwright.async_api import Browser
from structlog.testing import capture_logs

from tests.browser.conftest import ROOT, errors_of, open_page
from tests.browser.test_clients import block, squares, wait_until_drawn
from tests.harness.bazaar_rooms import Bazaar
from tests.harness.shard_process import running
from tickwire.server.codegen.game_reader import read_game
from tickwire.server.codegen.typescript import generate_typescript
from tickwire.server.config import Settings
from tickwire.server.dev.local_stores import free_port
from tickwire.server.edge.origins import LOOPBACK
from tickwire.server.edge.settings import EdgeSettings

__all__ = ["squares"]  # a fixture of those tests, used here, too

MODULES = ROOT / "web" / "node_modules"
PLAY = """
connect(process.argv[1], { socket: (url, protocol) => new WebSocket(url, protocol) }).then(async (client) => {
  await client.join("garden");
  console.log(JSON.stringify([client instanceof Client, await client.command("planted")]));
  client.close();
});
"""
LOADERS = {
    "import": ("module", "import { connect, Client } from 'tickwire';\nimport WebSocket from 'ws';\n"),
    "require": (
        "commonjs",
        "const { connect, Client } = require('tickwire');\nconst WebSocket = require('ws');\n",
    ),
}
TYPED = """import { connect, type Client, type Plain } from "tickwire";
export async function play(url: string): Promise<Plain> {
  const client: Client = await connect(url);
  return client.command("planted");
}
"""

BAZAAR = """import { connect, type Room } from "tickwire";
import type { Rooms } from "./rooms.js";

export async function trade(url: string): Promise<Date | string | null | undefined> {
  const client = await connect<Rooms>(url);
  const room: Room<Rooms["grand-bazaar"]> = await client.join("grand-bazaar", { options: { nickname: "ann" } });
  room.sendInput({ walk: 1 });
  const count: number = await room.commands.sell({ listing: { item: "sword", price: 5, currency: "gems" } });
  const page = await room.commands.browse({ order: "price" });
  const reply: unknown = await room.commands.buy({ listing: page.listings[0]!.item });
  const nothing: null = await room.commands.wave();
  room.on("trade", ({ how }) => console.log(how.type === "sale" ? how.amount : how.to, count, reply, nothing));
  room.on("listing_added", ({ booths }) => booths[7]?.place[0].toFixed());
  const name: string | undefined = room.table("merchants").value(room.entity, "name");
  // @ts-expect-error
  await room.commands.sell({ listing: { item: "sword", price: 5, currency: "silver" } });
  // @ts-expect-error
  await room.commands.sell({ count: 2 });
  // @ts-expect-error
  await room.commands.browse({ order: "size" });
  // @ts-expect-error
  room.on("trade", ({ how }) => how.amount);
  // @ts-expect-error
  room.table("merchants").number(room.entity, "debts");
  // @ts-expect-error
  await client.join("grand-bazaar", { options: { coins: 3 } });
  // @ts-expect-error
  await client.join("grand-bazaar", { options: { coins: 3 } });
  // @ts-expect-error
  await client.join("garden");
  return name;
}
"""


@pytest.fixture
def project(built: Path, tmp_path: Path) -> Path:
    """A new project that has installed the packed package."""
    folder = tmp_path / "project"
    modules = folder / "node_modules"
    modules.mkdir(parents=True)
    for name in ("flatbuffers", "ws", "vite", "typescript", "@types"):
        (modules / name).symlink_to(MODULES / name)
    pack = ["npm", "pack", "--ignore-scripts", "--silent", "--pack-destination", str(tmp_path)]
    packed = subprocess.run(pack, cwd=ROOT / "web" / "sdk", check=True, capture_output=True, text=True, timeout=180)
    with tarfile.open(tmp_path / packed.stdout.strip()) as archive:
        archive.extractall(tmp_path, filter="data")
    (tmp_path / "package").rename(modules / "tickwire")
    (folder / "package.json").write_text('{ "type": "module" }')
    return folder


@pytest.mark.parametrize("how", LOADERS)
async def test_the_package_plays_in_node_however_it_is_loaded(
    shard_settings: Settings, project: Path, how: str
) -> None:
    input_type, head = LOADERS[how]
    async with running(shard_settings) as shard:
        process = await asyncio.create_subprocess_exec(
            "node", f"--input-type={input_type}", "-e", head + PLAY, f"{shard.url}/",
            cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        said, complaints = await asyncio.wait_for(process.communicate(), 40)
        assert process.returncode == 0, complaints.decode()
        assert msgspec.json.decode(said) == [True, 0]


@pytest.mark.parametrize("suffix", ["mts", "cts"])
def test_the_package_has_types_in_modules_of_both_kinds(project: Path, suffix: str) -> None:
    (project / f"play.{suffix}").write_text(TYPED)
    check_types(project, f"play.{suffix}")


def test_generated_types_of_a_game_check_the_use_of_its_rooms(project: Path) -> None:
    (project / "rooms.ts").write_text(generate_typescript(read_game({"grand-bazaar": Bazaar})))
    (project / "bazaar.ts").write_text(BAZAAR)
    check_types(project, "bazaar.ts")


def check_types(project: Path, file: str) -> None:
    """Compile a file, in which each mistake must have a line `@ts-expect-error` above it."""
    compiler = ["node", "node_modules/typescript/bin/tsc", "--noEmit", "--strict", "--module", "node16"]
    libraries = ["--target", "es2022", "--lib", "es2022,dom,dom.iterable"]
    command = [*compiler, *libraries, file]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout


@asynccontextmanager
async def vite_page(project: Path) -> AsyncIterator[str]:
    """The guide's page on Vite's development server; its origin."""
    (project / "index.html").write_text(block("html", "<!doctype html>"))
    (project / "square.ts").write_text(block("ts", "import { type Client"))
    port = free_port()
    command = ["node_modules/vite/bin/vite.js", "--host", "localhost", "--port", str(port), "--strictPort"]
    process = await asyncio.create_subprocess_exec(
        "node", *command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(90):
            while b"localhost" not in await process.stdout.readline():
                assert process.returncode is None
        yield f"http://localhost:{port}"
    finally:
        process.terminate()
        await process.wait()


def with_origins(settings: Settings, *origins: str) -> Settings:
    return msgspec.structs.replace(settings, edge=EdgeSettings(origins=list(origins)))


async def test_the_guide_s_page_plays_in_a_fresh_vite_project(
    squares: Settings, project: Path, browser: Browser
) -> None:
    development = with_origins(squares, LOOPBACK)  # as `tickwire dev` runs it
    async with vite_page(project) as origin, running(development) as shard:
        page = await open_page(browser, f"{origin}/?server={shard.url}/")
        await wait_until_drawn(page, "Math.abs(x - 200) < 1")
        await page.keyboard.down("ArrowRight")
        await wait_until_drawn(page, "x > 250")
        assert errors_of(page) == []


async def test_a_page_whose_origin_is_refused_says_so_with_the_setting(
    squares: Settings, project: Path, browser: Browser
) -> None:
    async with (
        vite_page(project) as origin,
        running(with_origins(squares, "https://play.game.example")) as shard,
    ):
        with capture_logs() as lines:
            page = await open_page(browser, f"{origin}/?server={shard.url}/")
            await page.wait_for_function("() => document.body.innerText.includes('cannot connect')")
        assert [(line["origin"], line["setting"]) for line in lines if line["event"] == "origin_refused"] == [
            (origin, "edge.origins")
        ]
        text = await page.inner_text("body")
        assert re.search(rf"cannot connect to {shard.url}/.*origin {origin} .*edge\.origins", text), text


def test_the_guide_s_page_is_built_by_vite(project: Path) -> None:
    (project / "index.html").write_text(block("html", "<!doctype html>"))
    (project / "square.ts").write_text(block("ts", "import { type Client"))
    build = ["node", "node_modules/vite/bin/vite.js", "build"]
    done = subprocess.run(build, cwd=project, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    assert list((project / "dist" / "assets").glob("*.js"))
