"""Accounts on a real MongoDB: login, link, unlink, passwords, merge, deletion, and bans at the login."""

from __future__ import annotations

import asyncio
import datetime
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from tests.harness.account_parts import CHEAP, SECRET, AccountParts, MemoryTokenIssuer
from tests.harness.ledger_stores import read_holdings, transaction
from tickwire.limits import AMOUNT_MAX
from tickwire.server.errors import (
    Banned,
    Conflict,
    IdentityTaken,
    InvalidArgument,
    NotSavable,
    RateLimited,
    Unauthorized,
)
from tickwire.server.storage import Ban, MongoStore, migrate
from tickwire.server.storage.export_import import export_player
from tickwire.server.storage.player_data import PLAYER_COLLECTIONS, WITHOUT_PLAYERS
from tickwire.services.accounts.account import LinkedIdentity, create_player_id
from tickwire.services.accounts.account_rules import IDENTITIES_MAX
from tickwire.services.accounts.account_store import now_utc
from tickwire.services.accounts.attempt_budget import Budget
from tickwire.services.accounts.identities import digest_secret
from tickwire.services.accounts.merge_store import MergeStore
from tickwire.services.accounts.password_hasher import PasswordHasher
from tickwire.services.accounts.password_service import ClientOrigin
from tickwire.services.accounts.ports import IssuedTokens
from tickwire.services.accounts.settings import LockoutSettings, PasswordSettings

HERE = ClientOrigin("192.0.2.1")
HOUR = datetime.timedelta(hours=1)


@pytest.fixture
async def parts(mongo_url: str, mongo_database: str) -> AsyncIterator[AccountParts]:
    store = MongoStore(mongo_url, mongo_database)
    await migrate(store.database, store.calls)
    hasher = PasswordHasher(CHEAP)
    yield AccountParts(store, MemoryTokenIssuer(), hasher)
    hasher.close()
    await store.ledger.close()
    store.close()


def other_process(parts: AccountParts) -> AccountParts:
    return AccountParts(parts.store, parts.tokens, parts.hasher)


def device(name: str, secret: str = SECRET) -> LinkedIdentity:
    return LinkedIdentity("device", f"device-{name:0>16}", now_utc(), secret=digest_secret(secret))


async def test_a_device_creates_an_account_once_and_then_logs_in(parts: AccountParts) -> None:
    first = await parts.login.login_device("a" * 16, SECRET, create=True)
    second = await parts.login.login_device("a" * 16, SECRET, create=True)
    assert first.is_new
    assert not second.is_new
    assert first.tokens.player_id == second.tokens.player_id
    assert first.tokens.player_id.startswith("p-")
    assert parts.counters.operations["login_device", "ok"] == 2


async def test_concurrent_logins_of_one_device_create_one_account(parts: AccountParts) -> None:
    processes = [parts, *(other_process(parts) for _ in range(7))]
    found = await asyncio.gather(*(one.login_device("ann") for one in processes))
    assert len({one.player_id for one in found}) == 1
    assert len(await parts.documents()) == 1


async def test_wrong_secret_and_unknown_device_get_the_same_answer(parts: AccountParts) -> None:
    await parts.login_device("ann")
    with pytest.raises(Unauthorized) as wrong:
        await parts.login.login_device("device-0000000000000ann", "f" + SECRET[1:], create=False)
    with pytest.raises(Unauthorized) as unknown:
        await parts.login.login_device("device-0000000000000bob", SECRET, create=False)
    assert str(wrong.value) == str(unknown.value)
    assert parts.counters.operations["login_device", "UNAUTHORIZED"] == 2


async def test_secrets_and_passwords_are_stored_as_hashes(parts: AccountParts) -> None:
    await parts.login_device("ann")
    await parts.passwords.login_email("ann@x.example", "correct horse", HERE, create=True)
    text = repr(await parts.documents())
    assert SECRET not in text
    assert "correct horse" not in text
    assert "$argon2id$v=19$m=8192,t=1,p=1$" in text


async def test_an_address_logs_in_in_each_of_its_forms(parts: AccountParts) -> None:
    created = await parts.passwords.login_email("Ann@X.Example", "correct horse", HERE, create=True)
    again = await parts.passwords.login_email(" ann@x.example ", "correct horse", HERE, create=False)
    assert created.is_new
    assert again.tokens.player_id == created.tokens.player_id


async def test_wrong_password_and_unknown_address_get_the_same_answer(parts: AccountParts) -> None:
    await parts.passwords.login_email("ann@x.example", "correct horse", HERE, create=True)
    with pytest.raises(Unauthorized) as wrong:
        await parts.passwords.login_email("ann@x.example", "wrong horse!", HERE, create=False)
    with pytest.raises(Unauthorized) as unknown:
        await parts.passwords.login_email("bob@x.example", "wrong horse!", HERE, create=False)
    assert str(wrong.value) == str(unknown.value)
    with pytest.raises(Unauthorized):
        await parts.passwords.login_email("ann@x.example", "wrong horse!", HERE, create=True)
    assert len(await parts.documents()) == 1


async def test_a_password_is_hashed_again_when_the_parameters_change(parts: AccountParts) -> None:
    await parts.passwords.login_email("ann@x.example", "correct horse", HERE, create=True)
    hasher = PasswordHasher(PasswordSettings(time_cost=2, memory_kib=8192))
    later = AccountParts(parts.store, parts.tokens, hasher)
    await later.passwords.login_email("ann@x.example", "correct horse", HERE, create=False)
    (document,) = await parts.documents()
    assert "m=8192,t=2,p=1" in document["identities"][0]["password"]
    await later.passwords.login_email("ann@x.example", "correct horse", HERE, create=False)
    hasher.close()


async def test_a_banned_player_cannot_log_in_until_the_ban_ends(parts: AccountParts) -> None:
    player = (await parts.login_device("ann")).player_id
    await parts.store.bans.save(Ban(player, now_utc() + HOUR, "cheating"))
    with pytest.raises(Banned, match="cheating"):
        await parts.login_device("ann")
    await parts.store.bans.save(Ban(player, now_utc() - HOUR, "cheating"))
    await parts.login_device("ann")


async def test_an_identity_is_linked_once_and_to_one_account(parts: AccountParts) -> None:
    ann, bob = [(await parts.login_device(name)).player_id for name in ("ann", "bob")]
    for _ in range(2):  # a repetition succeeds
        account = await parts.service.link(ann, device("tablet"))
    assert [one.subject[-6:] for one in account.identities] == ["000ann", "tablet"]
    with pytest.raises(IdentityTaken) as taken:
        await parts.service.link(bob, device("tablet"))
    assert ann not in str(taken.value)
    with pytest.raises(IdentityTaken):
        await parts.service.link(ann, device("tablet", "f" + SECRET[1:]))
    assert (await parts.login_device("tablet")).player_id == ann


async def test_two_accounts_that_link_one_identity_at_once_share_nothing(parts: AccountParts) -> None:
    players = [(await parts.login_device(f"d{number}")).player_id for number in range(6)]
    found = await asyncio.gather(
        *(parts.service.link(player, device("tablet")) for player in players), return_exceptions=True
    )
    assert sum(isinstance(one, IdentityTaken) for one in found) == 5
    with_tablet = [one for one in await parts.documents() if len(one["identities"]) == 2]
    assert len(with_tablet) == 1


async def test_links_above_the_limit_are_refused(parts: AccountParts) -> None:
    ann = (await parts.login_device("ann")).player_id
    for number in range(IDENTITIES_MAX - 1):
        await parts.service.link(ann, device(f"d{number}"))
    with pytest.raises(Conflict, match=f"at most {IDENTITIES_MAX} identities"):
        await parts.service.link(ann, device("one more"))


async def test_the_last_identity_stays(parts: AccountParts) -> None:
    ann = (await parts.login_device("ann")).player_id
    await parts.service.link(ann, device("tablet"))
    subjects = ["device-0000000000000ann", "device-0000000000tablet"]
    found = await asyncio.gather(
        *(parts.service.unlink(ann, "device", subject) for subject in subjects), return_exceptions=True
    )
    assert sum(isinstance(one, Conflict) for one in found) == 1
    account = await parts.service.get(ann)
    assert len(account.identities) == 1
    await parts.service.unlink(ann, "device", "never-linked-000")  # no error: there is nothing to do
    gone = next(subject for subject in subjects if subject != account.identities[0].subject)
    with pytest.raises(Unauthorized):
        await parts.login.login_device(gone, SECRET, create=False)


async def test_a_new_password_ends_the_other_logins(parts: AccountParts) -> None:
    other = await parts.passwords.login_email("ann@x.example", "correct horse", HERE, create=True)
    mine = await parts.passwords.login_email("ann@x.example", "correct horse", HERE, create=False)
    holder = await parts.tokens.find_holder(mine.tokens.refresh_token)
    for _ in range(2):  # a repetition succeeds
        await parts.service.change_password(holder, ("correct horse", "battery staple"), HERE)
    with pytest.raises(Unauthorized):
        await parts.tokens.find_holder(other.tokens.refresh_token)
    await parts.tokens.find_holder(mine.tokens.refresh_token)
    await parts.passwords.login_email("ann@x.example", "battery staple", HERE, create=False)
    for old, error in (("correct horse", Unauthorized), ("no password at all", Unauthorized)):
        with pytest.raises(error):
            await parts.service.change_password(holder, (old, "something else"), HERE)
    with pytest.raises(InvalidArgument, match="email"):
        await parts.service.change_password(holder, ("battery staple", "x" * 9), HERE, email="bob@x.example")


async def test_a_merge_moves_identities_and_holdings_and_ends_the_other_account(parts: AccountParts) -> None:
    ann, bob = await parts.login_device("ann"), await parts.login_device("bob")
    await parts.grant("g1", ann.player_id, gold=5, sword=1)
    await parts.grant("g2", bob.player_id, gold=7)
    for _ in range(2):  # a repetition succeeds, though the refresh token has ended
        account = await parts.service.merge(bob.player_id, ann.refresh_token)
    assert len(account.identities) == 2
    holdings = await read_holdings(parts.store.ledger, parts.store.players, ann.player_id, bob.player_id)
    assert holdings == [{"gold": 0, "sword": 0}, {"gold": 12, "sword": 1}]
    assert await parts.store.database["ledger"].count_documents({"_id": {"$regex": "^merge:"}}) == 1
    assert (await parts.login_device("ann")).player_id == bob.player_id
    with pytest.raises(Unauthorized):
        await parts.tokens.find_holder(ann.refresh_token)
    with pytest.raises(Unauthorized):
        await parts.service.get(ann.player_id)


async def test_holdings_that_arrive_after_the_merge_move_at_the_next_login(parts: AccountParts) -> None:
    ann, bob = await parts.login_device("ann"), await parts.login_device("bob")
    await parts.service.merge(bob.player_id, ann.refresh_token)
    await parts.grant("late", ann.player_id, gold=3)
    for _ in range(2):
        await parts.login_device("bob")
    holdings = await read_holdings(parts.store.ledger, parts.store.players, ann.player_id, bob.player_id)
    assert [one.get("gold", 0) for one in holdings] == [0, 3]


async def test_a_room_that_commits_during_the_merge_loses_nothing(parts: AccountParts) -> None:
    ann, bob = await parts.login_device("ann"), await parts.login_device("bob")
    await parts.grant("start", ann.player_id, gold=100)
    spent = {"gold": -1}

    async def spend(number: int) -> bool:
        request = transaction(
            f"spend {number}", {ann.player_id: spent}, player=ann.player_id, session_id="", command_id=0
        )
        return not (await parts.store.ledger.commit(request)).refused

    grants = [parts.grant(f"g{number}", ann.player_id, gold=1) for number in range(10)]
    spends = [spend(number) for number in range(10)]
    results = await asyncio.gather(
        parts.service.merge(bob.player_id, ann.refresh_token), *grants, *spends, return_exceptions=False
    )
    await parts.login_device("bob")
    paid = sum(result is True for result in results)
    left, held = await read_holdings(parts.store.ledger, parts.store.players, ann.player_id, bob.player_id)
    assert (left.get("gold", 0), held["gold"]) == (0, 110 - paid)


async def test_merges_in_opposite_directions_leave_one_account(parts: AccountParts) -> None:
    for round in range(5):
        ann, bob = [await parts.login_device(f"{name}{round}") for name in ("ann", "bob")]
        await parts.grant(f"a{round}", ann.player_id, gold=5)
        await parts.grant(f"b{round}", bob.player_id, gold=7)
        found = await asyncio.gather(
            parts.service.merge(bob.player_id, ann.refresh_token),
            other_process(parts).service.merge(ann.player_id, bob.refresh_token),
            return_exceptions=True,
        )
        assert sum(isinstance(one, Conflict | Unauthorized) for one in found) == 1, found
        players = {(await parts.login_device(f"{name}{round}")).player_id for name in ("ann", "bob")}
        assert len(players) == 1
        holdings = await read_holdings(parts.store.ledger, parts.store.players, *players)
        assert holdings[0]["gold"] == 12


async def test_a_chain_of_merges_ends_in_one_account(parts: AccountParts) -> None:
    ann, bob, cid = [await parts.login_device(name) for name in ("ann", "bob", "cid")]
    for tokens in (ann, bob, cid):
        await parts.grant(f"to {tokens.player_id}", tokens.player_id, gold=1)
    await parts.merges.begin(ann.player_id, bob.player_id, b"proof")  # and its process ends
    await parts.service.merge(cid.player_id, bob.refresh_token)
    assert {(await parts.login_device(name)).player_id for name in ("ann", "bob", "cid")} == {cid.player_id}
    (holdings,) = await read_holdings(parts.store.ledger, parts.store.players, cid.player_id)
    assert holdings["gold"] == 3
    await parts.grant("late", ann.player_id, gold=10)
    await parts.login_device("cid")
    (holdings,) = await read_holdings(parts.store.ledger, parts.store.players, cid.player_id)
    assert holdings["gold"] == 13


async def test_impossible_merges_are_refused_and_change_nothing(parts: AccountParts) -> None:
    ann, bob = [await parts.login_device(name) for name in ("ann", "bob")]
    with pytest.raises(InvalidArgument):
        await parts.service.merge(ann.player_id, ann.refresh_token)
    with pytest.raises(Unauthorized):
        await parts.service.merge(ann.player_id, "0" * 32)
    await parts.store.bans.save(Ban(bob.player_id, now_utc() + HOUR, "cheating"))
    with pytest.raises(Banned):
        await parts.service.merge(ann.player_id, bob.refresh_token)
    await parts.store.bans.save(Ban(bob.player_id, now_utc() - HOUR, "cheating"))
    await parts.grant("most", ann.player_id, gold=AMOUNT_MAX)
    await parts.grant("more", bob.player_id, gold=1)
    with pytest.raises(Conflict, match="at most"):
        await parts.service.merge(ann.player_id, bob.refresh_token)
    assert (await parts.service.get(bob.player_id)).is_active
    await parts.tokens.find_holder(bob.refresh_token)


async def test_a_merge_that_becomes_impossible_is_undone(parts: AccountParts) -> None:
    ann, bob = [await parts.login_device(name) for name in ("ann", "bob")]
    await parts.grant("more", bob.player_id, gold=1)
    await parts.merges.begin(bob.player_id, ann.player_id, b"proof")
    await parts.grant("most", ann.player_id, gold=AMOUNT_MAX)
    assert (await parts.login_device("bob")).player_id == bob.player_id
    assert not (await parts.service.get(ann.player_id)).is_pending


async def test_a_deleted_account_is_gone_with_all_accounts_merged_into_it(parts: AccountParts) -> None:
    ann, bob = [await parts.login_device(name) for name in ("ann", "bob")]
    await parts.grant("g", ann.player_id, gold=1)
    await parts.service.merge(bob.player_id, ann.refresh_token)
    for _ in range(2):  # a repetition succeeds
        await parts.service.delete(bob.player_id)
    assert await parts.documents() == []
    assert await parts.store.database["players"].count_documents({}) == 0
    assert await parts.store.database["ledger"].count_documents({"entries": {"$ne": []}}) == 0
    with pytest.raises(Unauthorized):
        await parts.service.get(bob.player_id)
    with pytest.raises(Unauthorized):
        await parts.login_device("bob", create=False)
    assert not parts.tokens.families
    assert (await parts.login_device("bob")).player_id not in (ann.player_id, bob.player_id)


async def test_a_login_finishes_a_deletion_that_a_crash_has_interrupted(parts: AccountParts) -> None:
    ann = await parts.login_device("ann")
    await parts.accounts.begin_deletion(ann.player_id)
    again = await parts.login_device("ann")
    assert again.player_id != ann.player_id
    assert await parts.accounts.find(ann.player_id) is None


async def test_interrupted_operations_are_resumed_without_a_login(parts: AccountParts) -> None:
    ann, bob, cid = [await parts.login_device(name) for name in ("ann", "bob", "cid")]
    await parts.accounts.begin_deletion(ann.player_id)
    await parts.merges.begin(bob.player_id, cid.player_id, b"proof")
    assert await parts.pending.resume(now_utc()) == 0, "too young"
    assert await parts.pending.resume(now_utc() + HOUR) == 3
    documents = {one["_id"]: one for one in await parts.documents()}
    assert documents.keys() == {bob.player_id, cid.player_id}
    assert documents[bob.player_id]["merged_into"] == cid.player_id
    assert await parts.pending.resume(now_utc() + HOUR) == 0


async def test_two_accounts_without_identities_do_not_collide(parts: AccountParts) -> None:
    target = await parts.login_device("ann")
    for name in ("bob", "cid"):
        await parts.service.merge(target.player_id, (await parts.login_device(name)).refresh_token)
    assert sum(not one["identities"] for one in await parts.documents()) == 2


async def test_a_login_during_a_merge_yields_no_token_of_the_merged_account(parts: AccountParts) -> None:
    for round in range(5):
        ann, bob = [await parts.login_device(f"{name}{round}") for name in ("ann", "bob")]
        logins = [parts.login_device(f"ann{round}") for _ in range(4)]
        await asyncio.gather(parts.service.merge(bob.player_id, ann.refresh_token), *logins)
        assert ann.player_id not in parts.tokens.families.values()


async def test_an_unknown_account_is_refused(parts: AccountParts) -> None:
    with pytest.raises(Unauthorized):
        await parts.service.link(create_player_id(), device("tablet"))


async def test_an_export_has_all_that_is_stored_and_no_secret(parts: AccountParts) -> None:
    ann, bob = [await parts.login_device(name) for name in ("ann", "bob")]
    await parts.service.link(bob.player_id, await parts.passwords.create_identity("bob@x.example", "correct horse"))
    await parts.grant("g", ann.player_id, gold=1)
    await parts.service.merge(bob.player_id, ann.refresh_token)
    await parts.store.bans.save(Ban(bob.player_id, now_utc() - HOUR, "swearing"))
    families = parts.store.database["refresh_families"]
    await families.insert_one(
        {"_id": "f", "player_id": bob.player_id, "current": b"hash"}, bypass_document_validation=True
    )
    entry = {"operator": "olga", "role": "support", "note": "asked by phone", "target": {"player_id": bob.player_id}}
    await parts.store.database["audit"].insert_one(
        entry | {"at": now_utc(), "action": "PUT /bans/{player_id}", "request": "", "result": 200}
    )
    lines = [line async for line in export_player(parts.store, bob.player_id)]
    text = "\n".join(lines)
    for word in (
        "bob@x.example",
        "device-0000000000000ann",
        ann.player_id,
        "swearing",
        "gold",
        "refresh_families",
        "PUT /bans",
    ):
        assert word in text, word
    for word in ("argon2id", '"secret"', "merge_proof", '"current"', "olga", "support", "phone"):
        assert word not in text, word
    with pytest.raises(NotSavable):
        [line async for line in export_player(parts.store, "p-unknown")]


async def test_each_collection_is_exported_or_has_no_data_of_players(parts: AccountParts) -> None:
    names = set(await parts.store.database.list_collection_names())
    listed = {collection.name for collection in PLAYER_COLLECTIONS}
    assert names - listed - WITHOUT_PLAYERS == set(), "list new collections in player_data.py"
    assert not listed & WITHOUT_PLAYERS


async def test_a_deletion_counts_what_it_deletes(parts: AccountParts) -> None:
    ann = await parts.login_device("ann")
    await parts.grant("g", ann.player_id, gold=1)
    await parts.store.bans.save(Ban(ann.player_id, now_utc() - HOUR, "swearing"))
    deleted = await parts.pending.delete_player(ann.player_id)
    assert (deleted["accounts"], deleted["players"], deleted["other documents"]) == (1, 1, 1)


async def test_concurrent_guesses_at_several_processes_share_the_budgets(parts: AccountParts) -> None:
    limits = LockoutSettings(pair_burst=3, pair_per_hour=1.0, client_burst=2, client_per_hour=1.0)
    processes = [AccountParts(parts.store, parts.tokens, parts.hasher, limits) for _ in range(2)]
    owner = await processes[0].passwords.login_email("ann@x.example", "correct horse", HERE, create=True)

    async def guess(number: int, origin: ClientOrigin) -> type[BaseException]:
        with pytest.raises((Unauthorized, RateLimited)) as raised:
            await processes[number % 2].passwords.login_email("ann@x.example", "wrong horse", origin, create=False)
        return raised.type

    found = await asyncio.gather(*(guess(number, HERE) for number in range(8)))
    assert Counter(found) == {Unauthorized: 3, RateLimited: 5}
    assert sum((one.counters.locked_out for one in processes), Counter()) == {"pair": 5}
    with pytest.raises(RateLimited):
        await processes[1].passwords.login_email("ann@x.example", "correct horse", HERE, create=False)
    known = ClientOrigin(HERE.address, owner.known_client)
    for _ in range(5):  # a success is refunded
        await processes[1].passwords.login_email("ann@x.example", "correct horse", known, create=False)
    found = [await guess(number, known) for number in range(3)]
    assert found == [Unauthorized, Unauthorized, RateLimited]


async def test_budgets_refill_by_the_clock_of_the_database_and_expire_when_full(parts: AccountParts) -> None:
    budget = Budget("pair:x", 2, 1 / 3600)
    attempts = parts.store.database["login_attempts"]
    assert [await parts.attempts.charge([budget]) > 0 for _ in range(3)] == [False, False, True]
    waits_ms = await parts.attempts.charge([budget])
    assert 3_500_000 < waits_ms <= 3_600_000
    document = await attempts.find_one({"_id": "pair:x"})
    assert document is not None
    assert 7100 < (document["expires_at"] - document["at"]).total_seconds() <= 7200
    await attempts.update_one({"_id": "pair:x"}, {"$set": {"at": document["at"] - HOUR}})
    assert [await parts.attempts.charge([budget]) > 0 for _ in range(2)] == [False, True]
    for _ in range(5):
        await parts.attempts.refund([budget])
    document = await attempts.find_one({"_id": "pair:x"})
    assert document is not None
    assert document["tokens"] == 2
    await attempts.update_one({"_id": "pair:x"}, {"$set": {"at": document["at"] + HOUR}})  # a clock set back
    assert await parts.attempts.charge([budget]) == 0


async def test_a_deleted_account_leaves_no_budget(parts: AccountParts) -> None:
    created = await parts.passwords.login_email("ann@x.example", "correct horse", HERE, create=True)
    await parts.service.delete(created.tokens.player_id)
    left = await parts.store.database["login_attempts"].find().to_list(None)
    assert not [one for one in left if one["_id"].startswith("account:")]


async def test_no_operation_reads_all_accounts(parts: AccountParts) -> None:
    """With millions of accounts, a query without an index does not end in time."""
    await parts.store.database.command("profile", 2)
    ann, bob = [await parts.login_device(name) for name in ("ann", "bob")]
    await parts.service.link(ann.player_id, device("tablet"))
    await parts.service.unlink(ann.player_id, "device", device("tablet").subject)
    await parts.passwords.login_email("cid@x.example", "correct horse", HERE, create=True)
    for _ in range(2):
        await parts.service.merge(bob.player_id, ann.refresh_token)
    await parts.pending.resume(now_utc() + HOUR)
    [line async for line in export_player(parts.store, bob.player_id)]
    await parts.service.delete(bob.player_id)
    await parts.store.database.command("profile", 0)
    scanned = [
        (one["ns"], one.get("command"))
        async for one in parts.store.database["system.profile"].find({"planSummary": "COLLSCAN"})
        if one["ns"].rpartition(".")[2] in ("accounts", "players", "ledger", "bans", "login_attempts")
    ]
    assert scanned == []


async def test_a_login_whose_tokens_a_merge_has_ended_is_repeated(parts: AccountParts) -> None:
    ann, bob = [await parts.login_device(name) for name in ("ann", "bob")]
    issue = parts.tokens.issue

    async def issue_and_merge(player_id: str, provider: str) -> IssuedTokens:
        tokens = await issue(player_id, provider)
        if player_id == ann.player_id:
            await other_process(parts).service.merge(bob.player_id, ann.refresh_token)
        return tokens

    parts.tokens.issue = issue_and_merge  # type: ignore[method-assign]
    assert (await parts.login_device("ann")).player_id == bob.player_id


async def test_a_banned_player_cannot_escape_by_changing_the_account(parts: AccountParts) -> None:
    ann, bob = [await parts.login_device(name) for name in ("ann", "bob")]
    await parts.service.link(ann.player_id, device("tablet"))
    await parts.service.link(ann.player_id, await parts.passwords.create_identity("ann@x.example", "correct horse"))
    await parts.store.bans.save(Ban(ann.player_id, now_utc() + HOUR, "cheating"))
    holder, before = await parts.tokens.find_holder(ann.refresh_token), await parts.documents()
    for change in (
        lambda: parts.service.unlink(ann.player_id, "device", device("tablet").subject),
        lambda: parts.service.link(ann.player_id, device("phone")),
        lambda: parts.service.change_password(holder, ("correct horse", "battery staple"), HERE),
        lambda: parts.service.merge(ann.player_id, bob.refresh_token),
        lambda: parts.service.merge(bob.player_id, ann.refresh_token),
        lambda: parts.service.delete(ann.player_id),
    ):
        with pytest.raises(Banned):
            await change()
    assert await parts.documents() == before
    assert await parts.store.bans.find(ann.player_id) is not None


async def test_a_linked_address_keeps_its_password_and_says_so(parts: AccountParts) -> None:
    ann = (await parts.login_device("ann")).player_id
    for _ in range(2):  # a repetition succeeds
        account = await parts.service.link_email(ann, ("ann@x.example", "correct horse"), HERE)
    assert len(account.identities) == 2
    with pytest.raises(IdentityTaken, match="another password"):
        await parts.service.link_email(ann, ("Ann@x.example", "battery staple"), HERE)
    await parts.passwords.login_email("ann@x.example", "correct horse", HERE, create=False)
    await parts.service.unlink(ann, "email", "ann@x.example")  # the player has forgotten the password
    await parts.service.link_email(ann, ("ann@x.example", "battery staple"), HERE)
    await parts.passwords.login_email("ann@x.example", "battery staple", HERE, create=False)


async def test_links_that_look_for_addresses_of_others_are_limited(parts: AccountParts) -> None:
    limits = LockoutSettings(address_burst=3, address_per_hour=1.0)
    guest = AccountParts(parts.store, parts.tokens, parts.hasher, limits)
    await parts.passwords.login_email("ann@x.example", "correct horse", ClientOrigin("192.0.2.9"), create=True)
    bob = (await parts.login_device("bob")).player_id
    for number in range(5):  # a success is refunded
        await guest.service.link_email(bob, (f"bob{number}@x.example", "correct horse"), HERE)
    for _ in range(3):
        with pytest.raises(IdentityTaken):
            await guest.service.link_email(bob, ("ann@x.example", "correct horse"), HERE)
    with pytest.raises(RateLimited):
        await guest.service.link_email(bob, ("ann@x.example", "correct horse"), HERE)
    await parts.passwords.login_email("ann@x.example", "correct horse", ClientOrigin("192.0.2.9"), create=False)


async def test_a_merge_is_resumed_by_the_clock_of_the_fleet(parts: AccountParts) -> None:
    """The clock of the machine is an hour ahead of it."""
    ann, bob = [await parts.login_device(name) for name in ("ann", "bob")]
    fleet_time = now_utc() - HOUR
    merges = MergeStore(parts.store, lambda: fleet_time)
    await merges.begin(ann.player_id, bob.player_id, b"proof")
    assert await parts.pending.resume(fleet_time) == 0
    assert await parts.pending.resume(fleet_time + datetime.timedelta(minutes=1)) == 2
