"""The npm package as it is published, installed in an empty project: its files, its types, and its use in Node.

Decision 64 has the reasons for its two builds."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.browser.conftest import require
from tests.browser.npm_projects import Project, installed, package, package_tools, project, run
from tests.harness.bazaar_rooms import Bazaar
from tests.harness.shard_process import running
from tickwire.server.codegen.game_reader import read_game
from tickwire.server.codegen.typescript import generate_typescript
from tickwire.server.config import Settings
from tickwire.server.shard import Shard

__all__ = ["installed", "package", "package_tools", "project"]  # fixtures, used here

PLAY = """
connect(process.argv[2], OPTIONS).then(async (client) => {
  const room = await client.join("garden");
  const id = await client.command("plant", { x: 7.5 });
  while (!client.world.table("flowers").has(id)) await new Promise((resolve) => setTimeout(resolve, 20));
  const x = room.table("flowers").number(id, "x");
  console.log(JSON.stringify([process.versions.node, client instanceof Client, x]));
  client.close();
});
"""
IMPORTS = {
    "mjs": ("import { connect, Client } from 'tickwire';", "import WebSocket from 'ws';"),
    "cjs": ("const { connect, Client } = require('tickwire');", "const WebSocket = require('ws');"),
}
WITH_WS = "{ socket: (url, protocol) => new WebSocket(url, protocol) }"

ONE_COPY = """
const required = require("tickwire");
import("tickwire").then((imported) => {
  const error = new imported.Refused({ code: "ROOM_FULL", message: "no seat" });
  console.log(imported.Client === required.Client, error instanceof required.ClientError);
});
"""

TYPED = """import { connect, Interpolation, Refused, type Client, type Plain } from "tickwire";
export async function play(url: string): Promise<Plain> {
  const client: Client = await connect(url);
  const room = await client.join("garden").catch((error: unknown) => {
    throw error instanceof Refused ? new Error(error.code) : error;
  });
  const squares: Interpolation = new Interpolation("flowers", ["x"]);
  squares.push(client.world);
  // @ts-expect-error
  room.entity.toUpperCase();
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
  await client.join("grand-bazaar");
  // @ts-expect-error
  await client.join("garden");
  return name;
}
"""


def contents(package: Path) -> dict[str, bytes]:
    """Return the files of a packed package by path."""
    with tarfile.open(package) as archive:
        members = [(member.name, archive.extractfile(member)) for member in archive]
        return {name.removeprefix("package/"): file.read() for name, file in members if file is not None}


def test_the_package_has_both_builds_their_types_and_the_licence_and_no_sources(package: Path) -> None:
    files = contents(package)
    for build in ("dist/", "dist/cjs/"):
        assert {f"{build}tickwire.js", f"{build}tickwire.js.map", f"{build}index.d.ts"} <= set(files)
        code = files[f"{build}tickwire.js"].decode()
        assert "generated/client" not in "".join(re.findall(r"(?:import|require)\W.*", code)), "the build is one file"
        source_map = msgspec.json.decode(files[f"{build}tickwire.js.map"])
        assert len(source_map["sources"]) == len(source_map["sourcesContent"]), "a debugger needs no other file"
    assert b"Apache License" in files["LICENSE"][:100]
    others = {name for name in files if not name.startswith("dist/")}
    assert others == {"LICENSE", "README.md", "package.json"}
    assert {Path(name).suffix for name in files if name.startswith("dist/")} == {".js", ".map", ".ts", ".json"}
    assert all(name.endswith(".d.ts") for name in files if name.endswith(".ts"))


def test_the_manifest_describes_the_package_and_its_readme_has_no_links_into_the_repository(package: Path) -> None:
    files = contents(package)
    manifest: dict[str, Any] = msgspec.json.decode(files["package.json"])
    assert {"name", "version", "description", "keywords", "license", "engines", "exports", "types"} <= set(manifest)
    assert manifest["engines"]["node"] == ">=20"
    assert set(manifest["dependencies"]) == {"flatbuffers"}
    targets = set(re.findall(r'"(\./[^"]+)"', msgspec.json.encode(manifest["exports"]).decode()))
    assert {target.removeprefix("./") for target in targets} <= set(files)
    # The registry shows the README without the repository around it.
    assert re.findall(r"\]\((?!https?:)[^)]*\)", files["README.md"].decode()) == []


def test_types_and_entry_points_fit_each_other_for_every_way_to_resolve_them(project: Project) -> None:
    report = project.run("attw", str(project.package), "--format", "json")
    assert msgspec.json.decode(report)["problems"] == {}
    assert "All good!" in project.run("publint", str(project.package), "--strict")


@pytest.mark.parametrize("suffix", IMPORTS)
@pytest.mark.parametrize("version", ["20", "22"])
async def test_the_package_plays_in_node_however_it_is_loaded(
    shard_settings: Settings, project: Project, version: str, suffix: str
) -> None:
    head, web_socket = IMPORTS[suffix]
    has_web_socket = version == "22"  # Node has the class WebSocket since version 22
    program = PLAY.replace(", OPTIONS", "" if has_web_socket else f", {WITH_WS}")
    project.write({f"play.{suffix}": head + ("" if has_web_socket else web_socket) + program})
    async with running(shard_settings) as shard:
        found, *played = await run_node(project, shard, node_of(project, version), f"play.{suffix}")
    assert found.startswith(f"{version}.")
    assert played == [True, 7.5]


def node_of(project: Project, version: str) -> str:
    """Return the executable of a version of Node: the installed one, or the one of the package `node`."""
    pinned = str(project.tools / "node")
    candidates = [shutil.which("node") or pinned, pinned]
    found = [path for path in candidates if run([path, "--version"], project.folder).startswith(f"v{version}.")]
    require(found, f"Node {version} is not installed")
    return found[0]


async def run_node(project: Project, shard: Shard, node: str, file: str) -> list[Any]:
    """Run a program that prints a list as JSON."""
    process = await asyncio.create_subprocess_exec(
        node, file, f"{shard.url}/", cwd=project.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    said, complaints = await asyncio.wait_for(process.communicate(), 40)
    assert process.returncode == 0, complaints.decode()
    assert complaints == b"", "neither the program nor Node warns"
    found: list[Any] = msgspec.json.decode(said)
    return found


@pytest.mark.parametrize("version", ["20", "22"])
def test_import_and_require_return_the_same_classes(project: Project, version: str) -> None:
    project.write({"both.cjs": ONE_COPY})
    assert run([node_of(project, version), "both.cjs"], project.folder) == "true true\n"


def test_commonjs_without_require_of_modules_has_a_build_of_its_own(project: Project) -> None:
    """Test runners and Node before 20.19 cannot load an ES module with `require`."""
    project.write({"old.cjs": "console.log(typeof require('tickwire').connect, require.resolve('tickwire'));"})
    flag = "--no-experimental-require-module"
    said = run([node_of(project, "22"), flag, "old.cjs"], project.folder)
    assert re.fullmatch(r"function .*/dist/cjs/tickwire\.js\n", said)


@pytest.mark.parametrize(
    ("module", "resolution"), [("node16", "node16"), ("nodenext", "nodenext"), ("preserve", "bundler")]
)
def test_the_package_has_types_in_modules_of_both_kinds(project: Project, module: str, resolution: str) -> None:
    project.write({"play.mts": TYPED, "play.cts": TYPED})
    project.check_types("play.mts", "play.cts", module=module, resolution=resolution)


def test_generated_types_of_a_game_check_the_use_of_its_rooms(project: Project) -> None:
    project.write({"rooms.ts": generate_typescript(read_game({"grand-bazaar": Bazaar})), "bazaar.ts": BAZAAR})
    project.check_types("bazaar.ts")
