"""The console's page of players: search, view, actions with confirmation, and what a role does not show."""

from __future__ import annotations

import datetime

import msgspec
from playwright.async_api import Browser, Page

from tests.browser.conftest import errors_of, keep_picture
from tests.browser.test_content_security import open_and_collect
from tests.browser.test_demo import games
from tests.harness.ledger_stores import transaction
from tests.harness.shard_process import admin, running
from tests.harness.tokens import AUTH, token_of
from tickwire.client.client import connect
from tickwire.server.config import Settings
from tickwire.server.operator_settings import OperatorSettings
from tickwire.server.shard import Shard
from tickwire.services.accounts.account import LinkedIdentity
from tickwire.services.accounts.account_store import AccountStore
from tickwire.services.accounts.settings import AccountSettings

__all__ = ["games"]  # a fixture of those tests, used here, too

READER = "the token of an operator who only reads"


def settings_of(games: Settings) -> Settings:
    operations = msgspec.structs.replace(games.operations, operators={"ben": OperatorSettings(READER, "read")})
    accounts = AccountSettings(secret="a secret of the accounts, which only tests know")
    return msgspec.structs.replace(games, operations=operations, accounts=accounts, auth=AUTH)


async def create_player(shard: Shard) -> str:
    """Create an account with two identities and some gold; return the player's id."""
    accounts, now = AccountStore(shard.parts.store), datetime.datetime.now(datetime.UTC)
    player_id = (await accounts.create(LinkedIdentity("email", "ann@x.example", now))).player_id
    await accounts.link(player_id, LinkedIdentity("steam", "7656", now))
    request = transaction("one", {player_id: {"gold": 5}}, player=player_id, session_id="", command_id=0)
    assert not (await shard.parts.store.ledger.commit(request)).refused
    return player_id


async def open_console(shard: Shard, browser: Browser, token: str) -> Page:
    url = f"http://127.0.0.1:{shard.parts.operations.port}/console/#token={token}"
    page = await open_and_collect(browser, url)
    await page.wait_for_selector("#fleet td", timeout=60_000)
    return page


async def find(page: Page, text: str) -> None:
    await page.fill("#player-text", text)
    await page.click("#player-search button")
    await page.wait_for_selector("#player:not([hidden])", timeout=30_000)


async def test_support_finds_a_player_and_acts_after_a_confirmation(games: Settings, browser: Browser) -> None:
    async with running(settings_of(games)) as shard:
        ann = await create_player(shard)
        async with connect(shard.url, token=token_of(ann)) as client:
            await client.join("arena", name="lobby", options={"name": "ann"})
            page = await open_console(shard, browser, shard.settings.operations.token)
            await find(page, "ann@x.example")
            assert await page.inner_text("#player-title") == ann
            shown = await page.inner_text("#player")
            assert all(text in shown for text in ("active", "connected", "7656", "gold", "+5 gold"))
            await keep_picture(page, "console-player")
            await page.click("#kick-player")
            await page.click("#confirm button[value=no]")
            assert client.is_connected
            await page.click("#kick-player")
            await page.click("#confirm button[value=yes]")
            await client.wait_for(lambda: client.goodbye is not None)
        await page.fill("#ban-reason", "spam")
        await page.click("#ban-player")
        await page.click("#confirm button[value=yes]")
        await page.wait_for_function("() => document.getElementById('player-facts').textContent.includes('spam')")
        await page.get_by_role("button", name="unlink").last.click()
        await page.click("#confirm button[value=yes]")
        await page.wait_for_function(
            "() => !document.getElementById('player-identities').textContent.includes('7656')"
        )
        assert "PUT /bans/{player_id}" in await page.inner_text("#player-audit")
        await page.click("#delete-player")
        assert await page.is_disabled("#yes"), "the id is not typed yet"
        await page.fill("#typed", ann[:-1])
        assert await page.is_disabled("#yes")
        await page.fill("#typed", ann)
        await page.click("#yes")
        await page.wait_for_function(
            "() => document.getElementById('player-message').textContent.includes('deleted')"
        )
        assert (await admin(shard.parts.operations.port, "GET", f"/players/{ann}"))[0] == 404
        assert errors_of(page) == []
        assert await page.evaluate("() => window.violations") == []


async def test_an_operator_who_only_reads_sees_no_actions(games: Settings, browser: Browser) -> None:
    async with running(settings_of(games)) as shard, connect(shard.url, token=token_of("bob")) as client:
        await client.join("arena", name="lobby", options={"name": "bob"})
        ann = await create_player(shard)
        page = await open_console(shard, browser, READER)
        assert "ben (read)" in await page.inner_text("#operator")
        await page.wait_for_selector("#room:not([hidden])")
        await find(page, ann)
        for action in ("#player-actions", "#close-room", "#record-last"):
            assert await page.is_hidden(action), action
        for name in ("kick", "drain", "unlink"):
            assert await page.get_by_role("button", name=name, exact=True).count() == 0, name
        assert errors_of(page) == []
