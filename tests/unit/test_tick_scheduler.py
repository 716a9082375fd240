"""Tick groups on a simulated clock: how late ticks start, and how groups are arranged as rooms come and go.

No test reads a wall clock; see tests/harness/tick_simulation.py.
"""

from __future__ import annotations

import random

import pytest

from tests.harness.tick_simulation import TickedShard, TimedRuntime
from tickwire import Room
from tickwire.server.rooms.tick_loop import SEAT_WORK_S, SHIFT_SHARE_MAX
from tickwire.server.rooms.tick_scheduler import GROUP_WORK_S_MAX, OVERFULL, SPREAD_INTERVAL_S

SETTLE_S = 5.0
ROOM_WORK_S = 0.65e-3
"""The tick of a room of 50 players who all move; see docs/loadtesting.md."""
INPUT_SHARE_OF_WORK = 0.35
"""The receive path of these players, compared with their ticks."""
LATENESS_S_MAX = 0.010


class Fifty(Room):
    room_type = "fifty"
    tick_rate_hz = 20.0
    max_players = 50


class Quick(Room):
    room_type = "quick"
    tick_rate_hz = 60.0
    max_players = 8


class Huge(Room):
    room_type = "huge"
    tick_rate_hz = 20.0
    max_players = 1000


def percentile(lateness_s: list[float], share: float) -> float:
    return lateness_s[min(len(lateness_s) - 1, int(len(lateness_s) * share))]


def shard_at(load: float) -> TickedShard:
    """Return a settled shard with rooms of fifty players that need this share of a core."""
    ticks_share = load / (1 + INPUT_SHARE_OF_WORK)
    shard = TickedShard(input_share=load - ticks_share)
    for _ in range(round(ticks_share / (ROOM_WORK_S * Fifty.tick_rate_hz))):
        shard.add(Fifty, ROOM_WORK_S)
    shard.measure(SETTLE_S)
    return shard


@pytest.mark.parametrize("load", [0.3, 0.5, 0.7, 0.8, 0.85])
def test_ticks_start_within_ten_milliseconds_up_to_85_percent_of_a_core(load: float) -> None:
    busy, lateness_s = shard_at(load).measure(10.0)
    assert busy == pytest.approx(load, abs=0.02)
    assert percentile(lateness_s, 0.99) < LATENESS_S_MAX / 2, "half of it is left for the pauses of a real machine"


def test_ticks_are_on_time_again_soon_after_a_pause_at_85_percent() -> None:
    shard = shard_at(0.85)
    shard.clock.work(0.020)
    shard.measure(0.3)
    _, lateness_s = shard.measure(1.0)
    assert max(lateness_s) < LATENESS_S_MAX


def test_rooms_that_come_and_go_leave_no_collisions_behind() -> None:
    rng = random.Random(20)
    shard = shard_at(0.7)
    rooms = [runtime for group in shard.scheduler.groups for runtime in group.runtimes]
    late: list[float] = []
    for _ in range(60):
        gone = rooms.pop(rng.randrange(len(rooms)))
        shard.scheduler.remove(gone)
        assert isinstance(gone, TimedRuntime)
        rooms.append(shard.add(Fifty, ROOM_WORK_S))
        late += shard.measure(0.5)[1]
    assert percentile(sorted(late), 0.99) < LATENESS_S_MAX / 2


def test_five_groups_that_are_due_at_one_time_move_apart() -> None:
    shard = TickedShard()
    for _ in range(5):
        shard.add(Huge, GROUP_WORK_S_MAX)
    groups = shard.scheduler.groups
    assert len(groups) == 5
    shard.measure(0.2)
    for group in groups:
        group.due_s, group.shift_s = groups[0].due_s, 0.0
    shard.measure(1 / Fifty.tick_rate_hz)  # the timers that were set before
    _, lateness_s = shard.measure(1 / Fifty.tick_rate_hz)
    assert max(lateness_s) > 3 * GROUP_WORK_S_MAX
    shard.measure(SPREAD_INTERVAL_S + 2.0)
    _, lateness_s = shard.measure(2.0)
    assert max(lateness_s) < GROUP_WORK_S_MAX / 3


def test_groups_are_arranged_by_their_measured_work() -> None:
    """Three expensive rooms among many cheap ones: the groups after an expensive one are due when it is done."""
    shard = TickedShard()
    for _ in range(3):
        shard.add(Huge, 0.009)
        for _ in range(4):
            shard.add(Huge, 0.001)
    shard.measure(SETTLE_S)
    _, lateness_s = shard.measure(2.0)
    assert max(lateness_s) < 0.0005


def test_a_group_holds_at_most_the_rooms_whose_seats_are_within_its_work() -> None:
    shard = TickedShard()
    for _ in range(12):
        shard.add(Fifty, 0.0)
    shard.add(Huge, 0.0)
    shard.add(Quick, 0.0)
    sizes = [len(group.runtimes) for group in shard.scheduler.groups]
    most = int(GROUP_WORK_S_MAX / (Fifty.max_players * SEAT_WORK_S))
    assert sizes == [most, most, 12 - 2 * most, 1, 1]
    assert {group.interval for group in shard.scheduler.groups} == {1 / 20, 1 / 60}


def test_a_group_whose_rooms_take_longer_than_their_seats_suggest_is_split() -> None:
    shard = TickedShard()
    rooms = [shard.add(Fifty, 0.0) for _ in range(4)]
    assert len(shard.scheduler.groups) == 1
    for runtime in rooms:
        runtime.work_s = GROUP_WORK_S_MAX
    shard.measure(2 * SETTLE_S)
    assert len(shard.scheduler.groups) == 4, "a single room is never divided, and all others are alone"
    assert all(group.work_s <= OVERFULL * GROUP_WORK_S_MAX for group in shard.scheduler.groups)
    _, lateness_s = shard.measure(2.0)
    assert max(lateness_s) < 0.0005


def test_one_pause_of_the_process_splits_no_group() -> None:
    shard = TickedShard()
    rooms = [shard.add(Fifty, ROOM_WORK_S) for _ in range(4)]
    shard.measure(SETTLE_S)
    rooms[0].work_s = 0.5
    shard.measure(0.5)
    rooms[0].work_s = ROOM_WORK_S
    shard.measure(SETTLE_S)
    assert len(shard.scheduler.groups) == 1


def test_a_moving_group_changes_the_time_between_two_ticks_by_two_percent_at_most() -> None:
    shard = TickedShard()
    rooms = [shard.add(Huge, 0.0)]
    for _ in range(9):
        shard.measure(0.3)
        rooms.append(shard.add(Huge, 0.0))
    shard.measure(SETTLE_S)
    for runtime in rooms:
        gaps = [after - before for before, after in zip(runtime.started_s, runtime.started_s[1:], strict=False)]
        assert gaps == pytest.approx([runtime.dt] * len(gaps), rel=SHIFT_SHARE_MAX * 1.001)
        assert len(set(runtime.started_s)) == len(runtime.started_s)


def test_idle_rooms_take_no_part_of_the_interval() -> None:
    shard = TickedShard()
    busy = [shard.add(Huge, 0.009) for _ in range(2)]
    idle = [shard.add(Huge, 0.0) for _ in range(2)]
    for runtime in idle:
        runtime.is_resting = True
    shard.measure(SETTLE_S)
    works = {runtime: group.work_s for group in shard.scheduler.groups for runtime in group.runtimes}
    assert [works[runtime] for runtime in idle] == pytest.approx([0, 0], abs=1e-4)
    assert [works[runtime] for runtime in busy] == pytest.approx([0.009, 0.009], rel=0.01)


def test_the_timers_stop_with_the_last_room() -> None:
    shard = TickedShard()
    rooms = [shard.add(Fifty, 0.0), shard.add(Quick, 0.0)]
    shard.measure(1.0)
    for runtime in rooms:
        shard.scheduler.remove(runtime)
        shard.scheduler.remove(runtime)
    assert shard.scheduler.groups == []
    assert shard.scheduler.overdue_s() == 0
    ticks = [len(runtime.started_s) for runtime in rooms]
    shard.measure(3.0)
    assert [len(runtime.started_s) for runtime in rooms] == ticks
    shard.scheduler.add(rooms[0])
    shard.measure(1.0)
    assert len(rooms[0].started_s) > ticks[0]
