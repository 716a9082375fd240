"""The console and the demo under a strict Content-Security-Policy: nothing inline, nothing from elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest
from playwright.async_api import Browser, Page

from client.aio import connect
from server.config import Settings
from tests.browser.conftest import errors_of
from tests.browser.test_demo import evaluate, games, is_playing, page_of
from tests.shards import running

__all__ = ["games"]  # a fixture of those tests, used here, too

STRICT = "default-src 'self'; base-uri 'none'; form-action 'self'; require-trusted-types-for 'script'"
COLLECT = """
window.violations = [];
addEventListener('securitypolicyviolation', (event) => {
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`);
});
"""


def with_policy(built: str, copy: Path, policy: str) -> str:
    """Copy a built page and declare a policy in it, before everything else. Return the copy's folder."""
    shutil.copytree(built, copy)
    index = copy / "index.html"
    meta = f'<head><meta http-equiv="Content-Security-Policy" content="{policy}" />'
    assert "<head>" in index.read_text()
    index.write_text(index.read_text().replace("<head>", meta, 1))
    return str(copy)


async def open_and_collect(browser: Browser, url: str) -> Page:
    """Open a page that notes each violation of its policy."""
    page = await browser.new_page()
    page.errors = []  # type: ignore[attr-defined]
    page.on("pageerror", lambda error: page.errors.append(str(error)))  # type: ignore[attr-defined]
    await page.add_init_script(COLLECT)
    await page.goto(url)
    return page


async def test_the_console_breaks_no_strict_policy(games: Settings, browser: Browser, tmp_path: Path) -> None:
    console = with_policy(games.operations.console, tmp_path / "console", STRICT)
    operations = msgspec.structs.replace(games.operations, console=console)
    async with (
        running(msgspec.structs.replace(games, operations=operations)) as shard,
        connect(shard.url) as bot,
    ):
        await bot.join("arena", name="lobby", options={"name": "bot"})
        page = await open_and_collect(browser, f"http://127.0.0.1:{shard.operations.port}/console/")
        await page.fill("#token", shard.settings.operations.token)
        await page.click("#door button")
        await page.wait_for_function("() => document.getElementById('legend').textContent.includes('ships: 1')")
        await page.click("#close-room")
        await page.click("#sure button[value=no]")
        colour = "getComputedStyle(document.querySelector('#legend i')).backgroundColor"
        assert await evaluate(page, colour) != "rgba(0, 0, 0, 0)"
        assert await evaluate(page, "window.violations") == []
        assert errors_of(page) == []


@pytest.mark.parametrize(("game", "shown"), [("arena", "canvas"), ("plaza", "canvas"), ("cards", ".hand button")])
async def test_the_demo_breaks_no_strict_policy(
    games: Settings, browser: Browser, tmp_path: Path, game: str, shown: str
) -> None:
    pages = with_policy(games.listen.pages, tmp_path / "demo", f"{STRICT}; connect-src 'self' ws: wss:")
    listen = msgspec.structs.replace(games.listen, pages=pages)
    async with running(msgspec.structs.replace(games, listen=listen)) as shard:
        page = await open_and_collect(browser, page_of(shard, game, "ada"))
        await is_playing(page)
        await page.wait_for_selector(f"#stage {shown}")
        await page.select_option("#latency", "50")
        assert await evaluate(page, "window.violations") == []
        assert errors_of(page) == []
