"""Runs the code of docs/clients.md and docs/web.md without changes: the room, the page, and the Python client."""

from __future__ import annotations

import asyncio
import importlib
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from playwright.async_api import Browser, Page

from tests.browser.conftest import ROOT, errors_of, open_page
from tests.harness.polling import eventually
from tests.harness.shard_process import running
from tickwire.server.config import Settings
from tickwire.server.edge.settings import EdgeSettings

WEB_GUIDE = (ROOT / "docs" / "web.md").read_text()
TEXT = (ROOT / "docs" / "clients.md").read_text() + WEB_GUIDE


def block(language: str, beginning: str) -> str:
    """The code of that language that begins so."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return next(code for code in blocks if code.startswith(beginning))


def test_the_browser_s_square_takes_less_than_forty_lines() -> None:
    assert len(block("ts", "import { type Client").splitlines()) < 40


@pytest.fixture
async def squares(shard_settings: Settings, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of shards with the guide's room, and the guide's page at their address."""
    (tmp_path / "squares.py").write_text(block("python", "from tickwire import "))
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "index.html").write_text(block("html", "<!doctype html>").replace("square.ts", "square.js"))
    (tmp_path / "square.ts").write_text(block("ts", "import { type Client"))
    esbuild = ROOT / "web" / "node_modules" / ".bin" / "esbuild"
    alias = f"--alias:tickwire={ROOT / 'web' / 'sdk' / 'src' / 'index.ts'}"
    how = ["--bundle", "--format=esm", "--target=es2022", f"--outfile={pages / 'square.js'}", alias]
    bundling = await asyncio.create_subprocess_exec(str(esbuild), str(tmp_path / "square.ts"), *how, cwd=ROOT / "web")
    assert await asyncio.wait_for(bundling.wait(), 60) == 0
    return msgspec.structs.replace(
        shard_settings,
        rooms=["squares"],
        edge=EdgeSettings(origins=["*"]),
        listen=msgspec.structs.replace(shard_settings.listen, pages=str(pages)),
        drain_timeout_s=30.0,
    )


DRAWN_X = """() => {
  const { data } = document.querySelector('canvas').getContext('2d').getImageData(0, 0, 400, 400);
  let [sum, count] = [0, 0];
  for (let at = 3; at < data.length; at += 4) if (data[at]) { sum += (at >> 2) % 400; count++; }
  return count ? sum / count : -1;
}"""
"""Where the squares are drawn, in the mean; -1 when none is."""


async def wait_until_drawn(page: Page, condition: str) -> None:
    """Return once the drawn position `x` satisfies a condition."""
    await page.wait_for_function(f"() => {{ const x = ({DRAWN_X})(); return {condition}; }}", timeout=60_000)


async def test_the_guide_s_square_moves_in_a_browser_and_in_python(squares: Settings, browser: Browser) -> None:
    async with running(squares) as shard:
        page = await open_page(browser, f"{shard.url.replace('ws', 'http', 1)}/?server={shard.url}/")
        await wait_until_drawn(page, "Math.abs(x - 200) < 1")
        await page.keyboard.down("ArrowRight")
        await wait_until_drawn(page, "x > 250")
        assert errors_of(page) == []
        program = block("python", "import asyncio").replace("ws://127.0.0.1:8080/", f"{shard.url}/")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        said, _ = await asyncio.wait_for(process.communicate(), 90)
        place = re.search(r"the square is at \{'x': (\S+), 'y': 200.0\}", said.decode())
        assert place is not None, said
        assert float(place[1]) > 300


async def test_the_guide_s_square_moves_on_after_its_room_has_moved(squares: Settings, browser: Browser) -> None:
    async with running(squares) as one, running(squares) as other:
        page = await open_page(browser, f"{one.url.replace('ws', 'http', 1)}/?server={one.url}/")
        await wait_until_drawn(page, "Math.abs(x - 200) < 1")
        await page.keyboard.down("ArrowRight")
        await wait_until_drawn(page, "x > 250")
        await page.keyboard.up("ArrowRight")
        await one.drain()
        await eventually(lambda: len(other.parts.host) == 1, 20)
        await page.keyboard.down("ArrowLeft")
        await wait_until_drawn(page, "0 <= x && x < 150")
        assert errors_of(page) == []


async def test_the_built_package_plays_in_node(shard_settings: Settings, built: Path) -> None:
    program = """
import { connect } from "./sdk/dist/tickwire.js";
import WebSocket from "ws";
const client = await connect(process.argv[1], { socket: (url, protocol) => new WebSocket(url, protocol) });
const room = await client.join("garden");
const id = await client.command("plant", { x: 7.5 });
await new Promise((resolve) => {
  const end = client.on("state", () => client.world.table("flowers").has(id) && (end(), resolve()));
});
client.drop();
await new Promise((resolve) => client.on("reconnected", resolve));
const again = await client.command("planted");
console.log(JSON.stringify([room.roomType, client.world.table("flowers").number(id, "x"), again,
client.resumes])); client.close();
"""
    async with running(shard_settings) as shard:
        process = await asyncio.create_subprocess_exec(
            "node", "--input-type=module", "-e", program, f"{shard.url}/",
            cwd=ROOT / "web", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        said, complaints = await asyncio.wait_for(process.communicate(), 90)
        assert process.returncode == 0, complaints.decode()
        assert msgspec.json.decode(said) == ["garden", 7.5, 1, 1]
