"""The ledger on MongoDB alone: locks of killed shards, two transactions at the same time, and deadlines.

A ledger in memory has none of them: its transactions are one step of the event loop. The rules that both keep are in
test_ledger.py.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection
from pymongo.errors import PyMongoError

from tests.harness.ledger_stores import create_mongo_ledger, read_holdings, transaction
from tickwire.server.errors import StaleEpoch, Unavailable
from tickwire.server.storage import Ledger, MongoStore, SavedWorld
from tickwire.server.storage.ledger_documents import create_entry
from tickwire.server.storage.stale_transactions import OPEN_S_MAX

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@pytest.fixture
async def store(mongo_url: str, mongo_database: str) -> AsyncIterator[MongoStore]:
    made = MongoStore(mongo_url, mongo_database)
    await create_mongo_ledger(made)
    yield made
    await made.ledger.close()
    made.close()


async def create_player(store: MongoStore, player_id: str) -> None:
    document = {"_id": player_id, "version": 1, "holdings": {}, "profile": {}, "created_at": NOW, "updated_at": NOW}
    await store.database["players"].insert_one(document)


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
        assert await read_holdings(store.ledger, store.players, "ann") == [{"gold": 1}]
        with pytest.raises(PyMongoError):
            await session.commit_transaction()
    assert await read_holdings(store.ledger, store.players, "ann") == [{"gold": 1}]
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
    assert await read_holdings(store.ledger, store.players, "ann") == [{"gold": 1}]
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


async def test_refusal_is_decided_by_the_newest_record(store: MongoStore) -> None:
    async def earn() -> None:
        other = Ledger(store.client, store.database, store.calls, store.stale_transactions)
        await other.commit(transaction("wage", {"ann": {"gold": 10}}, fence="another room"))

    await create_player(store, "ann")
    setattr(store.ledger, "_ledger", Slowed(store.ledger._ledger, "insert_one", earn))  # noqa: B010
    spent = await store.ledger.commit(transaction("1", {"ann": {"gold": -10}}))
    assert (spent.is_new, spent.refused) == (True, "")
    assert await read_holdings(store.ledger, store.players, "ann") == [{"gold": 0}]


async def test_transactions_of_other_applications_are_not_ended(
    store: MongoStore, mongo_url: str, mongo_database: str
) -> None:
    others: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(mongo_url, appname="another process")
    async with await others.start_session() as session:
        session.start_transaction()
        await others[mongo_database]["theirs"].insert_one({"a": 1}, session=session)
        await asyncio.sleep(OPEN_S_MAX + 0.2)
        assert await store.stale_transactions.kill() == 0
        await session.commit_transaction()
    assert await others[mongo_database]["theirs"].count_documents({}) == 1
    others.close()


async def test_refusal_written_by_an_older_build_is_returned_for_its_key(store: MongoStore) -> None:
    await store.ledger.commit(transaction("key:quest", {"ann": {"gold": -5}}))
    await store.database["ledger"].update_one({"_id": "key:quest"}, {"$unset": {"attempted": ""}})
    again = await store.ledger.commit(transaction("key:quest", {"bob": {"gold": -5}}, command_id=7))
    assert again.refused == "not enough gold"


async def test_transactions_that_wait_too_long_raise_unavailable(store: MongoStore) -> None:
    store.calls.call_s_max = 0.2
    held = [await store.ledger.transactions._slots.acquire() for _ in range(16)]
    assert all(held)
    with pytest.raises(Unavailable):
        await store.ledger.commit(transaction("1", {"ann": {"gold": 1}}))
