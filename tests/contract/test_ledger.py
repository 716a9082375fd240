"""What players own, on a real MongoDB: once, as a whole, and never less than nothing."""

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
from tickwire.server.storage.ledger import _create_entry
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


def booking(key: str, changes: Changes, *, player: str = "ann", **more: Any) -> TransactionRequest:
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
        }, "the sums of the ledger are what players hold"
    return [found[player].holdings for player in players]


async def test_grant_spend_transfer_and_trade(store: MongoStore) -> None:
    granted = await store.ledger.commit(booking("1", {"ann": {"gold": 100}}))
    assert (granted.is_new, granted.reply, granted.refused) == (True, b"1", "")
    assert granted.players["ann"] == PlayerRecord("ann", 1, {"gold": 100}, {})
    await store.ledger.commit(booking("2", {"ann": {"gold": -30, "sword": 1}}))
    await store.ledger.commit(booking("3", {"ann": {"gold": -20}, "bob": {"gold": 20}}))
    await store.ledger.commit(booking("4", {"bob": {"gold": -5, "sword": 1}, "ann": {"gold": 5, "sword": -1}}))
    assert await holdings(store, "ann", "bob") == [{"gold": 55, "sword": 0}, {"gold": 15, "sword": 1}]


async def test_what_is_repeated_is_answered_as_before_and_happens_once(store: MongoStore) -> None:
    await store.ledger.commit(booking("1", {"ann": {"gold": 10}}))
    again = await store.ledger.commit(booking("1", {"ann": {"gold": 10}}, reply=b"another"))
    assert (again.is_new, again.reply) == (False, b"1")
    await store.ledger.commit(booking("2", {"ann": {"gold": -10}}))
    spent = await store.ledger.commit(booking("2", {"ann": {"gold": -10}}))
    assert (spent.is_new, spent.reply, spent.refused) == (False, b"2", ""), "though there is nothing left to spend"
    assert await holdings(store, "ann") == [{"gold": 0}]


async def test_ten_at_once_with_one_key_happen_once(store: MongoStore) -> None:
    done = await asyncio.gather(*(store.ledger.commit(booking("1", {"ann": {"gold": 7}})) for _ in range(10)))
    assert [one.is_new for one in done].count(True) == 1
    assert {one.reply for one in done} == {b"1"}
    assert await holdings(store, "ann") == [{"gold": 7}]


async def test_two_who_spend_the_same_gold_at_once_do_not_both(store: MongoStore) -> None:
    await store.ledger.commit(booking("0", {"ann": {"gold": 10}}))
    done = await asyncio.gather(
        *(store.ledger.commit(booking(f"{n}", {"ann": {"gold": -10}}, fence=f"room {n}")) for n in range(1, 6))
    )
    assert sorted(one.refused for one in done) == ["", *["not enough gold"] * 4]
    assert await holdings(store, "ann") == [{"gold": 0}]


async def test_crossing_trades_all_come_to_an_end(store: MongoStore) -> None:
    for player in ("ann", "bob", "cid"):
        await store.ledger.commit(booking(f"of {player}", {player: {"gold": 100}}, player=player))
    pairs = [("ann", "bob"), ("bob", "cid"), ("cid", "ann"), ("bob", "ann")] * 5
    await asyncio.gather(
        *(
            store.ledger.commit(booking(f"{n}", {a: {"gold": -1}, b: {"gold": 1}}, fence=f"room {n}"))
            for n, (a, b) in enumerate(pairs)
        )
    )
    assert await holdings(store, "ann", "bob", "cid") == [{"gold": 105}, {"gold": 95}, {"gold": 100}]


async def test_what_was_refused_stays_refused(store: MongoStore) -> None:
    refused = await store.ledger.commit(booking("1", {"ann": {"gold": -10}, "bob": {"gold": 10}}))
    assert (refused.is_new, refused.refused) == (True, "not enough gold")
    await store.ledger.commit(booking("2", {"ann": {"gold": 50}}))
    again = await store.ledger.commit(booking("1", {"ann": {"gold": -10}, "bob": {"gold": 10}}))
    assert (again.is_new, again.refused) == (False, "not enough gold"), "the player was told so"
    assert await holdings(store, "ann", "bob") == [{"gold": 50}, {}]


async def test_nobody_owns_more_than_can_be_counted(store: MongoStore) -> None:
    await store.ledger.commit(booking("1", {"ann": {"gold": AMOUNT_MAX - 1}}))
    refused = await store.ledger.commit(booking("2", {"ann": {"gold": 2}}))
    assert refused.refused == f"a player can own at most {AMOUNT_MAX} gold"
    assert not (await store.ledger.commit(booking("3", {"ann": {"gold": 1}}))).refused


async def test_an_older_owner_of_the_room_books_nothing(store: MongoStore) -> None:
    await store.ledger.commit(booking("1", {"ann": {"gold": 1}}, fence="garden/home", epoch=3))
    await store.worlds.claim("garden", "home", 4)
    with pytest.raises(StaleEpoch):
        await store.ledger.commit(booking("2", {"ann": {"gold": 1}}, fence="garden/home", epoch=3))
    assert await holdings(store, "ann") == [{"gold": 1}]
    assert (await store.ledger.commit(booking("2", {"ann": {"gold": 1}}, fence="garden/home", epoch=4))).is_new


class Slowed:
    """A collection that waits before one of its calls, or after it, for what happens meanwhile."""

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


async def test_a_deal_in_the_middle_of_which_the_room_is_taken_over_does_not_happen(store: MongoStore) -> None:
    """The sleeper wakes in its transaction: after it has passed the fence, or before."""
    for call, where in (
        ("insert_one", "_ledger"),
        ("find_one_and_update", "_players"),
        ("update_one", "_fences"),
    ):
        claimed: list[asyncio.Task[Any]] = []

        async def claim() -> None:
            claimed.append(asyncio.create_task(store.worlds.claim("garden", where, 2)))  # noqa: B023
            # Before the fence nothing is in its way. Behind it a claim waits for the transaction: let it get there.
            await asyncio.wait(claimed, timeout=0.2 if where == "_fences" else 10)  # noqa: B023

        setattr(store.ledger, where, Slowed(getattr(store.ledger, where), call, claim))
        wanted = booking(f"at {where}", {"ann": {"gold": 1}}, fence=f"garden/{where}", epoch=1)
        try:
            await store.ledger.commit(wanted)
            was_booked = True
        except StaleEpoch:
            was_booked = False
        await asyncio.gather(*claimed)
        # Either the deal came first, and whoever claims sees it; or the claim did, and there is no deal.
        assert was_booked == bool(await store.database["ledger"].find_one({"_id": wanted.key}))
        assert was_booked == (where == "_fences")
        with pytest.raises(StaleEpoch):
            await store.ledger.commit(
                booking(f"after {where}", {"ann": {"gold": 1}}, fence=f"garden/{where}", epoch=1)
            )


async def test_a_transaction_that_a_killed_shard_has_left_open_keeps_nobody_waiting(
    store: MongoStore, mongo_url: str, mongo_database: str
) -> None:
    dead = MongoStore(mongo_url, mongo_database)
    await store.worlds.claim("garden", "home", 1)
    await store.worlds.save(SavedWorld("home", "garden", 1, {}, {}), 1)
    async with await dead.client.start_session() as session:
        session.start_transaction()
        wanted = booking("1", {"ann": {"gold": 1}}, fence="garden/home", epoch=1)
        await dead.ledger._steps(wanted, session)  # and here it ends
        await asyncio.sleep(OPEN_S_MAX)
        async with asyncio.timeout(3):
            await store.worlds.claim("garden", "home", 2)
            booked = await store.ledger.commit(msgspec.structs.replace(wanted, epoch=2))
        assert booked.is_new
        assert await holdings(store, "ann") == [{"gold": 1}]
        with pytest.raises(PyMongoError):
            await session.commit_transaction()
    assert await holdings(store, "ann") == [{"gold": 1}]
    dead.close()


async def test_a_player_whom_a_killed_shard_has_left_locked_deals_at_once_in_a_room_that_is_made_again(
    store: MongoStore, mongo_url: str, mongo_database: str
) -> None:
    dead = MongoStore(mongo_url, mongo_database)
    await store.worlds.claim("garden", "home", 1)
    await store.worlds.save(SavedWorld("home", "garden", 1, {}, {}), 1)
    async with await dead.client.start_session() as session:
        session.start_transaction()
        wanted = booking("1", {"ann": {"gold": 1}}, fence="garden/home", epoch=1)
        await dead.ledger._ledger.insert_one({**_create_entry(wanted, NOW, []), "_id": "1"}, session=session)
        await asyncio.sleep(OPEN_S_MAX)
        async with asyncio.timeout(3):
            await store.worlds.claim("garden", "home", 2)  # nothing is in its own way
            assert (await store.ledger.commit(msgspec.structs.replace(wanted, epoch=2))).is_new
    dead.close()


async def test_a_player_who_is_locked_elsewhere_is_told_to_come_again_and_then_deals(
    store: MongoStore, mongo_url: str, mongo_database: str
) -> None:
    """No claim comes by: whoever was kept waiting ends what a dead shard has left, also when it has given up."""
    dead = MongoStore(mongo_url, mongo_database)
    store.calls.call_s_max = 3.0
    await create_player(store, "ann")
    async with await dead.client.start_session() as session:
        session.start_transaction()
        await dead.ledger._steps(booking("dead", {"ann": {"gold": 1}}, fence="one room"), session)
        wanted = booking("1", {"ann": {"gold": 1}}, fence="another room")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(OPEN_S_MAX + 0.5):
                await store.ledger.commit(wanted)
        await store.ledger.close()
        async with asyncio.timeout(2):
            assert not (await store.ledger.commit(wanted)).refused
    assert await holdings(store, "ann") == [{"gold": 1}]
    dead.close()


async def test_what_could_not_be_ended_while_mongo_was_away_is_ended_when_it_is_back(
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
        await dead.ledger._steps(booking("dead", {"ann": {"gold": 1}}, fence="one room"), session)
        wanted = booking("1", {"ann": {"gold": 1}}, fence="another room")
        monkeypatch.setattr(store.stale_transactions, "_kill", is_away)
        with pytest.raises(Unavailable):
            await store.ledger.commit(wanted)
        await store.ledger.close()
        monkeypatch.setattr(store.stale_transactions, "_kill", end)
        assert (await store.ledger.commit(wanted)).is_new
    dead.close()


async def test_where_transactions_cannot_be_looked_for_rooms_are_claimed_all_the_same(
    store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def not_allowed() -> int:
        raise Unavailable("it failed with code 13")

    await store.worlds.claim("garden", "home", 1)
    await store.worlds.save(SavedWorld("home", "garden", 1, {}, {}), 1)
    monkeypatch.setattr(store.stale_transactions, "_kill", not_allowed)
    assert await store.worlds.claim("garden", "home", 2) is not None


async def test_a_session_that_deals_a_lot_pushes_out_no_others_answers(store: MongoStore) -> None:
    other = msgspec.structs.replace(booking("other", {"bob": {"gold": 1}}), session_id="s2")
    await store.ledger.commit(other)
    entries = [
        {**_create_entry(booking(f"{n}", {}), NOW, []), "at": datetime.datetime.now(datetime.UTC), "command_id": n}
        for n in range(2 * REPLIES_MAX + 5)
    ]
    await store.database["ledger"].insert_many(entries)
    found = await store.ledger.list_replies(["s1", "s2"])
    assert [one.reply for one in found if one.session_id == "s2"] == [b"other"]
    assert len([one for one in found if one.session_id == "s1"]) == REPLIES_MAX


async def test_who_earns_while_a_deal_is_under_way_is_not_refused_for_what_was_before(store: MongoStore) -> None:
    async def earn() -> None:
        other = Ledger(store.client, store.database, store.calls, store.stale_transactions)
        await other.commit(booking("wage", {"ann": {"gold": 10}}, fence="another room"))

    await create_player(store, "ann")
    setattr(store.ledger, "_ledger", Slowed(store.ledger._ledger, "insert_one", earn))  # noqa: B010
    spent = await store.ledger.commit(booking("1", {"ann": {"gold": -10}}))
    assert (spent.is_new, spent.refused) == (True, "")
    assert await holdings(store, "ann") == [{"gold": 0}]


async def test_a_transaction_of_others_is_left_alone(store: MongoStore, mongo_url: str, mongo_database: str) -> None:
    others: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(mongo_url, appname="somebody else")
    async with await others.start_session() as session:
        session.start_transaction()
        await others[mongo_database]["theirs"].insert_one({"a": 1}, session=session)
        await asyncio.sleep(OPEN_S_MAX + 0.2)
        assert await store.stale_transactions.kill() == 0
        await session.commit_transaction()
    assert await others[mongo_database]["theirs"].count_documents({}) == 1
    others.close()


async def test_a_profile_is_changed_as_it_was_read_or_not_at_all(store: MongoStore) -> None:
    created = await store.ledger.commit(booking("0", {}, versions={"ann": 0}, profile={"name": "Ann"}))
    first = created.players["ann"]
    assert (first.version, first.profile, first.holdings) == (1, {"name": "Ann"}, {})
    for version in (0, 2):
        with pytest.raises(VersionConflict):
            await store.ledger.commit(booking("-1", {}, versions={"ann": version}, profile={"name": "Not Ann"}))
    both = await store.ledger.commit(
        booking("1", {"ann": {"gold": 5}}, versions={"ann": 1}, profile={"name": "Annie"})
    )
    assert both.players["ann"] == PlayerRecord("ann", 2, {"gold": 5}, {"name": "Annie"})
    for version, changes in (
        (1, {"ann": {"gold": 5}}),
        (0, {}),
        (0, {"ann": {"gold": 1}}),
        (1, {"ann": {"gold": -1}}),
    ):
        with pytest.raises(VersionConflict):
            await store.ledger.commit(booking("2", changes, versions={"ann": version}, profile={}))
    assert await holdings(store, "ann") == [{"gold": 5}]
    fresh = await store.ledger.commit(booking("3", {}, player="bob", versions={"bob": 0}, profile={"name": "Bob"}))
    assert fresh.players["bob"] == PlayerRecord("bob", 1, {}, {"name": "Bob"})


async def test_every_record_that_a_decision_was_based_on_must_be_the_newest(store: MongoStore) -> None:
    await store.ledger.commit(booking("0", {"ann": {"gold": 5}}))
    for versions in ({"ann": 0}, {"ann": 2}, {"ann": 1, "bob": 1}, {"bob": 1}):
        with pytest.raises(VersionConflict):
            await store.ledger.commit(booking("1", {"ann": {"gold": 1}}, versions=versions))
    await store.ledger.commit(booking("1", {"ann": {"gold": 1}}, versions={"ann": 1, "bob": 0}))
    await store.ledger.commit(booking("2", {"bob": {"gold": 1}}, versions={"ann": 2, "bob": 0, "cid": 0}))
    found = await store.players.load(["ann", "bob", "cid"])
    assert [found[player].version for player in found] == [2, 1, 0], "to be read does not change a player"
    assert await holdings(store, "ann", "bob") == [{"gold": 6}, {"gold": 1}]
    await store.ledger.commit(booking("3", {"cid": {"gold": 1}}, versions={"cid": 0}))
    with pytest.raises(VersionConflict):
        await store.ledger.commit(booking("4", {"ann": {"gold": 1}}, versions={"cid": 0}))


async def test_of_two_that_each_read_what_the_other_changes_one_is_written(store: MongoStore) -> None:
    """Write skew: each alone may be written, and both together may not."""
    for player in ("ann", "bob"):
        await store.ledger.commit(booking(player, {player: {"gold": 1}}))
    for number in range(10):
        versions = {id: record.version for id, record in (await store.players.load(["ann", "bob"])).items()}
        both = [
            booking(f"{number}/{player}", {player: {"gold": 1}}, versions=versions, fence=f"room of {player}")
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
async def test_a_key_that_comes_again_for_something_else_is_refused(
    store: MongoStore, again: dict[str, Any], is_refused: bool
) -> None:
    first = booking("key:quest", {"ann": {"gold": 5} | ({"bread": -1} if is_refused else {})})
    assert bool((await store.ledger.commit(first)).refused) == is_refused
    before = await holdings(store, "ann", "bob")
    with pytest.raises(KeyReused, match="'quest'"):
        await store.ledger.commit(msgspec.structs.replace(first, session_id="s2", command_id=7, **again))
    assert await holdings(store, "ann", "bob") == before
    same = await store.ledger.commit(msgspec.structs.replace(first, session_id="s2", command_id=7))
    assert (same.is_new, same.is_own, bool(same.refused)) == (False, False, is_refused), "the same again is a repeat"


async def test_a_refusal_that_an_older_build_wrote_is_answered_under_its_key(store: MongoStore) -> None:
    await store.ledger.commit(booking("key:quest", {"ann": {"gold": -5}}))
    await store.database["ledger"].update_one({"_id": "key:quest"}, {"$unset": {"attempted": ""}})
    again = await store.ledger.commit(booking("key:quest", {"bob": {"gold": -5}}, command_id=7))
    assert again.refused == "not enough gold"


@pytest.mark.parametrize("profile", [{"a\0b": 1}, {"huge": 2**70}], ids=["nul", "huge"])
async def test_what_mongo_cannot_hold_is_an_error_with_a_name(store: MongoStore, profile: dict[str, Any]) -> None:
    with pytest.raises(NotSavable):
        await store.ledger.commit(booking("1", {"ann": {"gold": 5}}, versions={"ann": 0}, profile=profile))
    assert await holdings(store, "ann") == [{}]


async def test_a_sessions_answers_are_found_again(store: MongoStore) -> None:
    await store.ledger.commit(booking("1", {"ann": {"gold": 5}}, command_id=1))
    await store.ledger.commit(booking("2", {"ann": {"gold": -9}}, command_id=2))
    found = await store.ledger.list_replies(["s1", "another"])
    assert [(one.session_id, one.command_id, one.reply, one.refused) for one in found] == [
        ("s1", 1, b"1", ""),
        ("s1", 2, b"2", "not enough gold"),
    ]
    assert await store.ledger.list_replies([]) == []


async def test_what_is_acknowledged_is_read(store: MongoStore) -> None:
    for number in range(20):
        await store.ledger.commit(booking(f"{number}", {"ann": {"gold": 1}}))
        assert (await store.players.load(["ann"]))["ann"].holdings == {"gold": number + 1}


async def test_transactions_that_wait_too_long_are_told_to_come_again(store: MongoStore) -> None:
    store.calls.call_s_max = 0.2
    held = [await store.ledger._slots.acquire() for _ in range(16)]
    assert all(held)
    with pytest.raises(Unavailable):
        await store.ledger.commit(booking("1", {"ann": {"gold": 1}}))
