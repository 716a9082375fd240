"""The guarantees of the matchmaker, on a real Redis and on the in-process store of `tickwire.testing`.

Tests that take `redis_matchmaker` or `redis_url` run on Redis alone: only Redis loses keys, loads scripts, and has
round trips and a connection.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from functools import partial
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from tests.harness.handoffs import hand_over
from tests.harness.matchmaker_stores import MatchmakerStore, RedisStore
from tests.harness.polling import eventually
from tickwire.matchmaking import (
    BadRequest,
    Matchmaker,
    MatchmakerUnavailable,
    NoCapacity,
    Party,
    Placement,
    PlacementFull,
    PlacementLocked,
    PlaceRequest,
    RoomNotFound,
    RoomRecord,
    ShardInfo,
    StaleLease,
    Ttls,
)
from tickwire.server.placement.ready_shards import ReadyShards

TYPES = ("arena", "duel")
BRIEF_S = 1.5
EXPIRED_S = BRIEF_S + 0.1


async def registered(matchmaker: Matchmaker, *shard_ids: str, **about: Any) -> None:
    for shard_id in shard_ids:
        await matchmaker.directory.register(ShardInfo(shard_id, f"ws://{shard_id}", "1", room_types=TYPES, **about))


@pytest.fixture
async def matchmaker(store: MatchmakerStore) -> Matchmaker:
    made = store.create()
    await registered(made, "a", "b")
    return made


@pytest.fixture
async def redis_matchmaker(redis_store: RedisStore) -> Matchmaker:
    made = redis_store.create()
    await registered(made, "a", "b")
    return made


@pytest.fixture
async def hasty(store: MatchmakerStore) -> Matchmaker:
    """Leases and reservations last for BRIEF_S only: longer than a loaded machine needs for a few calls."""
    ttls = Ttls(shard_ms=30_000, lease_ms=int(BRIEF_S * 1000), reservation_ms=int(BRIEF_S * 1000))
    made = store.create(ttls=ttls)
    await registered(made, "a", "b")
    return made


def wish(player: str, shard: str = "a", seats: int = 4, **wanted: Any) -> PlaceRequest:
    return PlaceRequest(
        room_type=wanted.pop("room_type", "arena"), players=(player,), shard_id=shard, seats=seats, **wanted
    )


async def place(matchmaker: Matchmaker, player: str, shard: str = "a", seats: int = 4, **wanted: Any) -> Placement:
    return await matchmaker.placement.place(wish(player, shard, seats, **wanted))


async def tell(matchmaker: Matchmaker, placed: Placement, seats: int = 4, **facts: Any) -> None:
    record = RoomRecord(placed.room_id, placed.room_type, placed.epoch, seats, placed.name, code=placed.code)
    await matchmaker.leases.publish(msgspec.structs.replace(record, **facts), placed.shard_id)


async def is_known(matchmaker: Matchmaker, placed: Placement) -> bool:
    renewal = await matchmaker.leases.renew([(placed.room_id, placed.epoch)], placed.shard_id)
    return not renewal.gone and not renewal.lost


# -- placement ----------------------------------------------------------------------------------------------


async def test_rooms_fill_up_before_new_ones_open(matchmaker: Matchmaker) -> None:
    placed = [await place(matchmaker, f"p{number}", "ab"[number % 2]) for number in range(12)]
    assert [placement.is_new for placement in placed] == [number % 4 == 0 for number in range(12)]
    assert sorted(Counter(placement.room_id for placement in placed).values()) == [4, 4, 4]


async def test_open_room_on_the_requesting_shard_is_preferred_to_a_fuller_one_elsewhere(
    matchmaker: Matchmaker,
) -> None:
    first = await place(matchmaker, "p1", seats=3)
    other = "b" if first.shard_id == "a" else "a"
    await place(matchmaker, "p2", seats=3)
    await registered(matchmaker, first.shard_id, state="draining")  # a new room can only be on the other one
    on_other = await place(matchmaker, "p3", other, seats=3)
    await registered(matchmaker, first.shard_id)
    assert (on_other.is_new, on_other.shard_id) == (True, other)
    assert (await place(matchmaker, "p4", other, seats=3)).room_id == on_other.room_id, "one taken, but at hand"
    assert (await place(matchmaker, "p5", first.shard_id, seats=3)).room_id == first.room_id
    assert (await place(matchmaker, "p6", first.shard_id, seats=3)).room_id == on_other.room_id, "the last open one"


async def test_a_new_room_is_created_on_the_less_loaded_of_two_shards(matchmaker: Matchmaker) -> None:
    await matchmaker.directory.heartbeat("a", load=0.5, players=10, rooms=5)
    await matchmaker.directory.heartbeat("b", load=0.2, players=90, rooms=2)
    assert (await place(matchmaker, "p1", "a", name="one")).shard_id == "b", "load comes before players"
    await matchmaker.directory.heartbeat("b", load=0.5, players=90, rooms=2)
    assert (await place(matchmaker, "p1", "b", name="two")).shard_id == "a", "alike in load: fewer players"


async def test_a_crowd_between_two_heartbeats_is_spread(matchmaker: Matchmaker) -> None:
    await registered(matchmaker, "c", "d")
    placed = [await place(matchmaker, f"p{number}", name=f"room {number}") for number in range(80)]
    assert min(Counter(placement.shard_id for placement in placed).values()) > 10


async def test_no_room_is_created_on_a_shard_that_drains_is_full_or_overloaded(matchmaker: Matchmaker) -> None:
    await registered(matchmaker, "a", state="draining")
    assert {(await place(matchmaker, f"p{n}", "a", name=f"{n}")).shard_id for n in range(8)} == {"b"}
    await matchmaker.directory.heartbeat("b", load=0.9, players=0, rooms=1)
    with pytest.raises(NoCapacity):
        await place(matchmaker, "p", "a", name="another")
    await registered(matchmaker, "b", rooms_max=1)
    await matchmaker.directory.heartbeat("b", load=0.1, players=0, rooms=1)
    with pytest.raises(NoCapacity):
        await place(matchmaker, "p", "a", name="another")


async def test_a_shard_that_has_missed_its_heartbeats_gets_no_room_and_no_player(
    matchmaker: Matchmaker, store: MatchmakerStore
) -> None:
    """A room that was recovered on a shard that is dead waits for another lease."""
    open_room = await place(matchmaker, "p")
    dead = open_room.shard_id
    other = "b" if dead == "a" else "a"
    await store.delay_heartbeat(dead, 4000)
    assert {(await place(matchmaker, f"p{n}", other, name=f"{n}")).shard_id for n in range(8)} == {other}
    assert (await place(matchmaker, "p8", other)).shard_id == other, "its open room is not filled"
    await store.delay_heartbeat(other, 4000)
    placed = {(await place(matchmaker, f"p{n}", other, name=f"{n}")).shard_id for n in range(20, 40)}
    assert placed == {"a", "b"}, "all are silent: Redis did not answer for a while"


async def test_a_shard_that_was_replaced_at_its_address_gets_no_room_and_no_player(matchmaker: Matchmaker) -> None:
    """It was killed, and started again at its address, while the directory still has its entry."""
    await registered(matchmaker, "b", state="draining")
    old, open_room = await place(matchmaker, "p", name="old"), await place(matchmaker, "p")
    await registered(matchmaker, "b")
    await matchmaker.directory.register(ShardInfo("new", old.url, "1", room_types=TYPES))
    assert (await place(matchmaker, "q", "new")).room_id != open_room.room_id
    placed = {(await place(matchmaker, f"p{n}", "new", name=f"{n}")).shard_id for n in range(20)}
    assert placed == {"b", "new"}
    for wanted in ({"name": "old"}, {"room_id": open_room.room_id}):
        with pytest.raises(MatchmakerUnavailable, match="has failed"):
            await place(matchmaker, "q", "new", **wanted)
    home = await matchmaker.directory.locate_room(old.room_id, shard_id="new")
    assert home is not None
    assert (home.shard_id, home.url) == ("a", "")
    assert (await place(matchmaker, "q", "b", name="old")).url == old.url, "the others cannot know"


async def test_rooms_of_a_draining_shard_get_no_new_players(matchmaker: Matchmaker) -> None:
    first = await place(matchmaker, "p1")
    await registered(matchmaker, first.shard_id, state="draining")
    second = await place(matchmaker, "p2", first.shard_id)
    assert second.shard_id != first.shard_id
    assert await matchmaker.directory.list_rooms("arena") != []
    await registered(matchmaker, first.shard_id)
    assert (await place(matchmaker, "p3", first.shard_id)).room_id == first.room_id, "it stays after all"


async def test_a_shard_gets_only_room_types_that_it_can_host(matchmaker: Matchmaker) -> None:
    await matchmaker.directory.register(ShardInfo("new", "ws://new", "2", room_types=("chess",)))
    placed = await place(matchmaker, "p1", "a", room_type="chess")
    assert placed.shard_id == "new"
    with pytest.raises(NoCapacity):
        await place(matchmaker, "p1", "a", room_type="nobody's")


async def test_players_are_placed_within_their_region(matchmaker: Matchmaker) -> None:
    await registered(matchmaker, "far", region="asia")
    here, there = await place(matchmaker, "p1"), await place(matchmaker, "p2", "far", region="asia")
    assert there.shard_id == "far"
    assert here.room_id != there.room_id
    assert [room.room_id for room in await matchmaker.directory.list_rooms("arena", region="asia")] == [there.room_id]


async def test_a_hundred_joiners_for_the_last_ten_seats(matchmaker: Matchmaker) -> None:
    async def join(number: int) -> str:
        try:
            placed = await place(matchmaker, f"p{number}", "ab"[number % 2], 10, name="final")
        except PlacementFull:
            return "full"
        return placed.room_id

    results = await asyncio.gather(*(join(number) for number in range(100)))
    assert results.count("full") == 90
    assert len(set(results)) == 2


async def test_a_hundred_joiners_of_any_room_get_ten_full_rooms(matchmaker: Matchmaker) -> None:
    placed = await asyncio.gather(*(place(matchmaker, f"p{n}", "ab"[n % 2], 10) for n in range(100)))
    assert sorted(Counter(placement.room_id for placement in placed).values()) == [10] * 10


async def test_concurrent_requests_for_one_name_get_one_room(matchmaker: Matchmaker) -> None:
    placed = await asyncio.gather(*(place(matchmaker, f"p{n}", "ab"[n % 2], 50, name="lobby") for n in range(40)))
    assert len({(placement.room_id, placement.shard_id, placement.epoch) for placement in placed}) == 1
    assert sum(placement.is_new for placement in placed) == 1


async def test_a_repeated_request_takes_no_second_seat(matchmaker: Matchmaker) -> None:
    for _ in range(5):
        await place(matchmaker, "p1", name="lobby", seats=2)
    await place(matchmaker, "p2", name="lobby", seats=2)
    with pytest.raises(PlacementFull):
        await place(matchmaker, "p3", name="lobby", seats=2)


async def test_labels_choose_among_rooms_and_a_new_room_gets_them(matchmaker: Matchmaker) -> None:
    ice = await place(matchmaker, "p1", labels={"map": "ice", "mode": "ffa"})
    sand = await place(matchmaker, "p2", labels={"map": "sand"})
    assert (ice.labels, sand.is_new) == ({"map": "ice", "mode": "ffa"}, True)
    assert (await place(matchmaker, "p3", labels={"map": "ice"})).room_id == ice.room_id
    assert (await place(matchmaker, "p4", labels={"map": "ice", "mode": "duo"})).is_new
    assert {r.room_id for r in await matchmaker.directory.list_rooms("arena", labels={"map": "sand"})} == {
        sand.room_id
    }
    await tell(matchmaker, sand, labels={"map": "lava"})
    assert (await place(matchmaker, "p5", labels={"map": "lava"})).room_id == sand.room_id
    assert (await place(matchmaker, "p6", labels={"map": "sand"})).is_new, "the room has changed since"


@pytest.mark.parametrize(
    "labels", [{"a,b": "c"}, {"a": "b=c"}, {"": "x"}, {"a": "x" * 65}, {str(n): "x" for n in range(9)}]
)
async def test_invalid_labels_are_refused(matchmaker: Matchmaker, labels: dict[str, str]) -> None:
    with pytest.raises(BadRequest):
        await place(matchmaker, "p", labels=labels)


async def test_a_private_room_is_opened_only_by_its_code(matchmaker: Matchmaker) -> None:
    made = await place(matchmaker, "host", is_private=True)
    assert len(made.code) == 10
    typed = f"{made.code[:5]}-{made.code[5:]}".lower()
    assert (await place(matchmaker, "friend", code=typed)).room_id == made.room_id
    assert (await place(matchmaker, "stranger")).room_id != made.room_id
    with pytest.raises(PlacementLocked):
        await place(matchmaker, "stranger", room_id=made.room_id)
    for code in ("AAAAABBBBB", "short", "x" * 500):
        with pytest.raises(RoomNotFound):
            await place(matchmaker, "stranger", code=code)
    assert [room.room_id for room in await matchmaker.directory.list_rooms("arena")] != [made.room_id]


async def test_join_by_id(matchmaker: Matchmaker) -> None:
    first, other = await place(matchmaker, "p1", seats=2), await place(matchmaker, "p2", name="other")
    assert (await place(matchmaker, "p3", room_id=other.room_id)).room_id == other.room_id
    await place(matchmaker, "p4", room_id=first.room_id, seats=2)
    with pytest.raises(PlacementFull):
        await place(matchmaker, "p5", room_id=first.room_id, seats=2)
    with pytest.raises(RoomNotFound):
        await place(matchmaker, "p5", room_id="never was")


async def test_a_locked_room_accepts_only_its_own_players(matchmaker: Matchmaker) -> None:
    placed = await place(matchmaker, "p1")
    await tell(matchmaker, placed, access="locked", players=("p1",))
    assert (await place(matchmaker, "p2")).room_id != placed.room_id
    with pytest.raises(PlacementLocked):
        await place(matchmaker, "p2", room_id=placed.room_id)
    assert (await place(matchmaker, "p1", room_id=placed.room_id)).room_id == placed.room_id
    await tell(matchmaker, placed, access="open", players=("p1",))
    assert (await place(matchmaker, "p3", room_id=placed.room_id)).room_id == placed.room_id


async def test_a_party_is_seated_together_or_not_at_all(matchmaker: Matchmaker) -> None:
    opened = await place(matchmaker, "p1", seats=3)
    party = Party("the four of us", 3)
    friends = [await place(matchmaker, f"f{n}", "ab"[n % 2], 3, party=party) for n in range(3)]
    assert len({placement.room_id for placement in friends}) == 1
    assert friends[0].room_id != opened.room_id, "there were but two seats left"
    with pytest.raises(PlacementFull):
        await place(matchmaker, "f3", seats=3, party=party)
    assert (await place(matchmaker, "f1", "b", 3, party=party)).room_id == friends[0].room_id, "asked again"
    with pytest.raises(PlacementFull):
        await place(matchmaker, "g0", seats=3, room_id=opened.room_id, party=Party("others", 3))
    assert (await place(matchmaker, "p2", seats=3)).room_id == opened.room_id, "the refused party holds nothing"


async def test_a_member_of_a_party_that_has_lost_its_seat_gets_another_if_one_is_free(matchmaker: Matchmaker) -> None:
    party = Party("us", 2)
    placed, _ = [await place(matchmaker, player, seats=3, party=party, name="x") for player in ("f1", "f2")]
    owner = {"shard_id": placed.shard_id, "epoch": placed.epoch}
    await matchmaker.leases.release_seat(placed.room_id, "f2", **owner)
    with pytest.raises(PlacementFull):
        await place(matchmaker, "stranger", seats=3, party=party, name="x")
    assert (await place(matchmaker, "f2", seats=3, party=party, name="x")).room_id == placed.room_id
    await matchmaker.leases.release_seat(placed.room_id, "f2", **owner)
    for player in ("p1", "p2"):
        await place(matchmaker, player, seats=3, name="x")
    with pytest.raises(PlacementFull):
        await place(matchmaker, "f2", seats=3, party=party, name="x")


async def test_unused_seats_of_a_party_are_released(hasty: Matchmaker, store: MatchmakerStore) -> None:
    first = await place(hasty, "f1", seats=3, party=Party("late", 3), name="x")
    await hasty.leases.confirm_seat(first.room_id, "f1", shard_id=first.shard_id, epoch=first.epoch)

    async def two_more() -> bool:
        await tell(hasty, first, seats=3, players=("f1",))
        try:
            return all([await place(hasty, p, seats=3, name="x") for p in ("p1", "p2")])
        except PlacementFull:
            return False

    await store.wait(EXPIRED_S)
    await eventually(two_more)


@pytest.mark.parametrize("party", [Party("", 2), Party("x" * 65, 2), Party("a\nb", 2), Party("x", 0), Party("x", 5)])
async def test_invalid_parties_are_refused(matchmaker: Matchmaker, party: Party) -> None:
    with pytest.raises(BadRequest):
        await place(matchmaker, "p", party=party)


# -- reservations -------------------------------------------------------------------------------------------


async def test_an_expired_reservation_frees_the_seat(store: MatchmakerStore) -> None:
    brief = store.create(ttls=Ttls(reservation_ms=int(BRIEF_S * 1000)))
    await registered(brief, "a", "b")
    named, anywhere = await place(brief, "p1", seats=1, name="x"), await place(brief, "p1", seats=1)
    with pytest.raises(PlacementFull):
        await place(brief, "p2", seats=1, name="x")

    async def is_free() -> bool:
        try:
            return (await place(brief, "p2", seats=1, name="x")).room_id == named.room_id
        except PlacementFull:
            return False

    await store.wait(EXPIRED_S)
    await eventually(is_free)
    assert (await place(brief, "p3", anywhere.shard_id, seats=1)).room_id == anywhere.room_id


async def test_a_seated_player_keeps_the_seat_after_another_request(
    hasty: Matchmaker, store: MatchmakerStore
) -> None:
    placed = await place(hasty, "p1", seats=1, name="x")
    await hasty.leases.confirm_seat(placed.room_id, "p1", shard_id=placed.shard_id, epoch=placed.epoch)
    await place(hasty, "p1", seats=1, name="x")
    await store.wait(EXPIRED_S)  # longer than a reservation lasts
    await tell(hasty, placed, seats=1, players=("p1",))
    with pytest.raises(PlacementFull):
        await place(hasty, "p2", seats=1, name="x")


async def test_a_local_seat_is_taken_at_once_and_a_remote_one_is_reserved(
    hasty: Matchmaker, store: MatchmakerStore
) -> None:
    placed = await place(hasty, "p1", "a", 2, name="x")
    assert not placed.is_seated
    there = await place(hasty, "p2", placed.shard_id, 2, name="x", seat_here=True)
    assert there.is_seated
    await store.wait(EXPIRED_S)  # longer than reservations last
    await tell(hasty, placed, seats=2, players=("p2",))
    assert (await place(hasty, "p3", seats=2, name="x")).room_id == placed.room_id
    with pytest.raises(PlacementFull):
        await place(hasty, "p4", seats=2, name="x")


async def test_a_released_seat_is_free(matchmaker: Matchmaker) -> None:
    placed = await place(matchmaker, "p1", seats=1, name="x")
    owner = {"shard_id": placed.shard_id, "epoch": placed.epoch}
    await matchmaker.leases.confirm_seat(placed.room_id, "p1", **owner)
    with pytest.raises(PlacementFull):
        await place(matchmaker, "p2", seats=1, name="x")
    await matchmaker.leases.release_seat(placed.room_id, "p1", **owner)
    assert (await place(matchmaker, "p2", seats=1, name="x")).room_id == placed.room_id


async def test_publishing_a_room_keeps_seats_taken_meanwhile(matchmaker: Matchmaker) -> None:
    placed = await place(matchmaker, "p1", seats=2)
    for player in ("p1", "p2"):
        await place(matchmaker, player, seats=2)
        owner = {"shard_id": placed.shard_id, "epoch": placed.epoch}
        await matchmaker.leases.confirm_seat(placed.room_id, player, **owner)
    await tell(matchmaker, placed, seats=2)  # the list was made before both came
    assert (await place(matchmaker, "p3", seats=2)).room_id != placed.room_id, "both seats are taken"


# -- leases -------------------------------------------------------------------------------------------------


async def made_again(
    store: MatchmakerStore, matchmaker: Matchmaker, first: Placement, *, is_durable: bool
) -> Placement:
    """Wait until the lease of a named room has ended, and place a player in the room that is made for its name."""
    second = first

    async def is_made_again() -> bool:
        nonlocal second
        second = await place(matchmaker, "p2", "b", name=first.name, is_durable=is_durable)
        return second.epoch != first.epoch

    await store.wait(EXPIRED_S)
    await eventually(is_made_again)
    return second


async def test_a_named_room_that_starts_new_has_a_new_id(hasty: Matchmaker, store: MatchmakerStore) -> None:
    first = await place(hasty, "p1", name="lobby")
    second = await made_again(store, hasty, first, is_durable=False)
    assert second.epoch > first.epoch
    assert second.room_id != first.room_id, "a key that a game makes of the id is not repeated"
    with pytest.raises(StaleLease):
        await tell(hasty, first)


async def test_a_room_whose_lease_ended_gets_a_greater_epoch(hasty: Matchmaker, store: MatchmakerStore) -> None:
    first = await place(hasty, "p1", name="lobby", is_durable=True)
    second = await made_again(store, hasty, first, is_durable=True)
    assert second.epoch > first.epoch
    assert second.room_id == first.room_id, "its world is restored: it is the same room"
    await hasty.leases.renew([(second.room_id, second.epoch)], second.shard_id)
    with pytest.raises(StaleLease):
        await hasty.leases.confirm_seat(first.room_id, "p1", shard_id=first.shard_id, epoch=first.epoch)
    with pytest.raises(StaleLease):
        await hasty.leases.release_seat(first.room_id, "p1", shard_id=first.shard_id, epoch=first.epoch)
    with pytest.raises(StaleLease):
        await tell(hasty, first)


async def test_owner_that_was_paused_is_refused_after_its_successor_ended(
    hasty: Matchmaker, store: MatchmakerStore
) -> None:
    first = await place(hasty, "p1", name="lobby")
    second = first

    async def is_taken_over() -> bool:
        nonlocal second
        second = await place(hasty, "p2", "b", name="lobby")
        return second.epoch != first.epoch

    await store.wait(EXPIRED_S)
    await eventually(is_taken_over)
    await hasty.leases.release(second.room_id, shard_id=second.shard_id, epoch=second.epoch)
    renewal = await hasty.leases.renew([(first.room_id, first.epoch)], first.shard_id)
    assert renewal.gone == {first.room_id}
    with pytest.raises(StaleLease):
        await tell(hasty, first)
    third = await place(hasty, "p3", name="lobby")
    assert third.epoch > second.epoch


async def test_a_released_name_keeps_its_epoch_growing(matchmaker: Matchmaker) -> None:
    first = await place(matchmaker, "p", name="lobby")
    await matchmaker.leases.release(first.room_id, shard_id=first.shard_id, epoch=first.epoch)
    second = await place(matchmaker, "p", "b", name="lobby")
    assert second.is_new
    assert second.epoch > first.epoch
    await matchmaker.leases.release(first.room_id, shard_id=first.shard_id, epoch=first.epoch)  # late, and in vain
    assert await is_known(matchmaker, second)


async def test_a_handover_keeps_the_seats(matchmaker: Matchmaker) -> None:
    first = await place(matchmaker, "p1", seats=2, name="lobby", is_private=False)
    other = "b" if first.shard_id == "a" else "a"
    await matchmaker.leases.confirm_seat(first.room_id, "p1", shard_id=first.shard_id, epoch=first.epoch)
    epoch = await hand_over(matchmaker, first.room_id, shard_id=first.shard_id, epoch=first.epoch, to=other)
    assert epoch > first.epoch
    renewal = await matchmaker.leases.renew([(first.room_id, first.epoch)], first.shard_id)
    assert renewal.lost == {first.room_id}
    with pytest.raises(StaleLease):
        await hand_over(matchmaker, first.room_id, shard_id=first.shard_id, epoch=first.epoch, to=other)
    second = await place(matchmaker, "p2", seats=2, name="lobby")
    assert (second.room_id, second.shard_id, second.epoch) == (first.room_id, other, epoch)
    with pytest.raises(PlacementFull):
        await place(matchmaker, "p3", seats=2, name="lobby")


async def test_owner_that_was_paused_is_refused_after_the_next_lease_ended(
    matchmaker: Matchmaker, store: MatchmakerStore
) -> None:
    first = await place(matchmaker, "p1")
    other = "b" if first.shard_id == "a" else "a"
    owner = {"shard_id": first.shard_id, "epoch": first.epoch}
    epoch = await hand_over(matchmaker, first.room_id, to=other, **owner)
    await store.end_lease(first.room_id)
    with pytest.raises(StaleLease):
        await tell(matchmaker, first)
    await tell(matchmaker, msgspec.structs.replace(first, shard_id=other, epoch=epoch))


async def test_a_room_is_not_handed_over_to_a_shard_that_drains_or_does_not_exist(matchmaker: Matchmaker) -> None:
    placed = await place(matchmaker, "p1")
    owner = {"shard_id": placed.shard_id, "epoch": placed.epoch}
    await registered(matchmaker, "c", state="draining")
    for shard in ("c", "nobody"):
        with pytest.raises(MatchmakerUnavailable):
            await hand_over(matchmaker, placed.room_id, to=shard, **owner)
    assert await is_known(matchmaker, placed)


async def test_an_epoch_is_raised_above_that_of_a_store(matchmaker: Matchmaker) -> None:
    placed = await place(matchmaker, "p", name="lobby")
    owner = {"shard_id": placed.shard_id}
    above = placed.epoch + 3_600_000_000  # the clock of Redis was an hour ahead when the store was written
    epoch = await matchmaker.leases.raise_epoch(placed.room_id, epoch=placed.epoch, above=above, **owner)
    assert epoch == above + 1
    with pytest.raises(StaleLease):
        await matchmaker.leases.raise_epoch(placed.room_id, epoch=placed.epoch, above=above, **owner)
    assert (await place(matchmaker, "q", name="lobby")).epoch == epoch
    assert (await place(matchmaker, "q", name="another")).epoch > epoch


async def test_a_previous_owner_cannot_release_seats(matchmaker: Matchmaker) -> None:
    first = await place(matchmaker, "p1", seats=1, name="lobby")
    owner = {"shard_id": first.shard_id, "epoch": first.epoch}
    await matchmaker.leases.confirm_seat(first.room_id, "p1", **owner)
    other = "b" if first.shard_id == "a" else "a"
    await hand_over(matchmaker, first.room_id, to=other, **owner)
    with pytest.raises(StaleLease):
        await matchmaker.leases.release_seat(first.room_id, "p1", **owner)
    with pytest.raises(PlacementFull):
        await place(matchmaker, "p2", seats=1, name="lobby")


# -- Redis forgets ------------------------------------------------------------------------------------------


async def forget_all(matchmaker: Matchmaker, redis_url: str) -> None:
    """A flush of this fleet's keys alone."""
    async with Redis.from_url(redis_url) as redis:
        async for key in redis.scan_iter(f"{{{matchmaker.namespace}}}*"):
            await redis.delete(key)


async def test_new_names_are_refused_until_the_fleet_has_published_its_names(
    redis_matchmaker: Matchmaker, redis_url: str
) -> None:
    placed = await place(redis_matchmaker, "p1", name="lobby", seats=2)
    for _ in range(3):
        await place(redis_matchmaker, "p", name="another", seats=2)
    await forget_all(redis_matchmaker, redis_url)
    for shard in "ab":
        info = ShardInfo(shard, f"ws://{shard}", "1", room_types=TYPES)
        assert not (await redis_matchmaker.directory.heartbeat(shard, load=0.0, players=0, rooms=0)).is_known
        await redis_matchmaker.directory.register(info, was_registered=True)
    with pytest.raises(MatchmakerUnavailable, match="being restored") as refused:
        await place(redis_matchmaker, "p2", name="lobby", seats=2)
    assert 500 <= refused.value.retry_after_ms <= 3000
    assert (await place(redis_matchmaker, "p9")).is_new, "rooms without a name can be had"
    record = RoomRecord(placed.room_id, "arena", 4711, 2, "lobby", players=("p1", "p8"))
    await redis_matchmaker.leases.publish(record, placed.shard_id)
    with pytest.raises(PlacementFull):
        await place(redis_matchmaker, "p2", name="lobby", seats=2)
    assert (await place(redis_matchmaker, "p3", labels={"map": "ice"})).epoch > 4711, (
        "the epoch continues after the published one"
    )


async def test_a_new_fleet_does_not_wait(store: MatchmakerStore) -> None:
    made = store.create()
    await registered(made, "a")
    assert (await place(made, "p", name="lobby")).is_new


async def test_an_owner_from_before_a_flush_does_not_regain_a_name(
    redis_matchmaker: Matchmaker, redis_url: str
) -> None:
    """Its epoch is greater than that of the room which has the name now: the clock of Redis was ahead then."""
    async with Redis.from_url(redis_url) as redis:
        await redis.set(f"{{{redis_matchmaker.namespace}}}:epoch", (time.time_ns() + 3600 * 10**9) // 1000)
    old = await place(redis_matchmaker, "p1", name="lobby")
    await forget_all(redis_matchmaker, redis_url)
    await registered(redis_matchmaker, "a", "b")
    new = await place(redis_matchmaker, "p2", name="lobby")
    assert new.epoch < old.epoch
    with pytest.raises(StaleLease):
        await tell(redis_matchmaker, old)
    assert (await place(redis_matchmaker, "p3", name="lobby")).room_id == new.room_id


async def test_epochs_keep_growing_when_the_counter_is_lost(redis_matchmaker: Matchmaker, redis_url: str) -> None:
    epochs = []
    for number in range(5):
        epochs.append((await place(redis_matchmaker, "p", name=f"room {number}")).epoch)
        async with Redis.from_url(redis_url) as redis:
            await redis.delete(f"{{{redis_matchmaker.namespace}}}:epoch")
    assert epochs == sorted(set(epochs))


async def entries(redis: Redis, namespace: str) -> dict[str, list[str]]:
    """Return the keys of a fleet, without times, counts and counters."""
    found: dict[str, list[str]] = {}
    async for key in redis.scan_iter(f"{{{namespace}}}:*"):
        kind = await redis.type(key)
        fields = await redis.hkeys(key) if kind == "hash" else []
        members = await redis.zrange(key, 0, -1) if kind == "zset" else []
        found[key.partition(":")[2]] = sorted(fields + members)
    return found


LASTING = ("epoch", "shards", "shard", "hosts", "owned", "room", "seats")
NAMED, PRIVATE, OPEN = {"name": "lobby"}, {"is_private": True}, {}


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [(kind, wanted) for kind in LASTING for wanted in (NAMED, PRIVATE, OPEN)]
    + [("name", NAMED), ("code", PRIVATE), ("open", OPEN), ("here", OPEN), ("with", OPEN)],
)
async def test_an_owner_restores_any_lost_key_within_a_heartbeat(
    redis_matchmaker: Matchmaker, redis_url: str, kind: str, wanted: dict[str, Any]
) -> None:
    placed = await place(redis_matchmaker, "p1", labels={"map": "ice"}, **wanted)
    await redis_matchmaker.leases.confirm_seat(placed.room_id, "p1", shard_id=placed.shard_id, epoch=placed.epoch)
    access: Any = "private" if placed.code else "open"
    async with Redis.from_url(redis_url, decode_responses=True) as redis:
        before = await entries(redis, redis_matchmaker.namespace)
        lost = [f"{{{redis_matchmaker.namespace}}}:{key}" for key in before if key.partition(":")[0] == kind]
        assert await redis.delete(*lost) == len(lost) > 0
        for shard in "ab":  # what a shard does once a second
            beat = partial(redis_matchmaker.directory.heartbeat, shard, load=0.1, players=1, rooms=1)
            if not (await beat()).is_known:
                await registered(redis_matchmaker, shard)
                await beat()
        owned, players = [(placed.room_id, placed.epoch)], {placed.room_id: 1}
        renewal = await redis_matchmaker.leases.renew(owned, placed.shard_id, players=players)
        assert renewal.lost == set()
        assert (renewal.gone == {placed.room_id}) == (kind in ("owned", "room", "seats", "name", "code"))
        if renewal.gone:
            await tell(redis_matchmaker, placed, access=access, labels=placed.labels, players=("p1",))
        newer = await place(redis_matchmaker, "p2", name="it needs an epoch")
        await redis_matchmaker.leases.release(newer.room_id, shard_id=newer.shard_id, epoch=newer.epoch)
        after = await entries(redis, redis_matchmaker.namespace)
        assert {key: after.get(key) for key in before} == before


async def test_a_renewal_restores_lost_indexes(redis_matchmaker: Matchmaker, redis_url: str) -> None:
    placed = await place(redis_matchmaker, "p1", labels={"map": "ice"})
    async with Redis.from_url(redis_url) as redis:
        for kind in ("open", "here", "with"):
            async for key in redis.scan_iter(f"{{{redis_matchmaker.namespace}}}:{kind}:*"):
                await redis.delete(key)
    assert await redis_matchmaker.directory.list_rooms("arena") == []
    assert await is_known(redis_matchmaker, placed)
    assert len(await redis_matchmaker.directory.list_rooms("arena", labels={"map": "ice"})) == 1


async def test_rooms_made_between_two_heartbeats_count(matchmaker: Matchmaker) -> None:
    await registered(matchmaker, "a", rooms_max=3)
    await registered(matchmaker, "b", state="draining")
    for n in range(3):
        await place(matchmaker, "p", name=f"room {n}")
    with pytest.raises(NoCapacity):
        await place(matchmaker, "p", name="one too many")


# -- the directory ------------------------------------------------------------------------------------------


async def test_a_draining_shard_hands_nothing_over_to_a_shard_that_has_failed(
    matchmaker: Matchmaker, store: MatchmakerStore
) -> None:
    ready = ReadyShards(matchmaker, shard_id="a", region="")

    async def found() -> list[str]:
        return [shard.info.shard_id for shard in await ready.find()]

    await registered(matchmaker, "c")
    await matchmaker.directory.register(ShardInfo("before a", "ws://a", "1", room_types=TYPES))
    assert await found() == ["b", "c"]
    await store.delay_heartbeat("b", 4000)
    assert await found() == ["c"]
    await store.delay_heartbeat("a", 4000)
    assert await found() == ["b", "c"], "Redis did not answer for a while"


async def test_a_shard_without_heartbeats_leaves_the_directory(store: MatchmakerStore) -> None:
    brief = store.create(ttls=Ttls(shard_ms=30))
    await registered(brief, "a")
    await store.wait(0.05)

    async def nobody_is_left() -> bool:
        return await brief.directory.list_shards() == []

    await eventually(nobody_is_left)
    assert not (await brief.directory.heartbeat("a", load=0.0, players=0, rooms=0)).is_known
    with pytest.raises(MatchmakerUnavailable, match="not registered in the directory"):
        await place(brief, "p")


async def test_the_directory_returns_the_entry_of_a_shard(matchmaker: Matchmaker) -> None:
    info = ShardInfo("c", "wss://c/s/1/", "2.1", "eu", "draining", ("arena", "chess"), 12, 0.7)
    await matchmaker.directory.register(info)
    await matchmaker.directory.heartbeat("c", load=0.25, players=7, rooms=2)
    status = {s.info.shard_id: s for s in await matchmaker.directory.list_shards()}["c"]
    assert msgspec.to_builtins(status) == {
        "info": msgspec.to_builtins(info) | {"room_types": ["arena", "chess"]},
        "load": 0.25,
        "players": 7,
        "rooms": 2,
        "is_silent": False,
    }
    await matchmaker.directory.deregister("c")
    await matchmaker.directory.deregister("c")
    assert "c" not in {s.info.shard_id for s in await matchmaker.directory.list_shards()}


async def test_every_key_but_the_epoch_expires(
    redis_matchmaker: Matchmaker, redis_url: str, redis_namespace: str
) -> None:
    placed = await place(redis_matchmaker, "p1", name="lobby")
    await place(redis_matchmaker, "p2", seats=1, labels={"map": "ice"})
    await place(redis_matchmaker, "p3", is_private=True, party=Party("x", 2))
    await tell(redis_matchmaker, placed, players=("p1",))
    await redis_matchmaker.leases.renew([(placed.room_id, placed.epoch)], placed.shard_id)
    await redis_matchmaker.directory.heartbeat("a", load=0.0, players=0, rooms=0)
    async with Redis.from_url(redis_url, decode_responses=True) as redis:
        forever = [key async for key in redis.scan_iter(f"{{{redis_namespace}}}*") if await redis.ttl(key) == -1]
    assert forever == [f"{{{redis_namespace}}}:epoch"]


# -- calls --------------------------------------------------------------------------------------------------


async def test_concurrent_calls_share_a_round_trip(redis_url: str, redis_namespace: str) -> None:
    trips: list[float] = []
    matchmaker = Matchmaker.from_url(redis_url, namespace=redis_namespace, observe=trips.append)
    await registered(matchmaker, "a", "b")
    before = matchmaker.scripts.counters.calls
    trips.clear()
    placed = await asyncio.gather(*(place(matchmaker, f"p{n}", name=f"room {n}") for n in range(200)))
    assert [placement.name for placement in placed] == [f"room {n}" for n in range(200)]
    assert matchmaker.scripts.counters.calls - before == 200
    assert 0 < len(trips) < 10
    await matchmaker.aclose()


async def test_scripts_are_loaded_again_after_a_restart_of_redis(
    redis_matchmaker: Matchmaker, redis_url: str
) -> None:
    async with Redis.from_url(redis_url) as redis:
        await redis.script_flush()
    placed = await asyncio.gather(*(place(redis_matchmaker, f"p{n}", name="x", seats=9) for n in range(9)))
    assert len({placement.room_id for placement in placed}) == 1


async def test_a_cancelled_call_is_cancelled_and_the_others_are_answered(redis_matchmaker: Matchmaker) -> None:
    """The Redis client was seen to answer a cancellation with a result, and a shard waited for its task for ever."""
    chance = random.Random(1)

    async def beat() -> None:
        while True:
            await redis_matchmaker.directory.heartbeat("unregistered", load=0.0, players=0, rooms=0)

    steady = asyncio.create_task(beat())
    async with asyncio.timeout(60):
        for _ in range(200):
            beating = asyncio.create_task(beat())
            await asyncio.sleep(chance.random() * 0.002)
            beating.cancel()
            done, _pending = await asyncio.wait([beating], timeout=20)
            assert done, "the cancellation was swallowed"
            assert beating.cancelled()
    assert not steady.done()
    steady.cancel()
    await asyncio.wait([steady])


async def test_a_closed_script_runner_refuses_calls(redis_url: str, redis_namespace: str) -> None:
    made = Matchmaker.from_url(redis_url, namespace=redis_namespace)
    under_way = asyncio.create_task(made.directory.list_shards())
    await asyncio.sleep(0)
    await made.aclose()
    with pytest.raises(MatchmakerUnavailable):
        await under_way
    with pytest.raises(MatchmakerUnavailable):
        await made.directory.list_shards()


async def test_a_room_is_located_while_its_shard_sends_heartbeats(
    matchmaker: Matchmaker, store: MatchmakerStore
) -> None:
    placed = await place(matchmaker, "p1", name="lobby")
    home = await matchmaker.directory.locate_room(placed.room_id)
    assert home is not None
    assert (home.shard_id, home.url, home.room_type, home.name) == (placed.shard_id, placed.url, "arena", "lobby")
    assert 0 < home.lease_left_ms <= 60_000
    await store.delay_heartbeat(placed.shard_id, 4000)
    silent = await matchmaker.directory.locate_room(placed.room_id)
    assert silent is not None
    assert (silent.shard_id, silent.url) == (placed.shard_id, ""), "it has missed some heartbeats"
    await matchmaker.directory.heartbeat(placed.shard_id, load=0, players=0, rooms=0)
    assert await matchmaker.directory.locate_room(placed.room_id) is not None
    await store.forget_shard(placed.shard_id)
    gone = await matchmaker.directory.locate_room(placed.room_id)
    assert gone is not None
    assert gone.url == ""
    await store.end_lease(placed.room_id)
    assert await matchmaker.directory.locate_room(placed.room_id) is None
