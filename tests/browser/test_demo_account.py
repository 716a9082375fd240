"""The account panel of the demo: a guest signs in with the device, adds an e-mail address, and plays elsewhere."""

from __future__ import annotations

from pathlib import Path

import msgspec
from playwright.async_api import Browser, Page

from tests.browser.conftest import PHONE, errors_of, keep_picture, open_page
from tests.browser.test_demo import games, is_playing, page_of
from tests.harness.api_process import ApiProcess
from tests.harness.polling import eventually
from tests.harness.shard_process import running
from tickwire.server.config import Settings
from tickwire.services.accounts.settings import AccountSettings

__all__ = ["games"]  # a fixture of those tests, used here, too

SECRET = "a secret of the fleet of 32 characters or more"
HAS_ACCOUNT = "() => document.getElementById('player-id').textContent.startsWith('p-')"


async def player_id(page: Page) -> str:
    return str(await page.text_content("#player-id"))


async def test_a_guest_gets_an_account_and_plays_on_another_device(
    games: Settings, browser: Browser, tmp_path: Path
) -> None:
    auth = msgspec.structs.replace(games.auth, accounts=True)
    settings = msgspec.structs.replace(games, auth=auth, accounts=AccountSettings(secret=SECRET))
    async with running(settings) as shard:
        process = ApiProcess(
            settings,
            tmp_path,
            {
                "TICKWIRE__ACCOUNTS__SECRET": SECRET,
                "TICKWIRE__ACCOUNTS__PASSWORDS__MEMORY_KIB": "8192",
                "TICKWIRE__API__ORIGINS": "*",
            },
        )
        try:
            await process.ready()
            url = page_of(shard, "arena", "ann").replace("?", f"?api={process.url}&")
            phone = await open_page(browser, url, size=PHONE)
            await is_playing(phone)
            await phone.wait_for_selector("#account:not([hidden])")
            assert await player_id(phone) == "a guest"
            await phone.click("#device-in")
            await phone.wait_for_function(HAS_ACCOUNT)
            player = await player_id(phone)
            await eventually(lambda: any(one.player_id == player for one in shard.parts.sessions))
            await phone.fill("#email", "ann@x.example")
            await phone.fill("#password", "correct horse")
            await phone.click("#email-send")
            await phone.wait_for_selector("#account-status:has-text('ann@x.example')")
            await is_playing(phone)
            await keep_picture(phone, "demo-account-phone")

            await phone.reload()
            await phone.wait_for_function(HAS_ACCOUNT)
            assert await player_id(phone) == player, "the login survives a reload"
            await is_playing(phone)

            desktop = await open_page(browser, url)
            await desktop.wait_for_selector("#email-form:not([hidden])")
            await desktop.fill("#email", "ann@x.example")
            await desktop.fill("#password", "correct horse")
            await desktop.click("#email-send")
            await desktop.wait_for_function(HAS_ACCOUNT)
            assert await player_id(desktop) == player
            await is_playing(desktop)
            await keep_picture(desktop, "demo-account")
            await phone.wait_for_selector("#status:has-text('another session')")
            assert errors_of(phone) == []
            assert errors_of(desktop) == []
        finally:
            process.stop()
