"""Runs docs/web.md from an empty folder on: its commands, its page on the development server, and the built page."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from playwright.async_api import Browser
from structlog.testing import capture_logs

from tests.browser.conftest import errors_of, open_page
from tests.browser.npm_projects import NPM_INSTALL, VERSIONS, package, run
from tests.browser.test_clients import WEB_GUIDE, block, squares, wait_until_drawn
from tests.harness.shard_process import running
from tickwire.server.config import Settings
from tickwire.server.dev.local_stores import free_port
from tickwire.server.edge.origins import LOOPBACK
from tickwire.server.edge.settings import EdgeSettings

__all__ = ["package", "squares"]  # fixtures, used here

STEPS = [line for text in re.findall(r"^```sh\n(.*?)^```$", WEB_GUIDE, re.M | re.S) for line in text.splitlines()]


@pytest.fixture(scope="module")
def guide_project(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the guide was followed up to its script; with the packed package, and pinned programs."""
    folder = tmp_path_factory.mktemp("square")
    versions: dict[str, str] = msgspec.json.decode(VERSIONS.read_bytes())["dependencies"]
    pinned = {"tickwire": str(package), **{name: f"{name}@{version}" for name, version in versions.items()}}
    for step in STEPS[:3]:
        words = shlex.split(step)
        if words[:2] == ["npm", "install"]:
            words = [*NPM_INSTALL, *(pinned.get(word, word) for word in words[2:])]
        run(words, folder)
    (folder / "index.html").write_text(block("html", "<!doctype html>"))
    (folder / "square.ts").write_text(block("ts", "import { type Client"))
    return folder


@asynccontextmanager
async def development_server(folder: Path) -> AsyncIterator[str]:
    """Run the guide's server for the page, on a free port; yields the page's origin."""
    port = free_port()
    assert STEPS[3] == "npx vite"
    command = ["node", "node_modules/vite/bin/vite.js", "--host", "localhost", "--port", str(port), "--strictPort"]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
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


async def test_square_moves_in_a_browser_after_the_steps_of_the_guide(
    squares: Settings, guide_project: Path, browser: Browser
) -> None:
    development = with_origins(squares, LOOPBACK)  # as `tickwire dev` runs it
    async with development_server(guide_project) as origin, running(development) as shard:
        page = await open_page(browser, f"{origin}/?server={shard.url}/")
        await wait_until_drawn(page, "Math.abs(x - 200) < 1")
        await page.keyboard.down("ArrowRight")
        await wait_until_drawn(page, "x > 250")
        assert errors_of(page) == []


async def test_page_that_the_guide_builds_draws_the_square(
    squares: Settings, guide_project: Path, browser: Browser
) -> None:
    for step in STEPS[4:]:
        run(shlex.split(step), guide_project)
    listen = msgspec.structs.replace(squares.listen, pages=str(guide_project / "dist"))
    async with running(msgspec.structs.replace(squares, listen=listen)) as shard:
        page = await open_page(browser, f"{shard.url.replace('ws', 'http', 1)}/?server={shard.url}/")
        await wait_until_drawn(page, "Math.abs(x - 200) < 1")
        assert errors_of(page) == []


async def test_a_page_whose_origin_is_refused_says_so_with_the_setting(
    squares: Settings, guide_project: Path, browser: Browser
) -> None:
    async with (
        development_server(guide_project) as origin,
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
