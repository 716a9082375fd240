"""The ledger on a real MongoDB: transactions are atomic, committed once, and no amount falls below 0."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection
from pymongo.errors import PyMongoError

from tickwire.limits import AMOUNT_MAX, REPLIES_MAX
from tickwire.server.errors import KeyReused, NotSavable, StaleEpoch, Unavailable, VersionConflict
from tickwire.server.storage import Ledger, MongoStore, PlayerRecord, SavedWorld, TransactionRequest, migrate
from tickwire.server.storage.ledger_documents import create_entry
from tickwire.server.storage.stale_transactions import OPEN_S_MAX

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
Changes = dict[str, dict[str, int]]


@pytest.fixture
async def store(mongo_url: str, mongo_database: str) -> AsyncIterator[MongoStore]:
    made = MongoStore(mongo_url, mongo_database)
    await migrate(made.database, made.calls)
    yield made
    await made.ledger.close()
    made.close()


def transaction(key: str, changes: Changes, *, player: str = "ann", **more: Any) -> TransactionRequest:
    wanted: dict[str, Any] = {"reply": key.encode(), "fence": "room", "epoch": 1, "command_id": 1} | more
    return TransactionRequest(key=key, player_id=player, session_id="s1", changes=changes, **wanted)


async def create_player(store: MongoStore, player_id: str) -> None:
    document = {"_id": player_id, "version": 1, "holdings": {}, "profile": {}, "created_at": NOW, "updated_at": NOW}
    await store.database["players"].insert_one(document)


async def holdings(store: MongoStore, *players: str) -> list[dict[str, int]]:
    found = await store.players.load(players)
    for player in players:
        assert {k: v for k, v in found[player].holdings.items() if v} == {
            k: v for k, v in (await store.ledger.sums(player)).items() if v
        }, "the sums of the ledger equal the holdings"
    return [found[player].holdings for player in players]


async def test_grants_spends_transfers_and_trades_keep_the_sum(store: MongoStore) -> None:
    granted = await store.ledger.commit(transaction("1", {"ann": {"gold": 100}}))
    assert (granted.is_new, granted.reply, granted.refused) == (True, b"1", "")
    assert granted.players["ann"] == PlayerRecord("ann", 1, {"gold": 100}, {})
    await store.ledger.commit(transaction("2", {"ann": {"gold": -30, "sword": 1}}))
    await store.ledger.commit(transaction("3", {"ann": {"gold": -20}, "bob": {"gold": 20}}))
    await store.ledger.commit(transaction("4", {"bob": {"gold": -5, "sword": 1}, "ann": {"gold": 5, "sword": -1}}))
    assert await holdings(store, "ann", "bob") == [{"gold": 55, "sword": 0}, {"gold": 15, "sword": 1}]


async def test_repeated_request_returns_the_first_result_and_commits_once(store: MongoStore) -> None:
    await store.ledger.commit(transaction("1", {"ann": {"gold": 10}}))
    again = await store.ledger.commit(transaction("1", {"ann": {"gold": 10}}, reply=b"another"))
    assert (again.is_new, again.reply) == (False, b"1")
    await store.ledger.commit(transaction("2", {"ann": {"gold": -10}}))
    spent = await store.ledger.commit(transaction("2", {"ann": {"gold": -10}}))
    assert (spent.is_new, spent.reply, spent.refused) == (False, b"2", ""), (
        "the first result, although no gold is left"
    )
    assert await holdings(store, "ann") == [{"gold": 0}]


async def test_ten_concurrent_requests_with_one_key_commit_once(store: MongoStore) -> None:
    done = await asyncio.gather(*(store.ledger.commit(transaction("1", {"ann": {"gold": 7}})) for _ in range(10)))
    assert [one.is_new for one in done].count(True) == 1
    assert {one.reply for one in done} == {b"1"}
    assert await holdings(store, "ann") == [{"gold": 7}]


async def test_concurrent_requests_do_not_spend_the_same_gold_twice(store: MongoStore) -> None:
    await store.ledger.commit(transaction("0", {"ann": {"gold": 10}}))
    done = await asyncio.gather(
        *(store.ledger.commit(transaction(f"{n}", {"ann": {"gold": -10}}, fence=f"room {n}")) for n in range(1, 6))
    )
    assert sorted(one.refused for one in done) == ["", *["not enough gold"] * 4]
    assert await holdings(store, "ann") == [{"gold": 0}]


async def test_crossing_trades_do_not_deadlock(store: MongoStore) -> None:
    for player in ("ann", "bob", "cid"):
        await store.ledger.commit(transaction(f"of {player}", {player: {"gold": 100}}, player=player))
    pairs = [("ann", "bob"), ("bob", "cid"), ("cid", "ann"), ("bob", "ann")] * 5
    await asyncio.gather(
        *(
            store.ledger.commit(transaction(f"{n}", {a: {"gold": -1}, b: {"gold": 1}}, fence=f"room {n}"))
            for n, (a, b) in enumerate(pairs)
        )
    )
    assert await holdings(store, "ann", "bob", "cid") == [{"gold": 105}, {"gold": 95}, {"gold": 100}]


async def test_refused_request_stays_refused(store: MongoStore) -> None:
    refused = await store.ledger.commit(transaction("1", {"ann": {"gold": -10}, "bob": {"gold": 10}}))
    assert (refused.is_new, refused.refused) == (True, "not enough gold")
    await store.ledger.commit(transaction("2", {"ann": {"gold": 50}}))
    again = await store.ledger.commit(transaction("1", {"ann": {"gold": -10}, "bob": {"gold": 10}}))
    assert (again.is_new, again.refused) == (False, "not enough gold"), "the refusal is final"
    assert await holdings(store, "ann", "bob") == [{"gold": 50}, {}]


async def test_holdings_have_an_upper_limit(store: MongoStore) -> None:
    await store.ledger.commit(transaction("1", {"ann": {"gold": AMOUNT_MAX - 1}}))
    refused = await store.ledger.commit(transaction("2", {"ann": {"gold": 2}}))
    assert refused.refused == f"a player can own at most {AMOUNT_MAX} gold"
    assert not (await store.ledger.commit(transaction("3", {"ann": {"gold": 1}}))).refused


async def test_older_owner_of_the_room_cannot_commit(store: MongoStore) -> None:
    await store.ledger.commit(transaction("1", {"ann": {"gold": 1}}, fence="garden/home", epoch=3))
    await store.worlds.claim("garden", "home", 4)
    with pytest.raises(StaleEpoch):
        await store.ledger.commit(transaction("2", {"ann": {"gold": 1}}, fence="garden/home", epoch=3))
    assert await holdings(store, "ann") == [{"gold": 1}]
    assert (await store.ledger.commit(transaction("2", {"ann": {"gold": 1}}, fence="garden/home", epoch=4))).is_new


class Slowed:
    """A collection that runs a function before or after one of its calls."""

    def __init__(
        self, inner: AsyncIOMotorCollection[dict[str, Any]], call: str, meanwhile: Callable[[], Any]
    ) -> None:
        self._inner, self._call, self._meanwhile = inner, call, meanwhile

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name != self._call:
            return found

        async def slowed(*args: Any, **more: Any) -> Any:
            result = await found(*args, **more)
            self._call = ""  # once
            await self._meanwhile()
            return result

        return slowed


async def test_transaction_is_not_committed_if_the_room_is_claimed_during_it(store: MongoStore) -> None:
    """The room is claimed while a paused owner is in its transaction, before or after the write of the fence."""
    for call, where in (
        ("insert_one", "_ledger"),
        ("find_one_and_update", "_players"),
        ("update_one", "_fences"),
    ):
        claimed: list[asyncio.Task[Any]] = []

        async def claim() -> None:
            claimed.append(asyncio.create_task(store.worlds.claim("garden", where, 2)))  # noqa: B023
            # Before the fence the claim succeeds at once. After it the claim waits for the transaction.
            await asyncio.wait(claimed, timeout=0.2 if where == "_fences" else 10)  # noqa: B023

        setattr(store.ledger, where, Slowed(getattr(store.ledger, where), call, claim))
        wanted = transaction(f"at {where}", {"ann": {"gold": 1}}, fence=f"garden/{where}", epoch=1)
        try:
            await store.ledger.commit(wanted)
            was_booked = True
        except StaleEpoch:
            was_booked = False
        await asyncio.gather(*claimed)
        # Either the transaction was first, and the claim sees it; or the claim was first, and nothing is committed.
        assert was_booked == bool(await store.database["ledger"].find_one({"_id": wanted.key}))
        assert was_booked == (where == "_fences")
        with pytest.raises(StaleEpoch):
            await store.ledger.commit(
                transaction(f"after {where}", {"ann": {"gold": 1}}, fence=f"garden/{where}", epoch=1)
            )


async def test_transaction_left_open_by_a_killed_shard_does_not_block_a_claim(
    store: MongoStore, mongo_url: str, mongo_database: str
) -> None:
    dead = MongoStore(mongo_url, mongo_database)
    await store.worlds.claim("garden", "home", 1)
    await store.worlds.save(SavedWorld("home", "garden", 1, {}, {}), 1)
    async with await dead.client.start_session() as session:
        session.start_transaction()
        wanted = transaction("1", {"ann": {"gold": 1}}, fence="garden/home", epoch=1)
        await dead.ledger._steps(wanted, session)  # the shard is killed here
        await asyncio.sleep(OPEN_S_MAX)
        async with asyncio.timeout(20):
            await store.worlds.claim("garden", "home", 2)
            result = await store.ledger.commit(msgspec.structs.replace(wanted, epoch=2))
        assert result.is_new
        assert await holdings(store, "ann") == [{"gold": 1}]
        with pytest.raises(PyMongoError):
            await session.commit_transaction()
    assert await holdings(store, "ann") == [{"gold": 1}]
    dead.close()


async def test_player_locked_by_a_killed_shard_can_commit_in_the_restored_room(
    store: MongoStore, mongo_url: str, mongo_database: str
) -> None:
    dead = MongoStore(mongo_url, mongo_database)
    await store.worlds.claim("garden", "home", 1)
    await store.worlds.save(SavedWorld("home", "garden", 1, {}, {}), 1)
    async with await dead.client.start_session() as session:
        session.start_transaction()
        wanted = transaction("1", {"ann": {"gold": 1}}, fence="garden/home", epoch=1)
        await dead.ledger._ledger.insert_one({**create_entry(wanted, NOW, []), "_id": "1"}, session=session)
        await asyncio.sleep(OPEN_S_MAX)
        async with asyncio.timeout(20):
            await store.worlds.claim("garden", "home", 2)  # not blocked by its own transaction
            assert (await store.ledger.commit(msgspec.structs.replace(wanted, epoch=2))).is_new
    dead.close()


async def test_player_locked_elsewhere_receives_unavailable_and_commits_on_retry(
    store: MongoStore, mongo_url: str, mongo_database: str
) -> None:
    """Without a claim, the blocked request ends the stale transaction, even after its caller has timed out."""
    dead = MongoStore(mongo_url, mongo_database)
    store.calls.call_s_max = 3.0
    await create_player(store, "ann")
    async with await dead.client.start_session() as session:
        session.start_transaction()
        await dead.ledger._steps(transaction("dead", {"ann": {"gold": 1}}, fence="one room"), session)
        wanted = transaction("1", {"ann": {"gold": 1}}, fence="another room")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(OPEN_S_MAX + 0.5):
                await store.ledger.commit(wanted)
        await store.ledger.close()
        async with asyncio.timeout(20):
            assert not (await store.ledger.commit(wanted)).refused
    assert await holdings(store, "ann") == [{"gold": 1}]
    dead.close()


async def test_stale_transactions_are_ended_after_an_outage_of_mongodb(
    store: MongoStore, mongo_url: str, mongo_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = MongoStore(mongo_url, mongo_database)
    store.calls.call_s_max = 2.0
    await create_player(store, "ann")
    end = store.stale_transactions._kill

    async def is_away() -> int:
        raise Unavailable("no primary can be reached")

    async with await dead.client.start_session() as session:
        session.start_transaction()
        await dead.ledger._steps(transaction("dead", {"ann": {"gold": 1}}, fence="one room"), session)
        wanted = transaction("1", {"ann": {"gold": 1}}, fence="another room")
        monkeypatch.setattr(store.stale_transactions, "_kill", is_away)
        with pytest.raises(Unavailable):
            await store.ledger.commit(wanted)
        await store.ledger.close()
        monkeypatch.setattr(store.stale_transactions, "_kill", end)
        assert (await store.ledger.commit(wanted)).is_new
    dead.close()


async def test_rooms_are_claimed_without_the_right_to_list_transactions(
    store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def not_allowed() -> int:
        raise Unavailable("it failed with code 13")

    await store.worlds.claim("garden", "home", 1)
    await store.worlds.save(SavedWorld("home", "garden", 1, {}, {}), 1)
    monkeypatch.setattr(store.stale_transactions, "_kill", not_allowed)
    assert await store.worlds.claim("garden", "home", 2) is not None


async def test_busy_session_does_not_displace_the_replies_of_others(store: MongoStore) -> None:
    other = msgspec.structs.replace(transaction("other", {"bob": {"gold": 1}}), session_id="s2")
    await store.ledger.commit(other)
    entries = [
        {
            **create_entry(transaction(f"{n}", {}), NOW, []),
            "at": datetime.datetime.now(datetime.UTC),
            "command_id": n,
        }
        for n in range(2 * REPLIES_MAX + 5)
    ]
    await store.database["ledger"].insert_many(entries)
    found = await store.ledger.list_replies(["s1", "s2"])
    assert [one.reply for one in found if one.session_id == "s2"] == [b"other"]
    assert len([one for one in found if one.session_id == "s1"]) == REPLIES_MAX


async def test_refusal_is_decided_by_the_newest_record(store: MongoStore) -> None:
    async def earn() -> None:
        other = Ledger(store.client, store.database, store.calls, store.stale_transactions)
        await other.commit(transaction("wage", {"ann": {"gold": 10}}, fence="another room"))

    await create_player(store, "ann")
    setattr(store.ledger, "_ledger", Slowed(store.ledger._ledger, "insert_one", earn))  # noqa: B010
    spent = await store.ledger.commit(transaction("1", {"ann": {"gold": -10}}))
    assert (spent.is_new, spent.refused) == (True, "")
    assert await holdings(store, "ann") == [{"gold": 0}]


async def test_transactions_of_other_applications_are_not_ended(
    store: MongoStore, mongo_url: str, mongo_database: str
) -> None:
    others: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(mongo_url, appname="somebody else")
    async with await others.start_session() as session:
        session.start_transaction()
        await others[mongo_database]["theirs"].insert_one({"a": 1}, session=session)
        await asyncio.sleep(OPEN_S_MAX + 0.2)
        assert await store.stale_transactions.kill() == 0
        await session.commit_transaction()
    assert await others[mongo_database]["theirs"].count_documents({}) == 1
    others.close()


async def test_profile_is_replaced_only_at_the_version_that_was_read(store: MongoStore) -> None:
    created = await store.ledger.commit(transaction("0", {}, versions={"ann": 0}, profile={"name": "Ann"}))
    first = created.players["ann"]
    assert (first.version, first.profile, first.holdings) == (1, {"name": "Ann"}, {})
    for version in (0, 2):
        with pytest.raises(VersionConflict):
            await store.ledger.commit(transaction("-1", {}, versions={"ann": version}, profile={"name": "Not Ann"}))
    both = await store.ledger.commit(
        transaction("1", {"ann": {"gold": 5}}, versions={"ann": 1}, profile={"name": "Annie"})
    )
    assert both.players["ann"] == PlayerRecord("ann", 2, {"gold": 5}, {"name": "Annie"})
    for version, changes in (
        (1, {"ann": {"gold": 5}}),
        (0, {}),
        (0, {"ann": {"gold": 1}}),
        (1, {"ann": {"gold": -1}}),
    ):
        with pytest.raises(VersionConflict):
            await store.ledger.commit(transaction("2", changes, versions={"ann": version}, profile={}))
    assert await holdings(store, "ann") == [{"gold": 5}]
    fresh = await store.ledger.commit(
        transaction("3", {}, player="bob", versions={"bob": 0}, profile={"name": "Bob"})
    )
    assert fresh.players["bob"] == PlayerRecord("bob", 1, {}, {"name": "Bob"})


async def test_commit_requires_the_newest_version_of_every_record_read(store: MongoStore) -> None:
    await store.ledger.commit(transaction("0", {"ann": {"gold": 5}}))
    for versions in ({"ann": 0}, {"ann": 2}, {"ann": 1, "bob": 1}, {"bob": 1}):
        with pytest.raises(VersionConflict):
            await store.ledger.commit(transaction("1", {"ann": {"gold": 1}}, versions=versions))
    await store.ledger.commit(transaction("1", {"ann": {"gold": 1}}, versions={"ann": 1, "bob": 0}))
    await store.ledger.commit(transaction("2", {"bob": {"gold": 1}}, versions={"ann": 2, "bob": 0, "cid": 0}))
    found = await store.players.load(["ann", "bob", "cid"])
    assert [found[player].version for player in found] == [2, 1, 0], "a read record keeps its version"
    assert await holdings(store, "ann", "bob") == [{"gold": 6}, {"gold": 1}]
    await store.ledger.commit(transaction("3", {"cid": {"gold": 1}}, versions={"cid": 0}))
    with pytest.raises(VersionConflict):
        await store.ledger.commit(transaction("4", {"ann": {"gold": 1}}, versions={"cid": 0}))


async def test_write_skew_is_prevented(store: MongoStore) -> None:
    """Each of two transactions may be committed alone; both together may not."""
    for player in ("ann", "bob"):
        await store.ledger.commit(transaction(player, {player: {"gold": 1}}))
    for number in range(10):
        versions = {id: record.version for id, record in (await store.players.load(["ann", "bob"])).items()}
        both = [
            transaction(f"{number}/{player}", {player: {"gold": 1}}, versions=versions, fence=f"room of {player}")
            for player in ("ann", "bob")
        ]
        done = await asyncio.gather(*map(store.ledger.commit, both), return_exceptions=True)
        assert [type(one) for one in done].count(VersionConflict) == 1, done
    assert sum(one["gold"] for one in await holdings(store, "ann", "bob")) == 12


@pytest.mark.parametrize(
    "again",
    [
        {"changes": {"ann": {"gold": 6}}},
        {"changes": {"ann": {"silver": 5}}},
        {"changes": {"bob": {"gold": 5}}},
        {"changes": {"ann": {"gold": 5}, "bob": {"gold": 5}}},
        {"changes": {}},
        {"player_id": "bob", "profile": {"paid": True}, "versions": {"bob": 0}},
    ],
    ids=[
        "another amount",
        "another item",
        "another player",
        "one player more",
        "nothing",
        "another player's profile",
    ],
)
@pytest.mark.parametrize("is_refused", [False, True], ids=["written before", "refused before"])
async def test_key_reused_for_other_changes_is_refused(
    store: MongoStore, again: dict[str, Any], is_refused: bool
) -> None:
    first = transaction("key:quest", {"ann": {"gold": 5} | ({"bread": -1} if is_refused else {})})
    assert bool((await store.ledger.commit(first)).refused) == is_refused
    before = await holdings(store, "ann", "bob")
    with pytest.raises(KeyReused, match="'quest'"):
        await store.ledger.commit(msgspec.structs.replace(first, session_id="s2", command_id=7, **again))
    assert await holdings(store, "ann", "bob") == before
    same = await store.ledger.commit(msgspec.structs.replace(first, session_id="s2", command_id=7))
    assert (same.is_new, same.is_own, bool(same.refused)) == (False, False, is_refused), "a repeated request"


async def test_refusal_written_by_an_older_build_is_returned_for_its_key(store: MongoStore) -> None:
    await store.ledger.commit(transaction("key:quest", {"ann": {"gold": -5}}))
    await store.database["ledger"].update_one({"_id": "key:quest"}, {"$unset": {"attempted": ""}})
    again = await store.ledger.commit(transaction("key:quest", {"bob": {"gold": -5}}, command_id=7))
    assert again.refused == "not enough gold"


@pytest.mark.parametrize("profile", [{"a\0b": 1}, {"huge": 2**70}], ids=["nul", "huge"])
async def test_values_that_mongodb_cannot_hold_raise_not_savable(store: MongoStore, profile: dict[str, Any]) -> None:
    with pytest.raises(NotSavable):
        await store.ledger.commit(transaction("1", {"ann": {"gold": 5}}, versions={"ann": 0}, profile=profile))
    assert await holdings(store, "ann") == [{}]


async def test_replies_of_a_session_are_listed(store: MongoStore) -> None:
    await store.ledger.commit(transaction("1", {"ann": {"gold": 5}}, command_id=1))
    await store.ledger.commit(transaction("2", {"ann": {"gold": -9}}, command_id=2))
    found = await store.ledger.list_replies(["s1", "another"])
    assert [(one.session_id, one.command_id, one.reply, one.refused) for one in found] == [
        ("s1", 1, b"1", ""),
        ("s1", 2, b"2", "not enough gold"),
    ]
    assert await store.ledger.list_replies([]) == []


async def test_acknowledged_writes_are_read(store: MongoStore) -> None:
    for number in range(20):
        await store.ledger.commit(transaction(f"{number}", {"ann": {"gold": 1}}))
        assert (await store.players.load(["ann"]))["ann"].holdings == {"gold": number + 1}


async def test_transactions_that_wait_too_long_raise_unavailable(store: MongoStore) -> None:
    store.calls.call_s_max = 0.2
    held = [await store.ledger._slots.acquire() for _ in range(16)]
    assert all(held)
    with pytest.raises(Unavailable):
        await store.ledger.commit(transaction("1", {"ann": {"gold": 1}}))
