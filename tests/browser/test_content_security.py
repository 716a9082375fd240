"""The console and the demo under the Content-Security-Policy that they come with: the browser blocks nothing."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, Page

from tests.browser.conftest import errors_of
from tests.browser.test_demo import evaluate, games, is_playing, page_of
from tests.harness.shard_process import running
from tickwire.client.client import connect
from tickwire.server.config import Settings

__all__ = ["games"]  # a fixture of those tests, used here, too

COLLECT = """
window.violations = [];
addEventListener('securitypolicyviolation', (event) => {
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`);
});
"""


async def open_and_collect(browser: Browser, url: str) -> Page:
    """Open a page that has a strict policy, and notes each violation of it."""
    page = await browser.new_page()
    page.errors = []  # type: ignore[attr-defined]
    page.on("pageerror", lambda error: page.errors.append(str(error)))  # type: ignore[attr-defined]
    await page.add_init_script(COLLECT)
    response = await page.goto(url)
    assert response is not None
    policy = response.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy
    return page


async def test_the_console_breaks_none_of_its_policy(games: Settings, browser: Browser) -> None:
    async with running(games) as shard, connect(shard.url) as bot:
        await bot.join("arena", name="lobby", options={"name": "bot"})
        page = await open_and_collect(browser, f"http://127.0.0.1:{shard.parts.operations.port}/console/")
        await page.fill("#token", shard.settings.operations.token)
        await page.click("#sign-in button")
        await page.wait_for_function("() => document.getElementById('legend').textContent.includes('ships: 1')")
        await page.click("#close-room")
        await page.click("#confirm button[value=no]")
        colour = "getComputedStyle(document.querySelector('#legend i')).backgroundColor"
        assert await evaluate(page, colour) != "rgba(0, 0, 0, 0)"
        assert await evaluate(page, "window.violations") == []
        assert errors_of(page) == []


@pytest.mark.parametrize(("game", "shown"), [("arena", "canvas"), ("plaza", "canvas"), ("cards", ".hand button")])
async def test_the_demo_breaks_none_of_its_policy(games: Settings, browser: Browser, game: str, shown: str) -> None:
    async with running(games) as one, running(games) as other:
        page = await open_and_collect(browser, page_of(one, game, "ada"))
        await is_playing(page)
        await page.wait_for_selector(f"#stage {shown}")
        await page.select_option("#latency", "50")
        await one.drain()  # the room's next shard has another origin
        await page.wait_for_function(
            f"() => window.tickwire().url === {other.url!r} && window.tickwire().resumes > 0"
        )
        assert await evaluate(page, "window.violations") == []
        assert errors_of(page) == []
