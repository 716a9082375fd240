"""The npm package in an application: Vite, esbuild and webpack build a page, and the page joins a room."""

from __future__ import annotations

import gzip
from pathlib import Path

import msgspec
import pytest
from playwright.async_api import Browser

from tests.browser.conftest import errors_of, open_page
from tests.browser.npm_projects import Project, installed, package, package_tools, project
from tests.harness.shard_process import running
from tickwire.server.config import Settings

__all__ = ["installed", "package", "package_tools", "project"]  # fixtures, used here

BYTES_MAX = 34 * 1024
"""Of the code of the page, gzipped: 33 KB for the whole package (`npm run size`), which `Object.keys` keeps, and 1 KB
for the page and the bundler."""
PAGE = '<!doctype html>\n<output></output>\n<script type="module" src="./play.ts"></script>\n'
PLAY = """import * as tickwire from "tickwire";
import type { Client, Room } from "tickwire";

const output: HTMLOutputElement = document.querySelector("output")!;

async function play(): Promise<[string, number, string[]]> {
  const client: Client = await tickwire.connect(new URLSearchParams(location.search).get("server")!);
  const room: Room = await client.join("garden");
  const id = Number(await client.command("plant", { x: 7.5 }));
  while (!client.world.table("flowers").has(id)) await new Promise((resolve) => client.on("state", resolve));
  return [room.roomType, room.table("flowers").number(id, "x"), Object.keys(tickwire)];
}

play().then((played) => (output.textContent = JSON.stringify(played)));
"""
MISTAKE = 'const wrong: number = tickwire.connect("ws://127.0.0.1/");\n'
TSCONFIG = """{
  "compilerOptions": {
    "target": "es2022", "module": "preserve", "moduleResolution": "bundler", "strict": true, "noEmit": NO_EMIT,
    "lib": ["es2022", "dom", "dom.iterable"], "types": []
  },
  "include": ["play.ts"]
}
"""
WEBPACK = """import webpack from "webpack";

const config = {
  mode: "production", devtool: false, performance: false, entry: "./play.ts",
  output: { path: `${process.cwd()}/dist`, filename: "play.js" },
  module: { rules: [{ test: /\\.ts$/, loader: "ts-loader" }] },
};
webpack(config, (error, stats) => {
  console.log(error ?? stats.toString());
  process.exitCode = error || stats.hasErrors() || stats.hasWarnings() ? 1 : 0;
});
"""


def build_with_vite(project: Project) -> None:
    project.check_project()
    project.run("vite", "build", "--base", "./")


def build_with_esbuild(project: Project) -> None:
    project.check_project()
    how = ["--bundle", "--minify", "--format=esm", "--target=es2022", "--log-level=warning"]
    assert project.run("esbuild", "play.ts", *how, "--outfile=dist/play.js") == ""
    project.write({"dist/index.html": PAGE.replace("play.ts", "play.js")})


def build_with_webpack(project: Project) -> None:
    """Build with webpack, whose loader checks the types."""
    project.write({"webpack.mjs": WEBPACK})
    project.run("node", "webpack.mjs")
    project.write({"dist/index.html": PAGE.replace("play.ts", "play.js")})


BUILDS = {"vite": build_with_vite, "esbuild": build_with_esbuild, "webpack": build_with_webpack}


@pytest.mark.parametrize("bundler", BUILDS)
async def test_a_page_that_a_bundler_has_built_joins_a_room(
    shard_settings: Settings, project: Project, browser: Browser, bundler: str
) -> None:
    project.write({"index.html": PAGE, "play.ts": PLAY, "tsconfig.json": tsconfig(bundler)})
    BUILDS[bundler](project)
    listen = msgspec.structs.replace(shard_settings.listen, pages=str(project.folder / "dist"))
    async with running(msgspec.structs.replace(shard_settings, listen=listen)) as shard:
        page = await open_page(browser, f"{shard.url.replace('ws', 'http', 1)}/?server={shard.url}/")
        await page.wait_for_function("() => document.querySelector('output').textContent")
        room_type, x, names = msgspec.json.decode(await page.inner_text("output"))
        assert errors_of(page) == []
    assert (room_type, x) == ("garden", 7.5)
    assert {"Client", "Interpolation", "Prediction", "World"} <= set(names)
    assert gzipped_bytes(project.folder / "dist") < BYTES_MAX


def gzipped_bytes(folder: Path) -> int:
    return sum(len(gzip.compress(path.read_bytes())) for path in folder.rglob("*.js"))


@pytest.mark.parametrize("bundler", ["esbuild", "webpack"])
def test_the_build_fails_if_the_page_uses_the_package_wrongly(project: Project, bundler: str) -> None:
    project.write({"index.html": PAGE, "play.ts": PLAY + MISTAKE, "tsconfig.json": tsconfig(bundler)})
    with pytest.raises(AssertionError, match=r"Type 'Promise<Client.*' is not assignable to type 'number'"):
        BUILDS[bundler](project)


def tsconfig(bundler: str) -> str:
    """Return the settings of the compiler, which writes code for webpack only: the others compile by themselves."""
    return TSCONFIG.replace("NO_EMIT", "false" if bundler == "webpack" else "true")
