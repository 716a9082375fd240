"""The contract of a ledger, on MongoDB and in memory: a commit is atomic and happens once; no amount is below 0.

The tests that need MongoDB are in test_mongo_ledger.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from tests.harness.ledger_stores import Changes, LedgerStore, create_memory_ledger, create_mongo_ledger, transaction
from tickwire.limits import AMOUNT_MAX, REPLIES_MAX
from tickwire.server.errors import KeyReused, NotSavable, StaleEpoch, VersionConflict
from tickwire.server.storage import MongoStore, PlayerRecord


def nested_lists(levels: int) -> dict[str, Any]:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return {"deep": value}


@pytest.fixture(params=["mongodb", "memory"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[LedgerStore]:
    if request.param == "memory":
        yield create_memory_ledger()
        return
    mongo = MongoStore(request.getfixturevalue("mongo_url"), request.getfixturevalue("mongo_database"))
    yield await create_mongo_ledger(mongo)
    await mongo.ledger.close()
    mongo.close()


async def test_grants_spends_transfers_and_trades_keep_the_sum(store: LedgerStore) -> None:
    granted = await store.ledger.commit(transaction("1", {"ann": {"gold": 100}}))
    assert (granted.is_new, granted.reply, granted.refused) == (True, b"1", "")
    assert granted.players["ann"] == PlayerRecord("ann", 1, {"gold": 100}, {})
    await store.ledger.commit(transaction("2", {"ann": {"gold": -30, "sword": 1}}))
    await store.ledger.commit(transaction("3", {"ann": {"gold": -20}, "bob": {"gold": 20}}))
    await store.ledger.commit(transaction("4", {"bob": {"gold": -5, "sword": 1}, "ann": {"gold": 5, "sword": -1}}))
    assert await store.holdings("ann", "bob") == [{"gold": 55, "sword": 0}, {"gold": 15, "sword": 1}]


async def test_repeated_request_returns_the_first_result_and_commits_once(store: LedgerStore) -> None:
    await store.ledger.commit(transaction("1", {"ann": {"gold": 10}}))
    again = await store.ledger.commit(transaction("1", {"ann": {"gold": 10}}, reply=b"another"))
    assert (again.is_new, again.reply) == (False, b"1")
    await store.ledger.commit(transaction("2", {"ann": {"gold": -10}}))
    spent = await store.ledger.commit(transaction("2", {"ann": {"gold": -10}}))
    assert (spent.is_new, spent.reply, spent.refused) == (False, b"2", ""), (
        "the first result, although no gold is left"
    )
    assert await store.holdings("ann") == [{"gold": 0}]


async def test_ten_concurrent_requests_with_one_key_commit_once(store: LedgerStore) -> None:
    done = await asyncio.gather(*(store.ledger.commit(transaction("1", {"ann": {"gold": 7}})) for _ in range(10)))
    assert [one.is_new for one in done].count(True) == 1
    assert {one.reply for one in done} == {b"1"}
    assert await store.holdings("ann") == [{"gold": 7}]


async def test_concurrent_requests_do_not_spend_the_same_gold_twice(store: LedgerStore) -> None:
    await store.ledger.commit(transaction("0", {"ann": {"gold": 10}}))
    done = await asyncio.gather(
        *(store.ledger.commit(transaction(f"{n}", {"ann": {"gold": -10}}, fence=f"room {n}")) for n in range(1, 6))
    )
    assert sorted(one.refused for one in done) == ["", *["not enough gold"] * 4]
    assert await store.holdings("ann") == [{"gold": 0}]


async def test_crossing_trades_do_not_deadlock(store: LedgerStore) -> None:
    for player in ("ann", "bob", "cid"):
        await store.ledger.commit(transaction(f"of {player}", {player: {"gold": 100}}, player=player))
    pairs = [("ann", "bob"), ("bob", "cid"), ("cid", "ann"), ("bob", "ann")] * 5
    await asyncio.gather(
        *(
            store.ledger.commit(transaction(f"{n}", {a: {"gold": -1}, b: {"gold": 1}}, fence=f"room {n}"))
            for n, (a, b) in enumerate(pairs)
        )
    )
    assert await store.holdings("ann", "bob", "cid") == [{"gold": 105}, {"gold": 95}, {"gold": 100}]


async def test_refused_request_stays_refused(store: LedgerStore) -> None:
    refused = await store.ledger.commit(transaction("1", {"ann": {"gold": -10}, "bob": {"gold": 10}}))
    assert (refused.is_new, refused.refused) == (True, "not enough gold")
    await store.ledger.commit(transaction("2", {"ann": {"gold": 50}}))
    again = await store.ledger.commit(transaction("1", {"ann": {"gold": -10}, "bob": {"gold": 10}}))
    assert (again.is_new, again.refused) == (False, "not enough gold"), "the refusal is final"
    assert await store.holdings("ann", "bob") == [{"gold": 50}, {}]


async def test_refusal_is_forgotten_after_its_days_and_a_commit_never(store: LedgerStore) -> None:
    await store.ledger.commit(transaction("0", {"ann": {"gold": 5}}))
    assert (await store.ledger.commit(transaction("1", {"ann": {"gold": -9}}))).refused
    await store.expire_refusals()
    assert [one.command_id for one in await store.ledger.list_replies(["s1"])] == [1]
    assert not (await store.ledger.commit(transaction("0", {"ann": {"gold": 5}}))).is_new
    await store.ledger.commit(transaction("2", {"ann": {"gold": 5}}))
    again = await store.ledger.commit(transaction("1", {"ann": {"gold": -9}}))
    assert (again.is_new, again.refused) == (True, "")
    assert await store.holdings("ann") == [{"gold": 1}]


async def test_records_belong_to_the_caller(store: LedgerStore) -> None:
    profile = {"name": "Ann", "tags": ["a"]}
    done = await store.ledger.commit(transaction("0", {"ann": {"gold": 5}}, versions={"ann": 0}, profile=profile))
    read = (await store.players.load(["ann"]))["ann"]
    for record in (done.players["ann"], read):
        record.holdings["gold"] = 99
        record.profile["tags"].append("b")
    profile["name"] = "Bob"
    assert (await store.players.load(["ann"]))["ann"] == PlayerRecord(
        "ann", 1, {"gold": 5}, {"name": "Ann", "tags": ["a"]}
    )


async def test_failed_request_writes_nothing_to_any_record(store: LedgerStore) -> None:
    await store.ledger.commit(transaction("0", {"ann": {"gold": 5}, "bob": {"gold": 5}}))
    await store.claim("home", 2)
    both: Changes = {"ann": {"gold": 1}, "bob": {"gold": -1}}
    with pytest.raises(StaleEpoch):
        await store.ledger.commit(transaction("1", both, fence="garden/home"))
    with pytest.raises(VersionConflict):
        await store.ledger.commit(transaction("2", both, versions={"bob": 0}))
    poor = transaction("3", {"ann": {"gold": 1}, "bob": {"gold": -9}}, fence="garden/home")
    assert (await store.ledger.commit(poor)).refused == "not enough gold", "a refusal needs no fence"
    with pytest.raises(NotSavable):
        await store.ledger.commit(transaction("4", both, player="bob", versions={"bob": 1}, profile={"huge": 2**70}))
    assert await store.holdings("ann", "bob") == [{"gold": 5}, {"gold": 5}]
    assert [one.version for one in (await store.players.load(["ann", "bob"])).values()] == [1, 1]
    for key in ("1", "2", "4"):
        assert (await store.ledger.commit(transaction(key, both))).is_new, "the key is free"


async def test_holdings_have_an_upper_limit(store: LedgerStore) -> None:
    await store.ledger.commit(transaction("1", {"ann": {"gold": AMOUNT_MAX - 1}}))
    refused = await store.ledger.commit(transaction("2", {"ann": {"gold": 2}}))
    assert refused.refused == f"a player can own at most {AMOUNT_MAX} gold"
    assert not (await store.ledger.commit(transaction("3", {"ann": {"gold": 1}}))).refused


async def test_older_owner_of_the_room_cannot_commit(store: LedgerStore) -> None:
    await store.ledger.commit(transaction("1", {"ann": {"gold": 1}}, fence="garden/home", epoch=3))
    await store.claim("home", 4)
    with pytest.raises(StaleEpoch):
        await store.ledger.commit(transaction("2", {"ann": {"gold": 1}}, fence="garden/home", epoch=3))
    assert await store.holdings("ann") == [{"gold": 1}]
    assert (await store.ledger.commit(transaction("2", {"ann": {"gold": 1}}, fence="garden/home", epoch=4))).is_new


async def test_profile_is_replaced_only_at_the_version_that_was_read(store: LedgerStore) -> None:
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
    assert await store.holdings("ann") == [{"gold": 5}]
    fresh = await store.ledger.commit(
        transaction("3", {}, player="bob", versions={"bob": 0}, profile={"name": "Bob"})
    )
    assert fresh.players["bob"] == PlayerRecord("bob", 1, {}, {"name": "Bob"})


async def test_commit_requires_the_newest_version_of_every_record_read(store: LedgerStore) -> None:
    await store.ledger.commit(transaction("0", {"ann": {"gold": 5}}))
    for versions in ({"ann": 0}, {"ann": 2}, {"ann": 1, "bob": 1}, {"bob": 1}):
        with pytest.raises(VersionConflict):
            await store.ledger.commit(transaction("1", {"ann": {"gold": 1}}, versions=versions))
    await store.ledger.commit(transaction("1", {"ann": {"gold": 1}}, versions={"ann": 1, "bob": 0}))
    await store.ledger.commit(transaction("2", {"bob": {"gold": 1}}, versions={"ann": 2, "bob": 0, "cid": 0}))
    found = await store.players.load(["ann", "bob", "cid"])
    assert [found[player].version for player in found] == [2, 1, 0], "a read record keeps its version"
    assert await store.holdings("ann", "bob") == [{"gold": 6}, {"gold": 1}]
    await store.ledger.commit(transaction("3", {"cid": {"gold": 1}}, versions={"cid": 0}))
    with pytest.raises(VersionConflict):
        await store.ledger.commit(transaction("4", {"ann": {"gold": 1}}, versions={"cid": 0}))


async def test_write_skew_is_prevented(store: LedgerStore) -> None:
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
    assert sum(one["gold"] for one in await store.holdings("ann", "bob")) == 12


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
    store: LedgerStore, again: dict[str, Any], is_refused: bool
) -> None:
    first = transaction("key:quest", {"ann": {"gold": 5} | ({"bread": -1} if is_refused else {})})
    assert bool((await store.ledger.commit(first)).refused) == is_refused
    before = await store.holdings("ann", "bob")
    with pytest.raises(KeyReused, match="'quest'"):
        await store.ledger.commit(msgspec.structs.replace(first, session_id="s2", command_id=7, **again))
    assert await store.holdings("ann", "bob") == before
    same = await store.ledger.commit(msgspec.structs.replace(first, session_id="s2", command_id=7))
    assert (same.is_new, same.is_own, bool(same.refused)) == (False, False, is_refused), "a repeated request"


@pytest.mark.parametrize(
    "profile",
    [{"a\0b": 1}, {"huge": 2**70}, {"half": "\ud800"}, nested_lists(179)],
    ids=["nul", "huge", "surrogate", "deep"],
)
async def test_values_that_mongodb_cannot_hold_raise_not_savable(store: LedgerStore, profile: dict[str, Any]) -> None:
    with pytest.raises(NotSavable):
        await store.ledger.commit(transaction("1", {"ann": {"gold": 5}}, versions={"ann": 0}, profile=profile))
    assert await store.holdings("ann") == [{}]


async def test_a_profile_has_the_deepest_nesting_of_mongodb(store: LedgerStore) -> None:
    profile = nested_lists(178) | {"empty": {}}
    await store.ledger.commit(transaction("1", {}, versions={"ann": 0}, profile=profile))
    assert (await store.players.load(["ann"]))["ann"].profile == profile


async def test_replies_of_a_session_are_listed(store: LedgerStore) -> None:
    await store.ledger.commit(transaction("1", {"ann": {"gold": 5}}, command_id=1))
    await store.ledger.commit(transaction("2", {"ann": {"gold": -9}}, command_id=2))
    found = await store.ledger.list_replies(["s1", "another"])
    assert [(one.session_id, one.command_id, one.reply, one.refused) for one in found] == [
        ("s1", 1, b"1", ""),
        ("s1", 2, b"2", "not enough gold"),
    ]
    assert await store.ledger.list_replies([]) == []


async def test_acknowledged_writes_are_read(store: LedgerStore) -> None:
    for number in range(20):
        await store.ledger.commit(transaction(f"{number}", {"ann": {"gold": 1}}))
        assert (await store.players.load(["ann"]))["ann"].holdings == {"gold": number + 1}


async def test_busy_session_does_not_displace_the_replies_of_others(store: LedgerStore) -> None:
    await store.ledger.commit(transaction("other", {"bob": {"gold": 1}}, session_id="s2"))
    for number in range(REPLIES_MAX + 5):
        await store.ledger.commit(transaction(f"{number}", {}, command_id=number))
    found = await store.ledger.list_replies(["s1", "s2"])
    assert [one.reply for one in found if one.session_id == "s2"] == [b"other"]
    numbers = [one.command_id for one in found if one.session_id == "s1"]
    assert len(numbers) == REPLIES_MAX
    assert 0 not in numbers, "the newest ones"
