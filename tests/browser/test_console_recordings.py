"""The console's recordings: an operator records a room, and downloads the file, which replays as the room ran."""

from __future__ import annotations

from pathlib import Path

import msgspec
from playwright.async_api import Browser

from tests.browser.conftest import keep_picture
from tests.browser.test_content_security import open_and_collect
from tests.browser.test_demo import games
from tests.harness.shard_process import running
from tickwire.client.client import connect
from tickwire.examples.arena import Arena
from tickwire.server.config import Settings
from tickwire.server.recording.reader import Recording
from tickwire.server.recording.replay import Replay

__all__ = ["games"]  # a fixture of those tests, used here, too


async def test_a_recording_is_listed_and_its_download_replays(
    games: Settings, browser: Browser, tmp_path: Path
) -> None:
    recordings = msgspec.structs.replace(games.recordings, directory=str(tmp_path / "recordings"))
    settings = msgspec.structs.replace(games, recordings=recordings)
    async with running(settings) as shard, connect(shard.url) as bot:
        await bot.join("arena", name="lobby", options={"name": "bot"})
        base = f"http://127.0.0.1:{shard.parts.operations.port}/console/#token={shard.settings.operations.token}"
        page = await open_and_collect(browser, base)
        await page.wait_for_selector("#room:not([hidden])")
        assert await page.is_hidden("#recordings"), "there are none yet"
        await page.click("#record-last")
        row = page.locator("#recording-list tr", has=page.get_by_role("button", name="download"))
        await row.wait_for(timeout=60_000)
        async with page.expect_download(timeout=60_000) as started:
            await row.get_by_role("button", name="download").click()
        download = await started.value
        assert f"tickwire replay {download.suggested_filename} --serve" in await row.inner_text()
        recording = Recording.open(Path(await download.path()))
        assert recording.header.room_type == "arena"
        assert Replay(recording, Arena).verify().is_equal
        await keep_picture(page, "console-recordings")
        assert await page.evaluate("() => window.violations") == []
