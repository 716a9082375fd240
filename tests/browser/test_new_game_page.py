"""The page of a game that `tickwire new` has created, in a real browser."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.browser.conftest import ROOT, errors_of, open_page
from tests.e2e.test_new_game import ENVIRON, run_python
from tests.harness.dev_process import dev

SDK = ROOT / "server" / "dev" / "sdk" / "tickwire.js"


@pytest.mark.timeout(400)  # it starts the stores, a shard and a browser
async def test_the_page_of_a_new_game_walks_and_chats(built: Path, browser: Browser, tmp_path: Path) -> None:
    created = await asyncio.to_thread(run_python, tmp_path, "tickwire", "new", "gold_rush")
    assert created.returncode == 0, created.stderr
    game = tmp_path / "gold_rush"
    assert (game / "web" / "tickwire.js").read_bytes() == SDK.read_bytes()
    with dev(tmp_path / "data", cwd=game, **ENVIRON) as running:
        await running.says("players connect to")
        page = await open_page(browser, f"http://127.0.0.1:{running.port}/")
        await page.wait_for_function("() => document.getElementById('status').innerText.startsWith('You are')")
        await page.fill("#words", "hello")
        await page.press("#words", "Enter")
        await page.wait_for_function("() => document.getElementById('lines').innerText.includes(': hello')")
        await page.locator("#words").blur()
        await page.keyboard.down("ArrowRight")
        await page.wait_for_function(
            "() => document.getElementById('field').getContext('2d').getImageData(0, 0, 600, 600).data.some((x) => x)"
        )
        assert errors_of(page) == []
