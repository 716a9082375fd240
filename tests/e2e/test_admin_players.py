"""The admin API's operations on players: search, view, transactions, kick, unlink and deletion."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from tests.harness.ledger_stores import transaction
from tests.harness.polling import eventually
from tests.harness.shard_process import admin, running
from tests.harness.tokens import AUTH, token_of
from tickwire.client.client import connect
from tickwire.schemas.messages import ErrorCode
from tickwire.server.config import Settings
from tickwire.server.shard import Shard
from tickwire.services.accounts.account import LinkedIdentity
from tickwire.services.accounts.account_store import AccountStore
from tickwire.services.accounts.settings import AccountSettings

SECRET = "a secret of the accounts, which only tests know"


@pytest.fixture
async def shard(shard_settings: Settings) -> AsyncIterator[Shard]:
    settings = msgspec.structs.replace(shard_settings, auth=AUTH, accounts=AccountSettings(secret=SECRET))
    async with running(settings) as running_shard:
        yield running_shard


async def ask(shard: Shard, method: str, path: str, body: Any = None) -> Any:
    return await admin(shard.parts.operations.port, method, path, body)


async def create_account(shard: Shard, *identities: tuple[str, str]) -> str:
    """Create an account, and return its player id."""
    accounts = AccountStore(shard.parts.store)
    now = datetime.datetime.now(datetime.UTC)
    first, *more = [LinkedIdentity(provider, subject, now) for provider, subject in identities]
    player_id = (await accounts.create(first)).player_id
    for identity in more:
        await accounts.link(player_id, identity)
    return player_id


async def grant(shard: Shard, key: str, player_id: str, **items: int) -> None:
    request = transaction(key, {player_id: dict(items)}, player=player_id, session_id="", command_id=0)
    assert not (await shard.parts.store.ledger.commit(request)).refused


async def test_players_are_found_by_the_beginning_of_their_id_and_by_identity(shard: Shard) -> None:
    ann = await create_account(shard, ("email", "ann@x.example"), ("device", "device-0000000001"))
    bob = await create_account(shard, ("steam", "7656119"))
    await grant(shard, "one", "google/42", gold=5)
    for text, found in (
        (ann, [ann]),
        ("ann@x.example", [ann]),
        ("Ann@X.example", [ann]),
        ("ann", [ann]),
        ("email:ann", [ann]),
        ("device-00000", [ann]),
        ("7656119", [bob]),
        ("google/", ["google/42"]),
        ("$where", []),
    ):
        players = await admin_search(shard, text)
        assert [one["player_id"] for one in players] == found, text
    assert {one["player_id"] for one in await admin_search(shard, "p-")} == {ann, bob}
    (google,) = await admin_search(shard, "google/42")
    assert (google["has_account"], google["identities"]) == (False, [])
    assert (await ask(shard, "GET", "/players"))[0] == 400, "a search needs a text"


async def admin_search(shard: Shard, text: str) -> Any:
    return await ask(shard, "GET", f"/players?search={quote(text, safe='')}")


async def test_a_player_is_shown_with_account_ban_session_and_holdings(shard: Shard) -> None:
    ann = await create_account(shard, ("email", "ann@x.example"))
    await grant(shard, "one", ann, gold=5)
    await ask(shard, "PUT", f"/bans/{ann}", {"duration_s": 60, "reason": "spam"})
    view = await ask(shard, "GET", f"/players/{ann}")
    assert view["account"]["state"] == "active"
    assert [(one["provider"], one["subject"]) for one in view["account"]["identities"]] == [
        ("email", "ann@x.example")
    ]
    assert (view["ban"]["reason"], view["holdings"], view["version"]) == ("spam", {"gold": 5}, 1)
    assert (view["presence"], view["is_presence_known"]) == (None, True)
    assert "secret" not in str(view)
    async with connect(shard.url, token=token_of("google/42")) as client:
        await client.join("garden")
        online = await ask(shard, "GET", "/players/google%2F42")
        assert online["account"] is None
        assert (online["presence"]["shard_id"], online["presence"]["is_connected"]) == (shard.shard_id, True)
    assert (await ask(shard, "GET", "/players/none"))[0] == 404


async def test_transactions_of_a_player_are_paged_without_those_of_others(shard: Shard) -> None:
    for number in range(5):
        request = transaction(f"t{number}", {"ann": {"gold": number + 1}, "bob": {"gold": 100}}, player="bob")
        assert not (await shard.parts.store.ledger.commit(request)).refused
    found, cursor = [], ""
    while True:
        page = await ask(shard, "GET", f"/players/ann/ledger?limit=2&cursor={cursor}")
        found += page["items"]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert [one["changes"] for one in found] == [{"gold": number} for number in (5, 4, 3, 2, 1)]
    assert (await ask(shard, "GET", "/players/none/ledger"))["items"] == []


async def test_a_kick_ends_the_sessions_of_a_player_and_the_player_may_return(shard: Shard) -> None:
    async with connect(shard.url, token=token_of("ann")) as client:
        await client.join("garden")
        assert await ask(shard, "POST", "/players/ann/kick", {"reason": "be nice"}) == {"count": 1}
        await client.wait_for(lambda: client.goodbye is not None)
        assert client.goodbye is not None
        assert (client.goodbye.code, client.goodbye.message) == (ErrorCode.KICKED, "be nice")
    assert await ask(shard, "POST", "/players/ann/kick") == {"count": 0}
    async with connect(shard.url, token=token_of("ann")) as again:
        await again.join("garden")


async def test_any_shard_shows_and_kicks_a_player_of_another_one(shard: Shard) -> None:
    async with running(shard.settings) as other, connect(other.url, token=token_of("ann")) as client:
        await client.join("garden")

        async def is_shown() -> bool:
            found = await ask(shard, "GET", "/players/ann")
            return isinstance(found, dict) and (found["presence"] or {}).get("shard_id") == other.shard_id

        await eventually(is_shown)
        assert await ask(shard, "POST", "/players/ann/kick", {"reason": "be nice"}) == {"count": 1}
        await client.wait_for(lambda: client.goodbye is not None)
        assert client.goodbye is not None
        assert (client.goodbye.code, client.goodbye.message) == (ErrorCode.KICKED, "be nice")


async def test_an_identity_is_unlinked_but_never_the_last(shard: Shard) -> None:
    ann = await create_account(shard, ("email", "ann@x.example"), ("oidc-google", "a/b"))
    account = await ask(shard, "DELETE", f"/players/{ann}/identities/oidc-google/a%2Fb")
    assert [one["provider"] for one in account["identities"]] == ["email"]
    status, words = await ask(shard, "DELETE", f"/players/{ann}/identities/email/ann@x.example")
    assert (status, "last" in words) == (409, True)
    assert (await ask(shard, "DELETE", "/players/none/identities/email/ann@x.example"))[0] == 404


async def test_a_deletion_removes_the_account_and_all_data_and_is_in_the_audit_trail(shard: Shard) -> None:
    ann = await create_account(shard, ("email", "ann@x.example"))
    await grant(shard, "one", ann, gold=5)
    deleted = (await ask(shard, "DELETE", f"/players/{ann}"))["deleted"]
    assert (deleted["accounts"], deleted["players"]) == (1, 1)
    assert (await ask(shard, "GET", f"/players/{ann}"))[0] == 404
    assert (await ask(shard, "GET", f"/players/{ann}/ledger"))["items"] == []
    (entry,) = (await ask(shard, "GET", f"/audit?player_id={ann}"))["items"]
    assert (entry["action"], entry["result"]) == ("DELETE /players/{player_id}", 200)
    await grant(shard, "two", "google/42", gold=5)
    assert (await ask(shard, "DELETE", "/players/google%2F42"))["deleted"]["players"] == 1


async def test_without_a_secret_a_shard_shows_accounts_and_does_not_change_them(shard_settings: Settings) -> None:
    async with running(shard_settings) as shard:
        ann = await create_account(shard, ("email", "ann@x.example"), ("steam", "1"))
        assert (await ask(shard, "GET", f"/players/{ann}"))["account"]["state"] == "active"
        for path in (f"/players/{ann}", f"/players/{ann}/identities/steam/1"):
            status, words = await ask(shard, "DELETE", path)
            assert (status, "accounts.secret" in words) == (409, True)
