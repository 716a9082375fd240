"""Decides which rooms tick together, and when in the interval, so that ticks start on time on a busy core.

A tick is late if another group works at the moment when it is due. Three rules keep the groups apart:

    small     the rooms of a group take at most GROUP_WORK_S_MAX a tick, counted with all seats taken. A group whose
              measured work exceeds that by OVERFULL is split; a single room is never divided
    spread    the groups of one interval are arranged by their measured work (server/rooms/tick_phases.py), whenever a
              room comes or goes, and every SPREAD_INTERVAL_S
    smooth    a group moves to its new position over several ticks, so that no room has a long or a short tick

Rooms of different tick rates are spread independently: their groups meet from time to time, and then one is late by
the work of the other.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable

from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.tick_loop import RoomWork, TickGroup, TickObserver, TickTimers, Timer
from tickwire.server.rooms.tick_phases import find_free_phase, spread

GROUP_WORK_S_MAX = 3e-3
"""Five rooms of 50. Smaller groups cost more: the first room of a group finds none of its code in the caches."""
GROUP_SHARE_MAX = 0.125
"""The most work of a group as a share of its interval: the lower limit above 41 Hz."""
OVERFULL = 1.5
SPREAD_INTERVAL_S = 1.0
_GOLDEN = (math.sqrt(5) - 1) / 2


class TickScheduler:
    """Owns the tick groups of a shard.

    Args:
        clock: the clock, and the timers.
        on_done: see `TickGroup`.
        observe: called for every tick, for histograms.

    Attributes:
        groups: the tick groups, oldest first.
    """

    def __init__(
        self, clock: TickTimers, on_done: Callable[[RoomRuntime, bool], None], observe: TickObserver
    ) -> None:
        self.groups: list[TickGroup] = []
        self._group_of: dict[RoomRuntime, TickGroup] = {}
        self._clock = clock
        self._on_done = on_done
        self._observe = observe
        self._groups_created = 0
        self._timer: Timer | None = None

    def add(self, runtime: RoomRuntime) -> None:
        """Add a room to a group with free capacity, or to a new group."""
        work = RoomWork(runtime.room.max_players)
        group = next((group for group in self.groups if _has_capacity(group, runtime.dt, work)), None)
        if group is None:
            phase = self._find_phase(runtime.dt, work.planned_s)
            group = self._create(runtime.dt, _next_due(self._clock.now_s(), phase, runtime.dt))
            self._put(runtime, group, work)
            self._spread()
        else:
            self._put(runtime, group, work)
        if self._timer is None:
            self._timer = self._clock.call_at(self._clock.now_s() + SPREAD_INTERVAL_S, self._upkeep)

    def remove(self, runtime: RoomRuntime) -> None:
        """Remove a room. Idempotent."""
        group = self._group_of.pop(runtime, None)
        if group is None:
            return
        group.remove(runtime)
        if not group.runtimes:
            self.groups.remove(group)
            self._spread()
        if not self.groups and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def overdue_s(self) -> float:
        """Return by how many seconds the most overdue tick is overdue; 0 or less if none is."""
        return max((group.overdue_s() for group in self.groups), default=0.0)

    def _upkeep(self) -> None:
        self._timer = self._clock.call_at(self._clock.now_s() + SPREAD_INTERVAL_S, self._upkeep)
        for group in list(self.groups):
            if len(group.runtimes) > 1 and group.work_s > OVERFULL * _work_s_max(group.interval):
                self._split(group)
        self._spread()

    def _split(self, group: TickGroup) -> None:
        """Move rooms to a new group, which ticks directly after the old one and then moves away from it."""
        half = group.work_s / 2
        moved: list[tuple[RoomRuntime, RoomWork]] = []
        while len(group.runtimes) > 1 and (not moved or group.work_s > half):
            last = group.runtimes[-1]
            moved.append((last, group.remove(last)))
        other = self._create(group.interval, group.due_s + min(group.work_s, group.interval / 2))
        for runtime, work in reversed(moved):
            self._put(runtime, other, work)

    def _put(self, runtime: RoomRuntime, group: TickGroup, work: RoomWork) -> None:
        group.add(runtime, work)
        self._group_of[runtime] = group

    def _create(self, interval: float, due_s: float) -> TickGroup:
        self._groups_created += 1
        group = TickGroup(interval, due_s, self._clock, self._on_done, self._observe)
        self.groups.append(group)
        return group

    def _find_phase(self, interval: float, work_s: float) -> float:
        same = [group for group in self.groups if group.interval == interval]
        work = [group.work_s / interval for group in same]
        # Multiples of the golden ratio are far from each other: the first groups of several intervals start apart.
        first = self._groups_created * _GOLDEN
        return find_free_phase([group.phase for group in same], work, work_s / interval, first=first)

    def _spread(self) -> None:
        """Set the moves of all groups. Costs microseconds per group."""
        by_interval: defaultdict[float, list[TickGroup]] = defaultdict(list)
        for group in self.groups:
            by_interval[group.interval].append(group)
        for interval, groups in by_interval.items():
            moves = spread([group.phase for group in groups], [group.work_s / interval for group in groups])
            for group, move in zip(groups, moves, strict=True):
                group.shift_s = move * interval


def _work_s_max(interval: float) -> float:
    return min(GROUP_WORK_S_MAX, GROUP_SHARE_MAX * interval)


def _has_capacity(group: TickGroup, interval: float, work: RoomWork) -> bool:
    """Return whether the group has this interval, and capacity for all seats of the room."""
    most = _work_s_max(interval) + 1e-9  # a sum of floats
    return group.interval == interval and group.planned_work_s + work.planned_s <= most


def _next_due(now_s: float, phase: float, interval: float) -> float:
    """Return the first time of a phase after now."""
    due_s = (math.floor(now_s / interval) + phase) * interval
    return due_s if due_s > now_s else due_s + interval
