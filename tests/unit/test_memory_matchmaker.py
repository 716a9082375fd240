"""The in-process store of the matchmaker, by a clock that jumps. Its contract: tests/contract/test_matchmaker.py."""

from __future__ import annotations

import random
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from tickwire.matchmaking import Matchmaker, MatchmakerUnavailable, PlaceRequest, ShardInfo, Ttls
from tickwire.testing.matchmaking import MemoryConnection, create_matchmaker

T = TypeVar("T")
START_US = 1_700_000_000_000_000


class JumpingClock:
    """A clock that the test sets, microseconds."""

    def __init__(self) -> None:
        self.now_us = START_US

    def __call__(self) -> int:
        return self.now_us


def run(call: Coroutine[Any, Any, T]) -> T:
    """Run a call to its end without an event loop: a call that waits for anything fails here."""
    try:
        call.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("the call has suspended")


def register(matchmaker: Matchmaker, *shard_ids: str) -> None:
    for shard_id in shard_ids:
        run(matchmaker.directory.register(ShardInfo(shard_id, f"ws://{shard_id}", "1", room_types=("arena",))))


def place(matchmaker: Matchmaker, player: str, **wanted: Any) -> Any:
    request = PlaceRequest(room_type="arena", players=(player,), shard_id="a", seats=2, **wanted)
    return run(matchmaker.placement.place(request))


def test_a_call_does_not_suspend() -> None:
    matchmaker = create_matchmaker(JumpingClock())
    register(matchmaker, "a")
    placed = place(matchmaker, "ann", name="lobby")
    run(matchmaker.leases.confirm_seat(placed.room_id, "ann", shard_id="a", epoch=placed.epoch))
    assert run(matchmaker.directory.list_rooms("arena")) == []
    assert run(matchmaker.leases.renew([(placed.room_id, placed.epoch)], "a")).gone == frozenset()


def test_an_hour_of_renewals_takes_no_time_and_a_missed_one_ends_the_lease() -> None:
    clock = JumpingClock()
    matchmaker = create_matchmaker(clock, ttls=Ttls(lease_ms=10_000))
    register(matchmaker, "a")
    placed = place(matchmaker, "ann", name="lobby")
    for _ in range(3600):
        clock.now_us += 1_000_000
        run(matchmaker.directory.heartbeat("a", load=0.1, players=1, rooms=1))
        assert run(matchmaker.leases.renew([(placed.room_id, placed.epoch)], "a")).gone == frozenset()
    assert matchmaker.clock.now_ms() == START_US // 1000 + 3_600_000
    clock.now_us += 10_000_000
    assert run(matchmaker.leases.renew([(placed.room_id, placed.epoch)], "a")).gone == {placed.room_id}


def test_matchmakers_of_one_connection_share_the_fleet_and_other_namespaces_do_not() -> None:
    clock = JumpingClock()
    connection = MemoryConnection(clock)
    one, two = (create_matchmaker(clock, connection=connection) for _ in range(2))
    other = create_matchmaker(clock, connection=connection, namespace="other")
    register(one, "a")
    placed = place(one, "ann", name="lobby")
    assert place(two, "bob", name="lobby").room_id == placed.room_id
    with pytest.raises(MatchmakerUnavailable, match="not registered"):
        place(other, "cid", name="lobby")


def test_the_same_seed_picks_the_same_shards_and_ids() -> None:
    def pick(seed: int) -> list[str]:
        matchmaker = create_matchmaker(JumpingClock(), rng=random.Random(seed))
        register(matchmaker, "a", "b", "c", "d")
        placed = [place(matchmaker, "ann", name=f"room {n}") for n in range(20)]
        return [f"{one.shard_id} {one.room_id}" for one in placed]

    assert pick(1) == pick(1)
    assert {one.partition(" ")[0] for one in pick(1)} == {"a", "b", "c", "d"}
    assert pick(1) != pick(2)


def test_a_closed_matchmaker_refuses_calls() -> None:
    matchmaker = create_matchmaker(JumpingClock())
    run(matchmaker.aclose())
    with pytest.raises(MatchmakerUnavailable, match="closed"):
        run(matchmaker.directory.list_shards())
