"""What the matchmaker promises, on a real Redis."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from matchmaking import Lease, Matchmaker, MatchmakerUnavailable, RoomFull, ShardInfo, StaleLease, Ttls
from server.embedded import free_port


@pytest.fixture
async def matchmaker(redis_url: str, redis_namespace: str) -> AsyncIterator[Matchmaker]:
    made = Matchmaker.from_url(redis_url, namespace=redis_namespace)
    await made.register(ShardInfo("a", "ws://a", "1"))
    await made.register(ShardInfo("b", "ws://b", "1"))
    yield made
    await made.aclose()


def short_lived(redis_url: str, namespace: str, **ttls: int) -> Matchmaker:
    return Matchmaker.from_url(redis_url, namespace=namespace, ttls=Ttls(**ttls))


async def test_second_player_joins_the_room_of_the_first(matchmaker: Matchmaker) -> None:
    first = await matchmaker.place(room_type="arena", player_id="p1", shard_id="a", seats=4)
    second = await matchmaker.place(room_type="arena", player_id="p2", shard_id="a", seats=4)
    assert first.is_new
    assert not second.is_new
    assert second.room_id == first.room_id
    assert first.epoch == 1


async def test_a_room_on_the_shard_reached_is_preferred_and_one_elsewhere_beats_a_new_one(
    matchmaker: Matchmaker,
) -> None:
    on_a = await matchmaker.place(room_type="arena", player_id="p1", shard_id="a", seats=2)
    from_b = await matchmaker.place(room_type="arena", player_id="p2", shard_id="b", seats=2)
    assert (from_b.room_id, from_b.url) == (on_a.room_id, "ws://a")
    on_b = await matchmaker.place(room_type="arena", player_id="p3", shard_id="b", seats=2)
    assert on_b.is_new, "the room on a is full"
    await matchmaker.unseat(on_a.room_id, "p1")
    again = await matchmaker.place(room_type="arena", player_id="p4", shard_id="b", seats=2)
    assert again.room_id == on_b.room_id, "both have a free seat: the one at hand wins"


async def test_a_hundred_joiners_for_ten_seats_get_exactly_ten(matchmaker: Matchmaker) -> None:
    async def join(number: int) -> str:
        try:
            placed = await matchmaker.place(
                room_type="arena", player_id=f"p{number}", shard_id="a", seats=10, name="final"
            )
            await matchmaker.seat(placed.room_id, f"p{number}", placed.epoch)
        except RoomFull:
            return "full"
        return placed.room_id

    results = await asyncio.gather(*(join(number) for number in range(100)))
    assert results.count("full") == 90
    assert len(set(results)) == 2


async def test_a_hundred_joiners_without_a_name_fill_rooms_and_never_overfill(matchmaker: Matchmaker) -> None:
    placed = await asyncio.gather(
        *(matchmaker.place(room_type="duel", player_id=f"p{n}", shard_id="ab"[n % 2], seats=10) for n in range(100))
    )
    rooms = [placement.room_id for placement in placed]
    assert sorted(rooms.count(room) for room in set(rooms)) == [10] * 10


async def test_two_joins_by_one_name_at_once_make_one_room(matchmaker: Matchmaker) -> None:
    first, second = await asyncio.gather(
        matchmaker.place(room_type="arena", player_id="p1", shard_id="a", seats=4, name="lobby"),
        matchmaker.place(room_type="arena", player_id="p2", shard_id="b", seats=4, name="lobby"),
    )
    assert first.room_id == second.room_id
    assert sorted((first.is_new, second.is_new)) == [False, True]


async def test_an_expired_reservation_gives_the_seat_back(redis_url: str, redis_namespace: str) -> None:
    matchmaker = short_lived(redis_url, redis_namespace, reservation_ms=30)
    await matchmaker.register(ShardInfo("a", "ws://a", "1"))
    await matchmaker.place(room_type="duel", player_id="p1", shard_id="a", seats=1, name="x")
    deadline = time.monotonic() + 5
    while True:
        try:
            await matchmaker.place(room_type="duel", player_id="p2", shard_id="a", seats=1, name="x")
            break
        except RoomFull:
            assert time.monotonic() < deadline
    await matchmaker.aclose()


async def test_a_room_whose_lease_ran_out_is_taken_over_under_a_greater_epoch(
    redis_url: str, redis_namespace: str
) -> None:
    matchmaker = short_lived(redis_url, redis_namespace, lease_ms=30)
    await matchmaker.register(ShardInfo("a", "ws://a", "1"))
    await matchmaker.register(ShardInfo("b", "ws://b", "1"))
    first = await matchmaker.place(room_type="arena", player_id="p1", shard_id="a", seats=4, name="lobby")
    deadline = time.monotonic() + 5
    second = first
    while not second.is_new or second.room_id == first.room_id:
        assert time.monotonic() < deadline
        second = await matchmaker.place(room_type="arena", player_id="p2", shard_id="b", seats=4, name="lobby")
    assert second.epoch == first.epoch + 1
    with pytest.raises(StaleLease):
        await matchmaker.seat(first.room_id, "p1", first.epoch)
    lost = await matchmaker.renew([Lease(first.room_id, "arena", "lobby", first.epoch, 4)], "a")
    assert lost == {first.room_id}
    await matchmaker.aclose()


async def test_a_released_name_keeps_its_epoch_growing(matchmaker: Matchmaker) -> None:
    first = await matchmaker.place(room_type="arena", player_id="p", shard_id="a", seats=4, name="lobby")
    await matchmaker.release(Lease(first.room_id, "arena", "lobby", first.epoch, 4), "a")
    second = await matchmaker.place(room_type="arena", player_id="p", shard_id="b", seats=4, name="lobby")
    assert (second.is_new, second.epoch) == (True, first.epoch + 1)


async def test_renew_heals_what_a_flush_has_lost(
    matchmaker: Matchmaker, redis_url: str, redis_namespace: str
) -> None:
    placed = await matchmaker.place(room_type="arena", player_id="p1", shard_id="a", seats=2, name="lobby")
    async with Redis.from_url(redis_url) as redis:
        async for key in redis.scan_iter(f"{{{redis_namespace}}}*"):  # a flush of this fleet's keys alone
            await redis.delete(key)
    assert not await matchmaker.heartbeat("a", load=0.0, players=1, rooms=1)
    await matchmaker.register(ShardInfo("a", "ws://a", "1"))
    lease = Lease(placed.room_id, "arena", "lobby", placed.epoch, 2, ("p1", "p9"))
    assert await matchmaker.renew([lease], "a") == set()
    with pytest.raises(RoomFull):
        await matchmaker.place(room_type="arena", player_id="p2", shard_id="a", seats=2, name="lobby")


async def test_every_key_but_epochs_names_and_indexes_expires(
    matchmaker: Matchmaker, redis_url: str, redis_namespace: str
) -> None:
    placed = await matchmaker.place(room_type="arena", player_id="p1", shard_id="a", seats=2, name="lobby")
    await matchmaker.seat(placed.room_id, "p1", placed.epoch)
    async with Redis.from_url(redis_url, decode_responses=True) as redis:
        forever = {key async for key in redis.scan_iter(f"{{{redis_namespace}}}*") if await redis.ttl(key) == -1}
    kept = {key.removeprefix(f"{{{redis_namespace}}}:").split(":")[0] for key in forever}
    assert kept <= {"shards", "rooms", "names", "epochs"}


async def test_a_shard_that_stops_beating_leaves_the_directory(redis_url: str, redis_namespace: str) -> None:
    matchmaker = short_lived(redis_url, redis_namespace, shard_ms=30)
    await matchmaker.register(ShardInfo("a", "ws://a", "1"))
    deadline = time.monotonic() + 5
    while await matchmaker.shards():
        assert time.monotonic() < deadline
    await matchmaker.aclose()


async def test_redis_that_is_not_there_is_unavailable_within_the_deadline() -> None:
    matchmaker = Matchmaker.from_url(f"redis://127.0.0.1:{free_port()}/0", deadline_s=0.5)
    with pytest.raises(MatchmakerUnavailable):
        await asyncio.wait_for(matchmaker.ping(), 5)
    await matchmaker.aclose()


async def test_a_renewal_under_way_does_not_forget_who_was_seated_meanwhile(matchmaker: Matchmaker) -> None:
    placed = await matchmaker.place(room_type="arena", player_id="p1", shard_id="a", seats=2)
    before = Lease(placed.room_id, "arena", None, placed.epoch, 2, ())  # the shard's list as of now: nobody
    await matchmaker.seat(placed.room_id, "p1", placed.epoch)
    again = await matchmaker.place(room_type="arena", player_id="p2", shard_id="a", seats=2)
    assert again.room_id == placed.room_id
    await matchmaker.seat(placed.room_id, "p2", placed.epoch)
    await matchmaker.renew([before], "a")
    third = await matchmaker.place(room_type="arena", player_id="p3", shard_id="a", seats=2)
    assert third.room_id != placed.room_id, "both seats are taken"


async def test_a_cancelled_call_is_cancelled(redis_url: str, redis_namespace: str) -> None:
    """The Redis client was seen to answer a cancellation with a result, and a shard waited for its task for ever."""
    async with asyncio.timeout(60):
        matchmaker = Matchmaker.from_url(redis_url, namespace=redis_namespace)
        chance = random.Random(1)

        async def beat() -> None:
            while True:
                await matchmaker.heartbeat("nobody", load=0.0, players=0, rooms=0)

        for _ in range(200):
            beating = asyncio.create_task(beat())
            await asyncio.sleep(chance.random() * 0.002)
            beating.cancel()
            done, _pending = await asyncio.wait([beating], timeout=2)
            assert done, "the cancellation was swallowed"
            assert beating.cancelled()
        await matchmaker.aclose()
