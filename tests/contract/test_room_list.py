"""The lists of rooms of a shard are read from the store as often as they expire, whatever the number of requests."""

from __future__ import annotations

import asyncio

import pytest

from tests.harness.matchmaker_stores import MatchmakerStore
from tickwire.matchmaking import Matchmaker, MatchmakerUnavailable, PlaceRequest, ShardInfo
from tickwire.schemas.messages import ListRooms
from tickwire.schemas.payloads import encode_payload
from tickwire.server.placement.room_list import CACHE_ENTRIES_MAX, CACHE_S, RoomListService


@pytest.fixture
async def matchmaker(store: MatchmakerStore) -> Matchmaker:
    made = store.create()
    await made.directory.register(ShardInfo("a", "ws://a", "build", room_types=["arena"]))
    return made


def requests_of(matchmaker: Matchmaker) -> int:
    """Return the number of calls of the store."""
    return matchmaker.directory._scripts.counters.calls


async def test_concurrent_requests_share_a_read(matchmaker: Matchmaker) -> None:
    now_s = 100.0
    service = RoomListService(matchmaker.directory, "", lambda: now_s)
    before = requests_of(matchmaker)
    first = asyncio.create_task(service.list_rooms(ListRooms(1, "arena")))
    others = [asyncio.create_task(service.list_rooms(ListRooms(number, "arena"))) for number in range(2, 50)]
    await asyncio.sleep(0)
    first.cancel()
    answers = await asyncio.gather(*others)
    assert [answer.id for answer in answers] == list(range(2, 50))
    assert requests_of(matchmaker) - before == 1
    await matchmaker.placement.place(PlaceRequest(room_type="arena", players=("p1",), shard_id="a", seats=2))
    before = requests_of(matchmaker)
    assert (await service.list_rooms(ListRooms(50, "arena"))).rooms == (), "kept"
    assert requests_of(matchmaker) == before
    now_s += CACHE_S
    (room,) = (await service.list_rooms(ListRooms(51, "arena"))).rooms
    assert (room.players, room.players_max) == (1, 2)
    assert requests_of(matchmaker) - before == 1


async def test_a_failed_read_is_the_answer_of_all_its_requests_and_is_not_kept(redis_namespace: str) -> None:
    lost = Matchmaker.from_url("redis://127.0.0.1:1", namespace=redis_namespace)
    service = RoomListService(lost.directory, "", lambda: 100.0)
    answers = await asyncio.gather(
        *(service.list_rooms(ListRooms(number, "arena")) for number in range(5)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [MatchmakerUnavailable] * 5
    assert not service._cache
    assert not service._reads
    await lost.aclose()


async def test_lists_of_any_number_of_labels_use_bounded_memory(matchmaker: Matchmaker) -> None:
    service = RoomListService(matchmaker.directory, "", lambda: 100.0)
    for number in range(CACHE_ENTRIES_MAX + 10):
        await service.list_rooms(ListRooms(1, "arena", encode_payload({"map": f"m{number}"})))
    assert len(service._cache) == CACHE_ENTRIES_MAX
    assert not service._reads
