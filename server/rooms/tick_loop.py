"""The tick loop: rooms of one tick rate are ticked together, on time, by the timer of their group.

A group simulates and encodes all of its rooms, then writes them all, because the processor repeats in a third of the
time what it has just done, and a write to a socket makes it forget. Whatever a room or this module raises, the next
tick of the group is scheduled. A room that is idle (`RoomRuntime.is_idle`) is skipped.

A tick that cannot start in time is late. A group that is behind by more than CATCH_UP_TICKS_MAX skips the rest: the
number of a room's tick does not jump, its time does. Up to there the ticks follow each other at once.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from time import monotonic
from typing import Protocol

import structlog

from tickwire.server.rooms.containment import RoomCodeRaised
from tickwire.server.rooms.runtime import RoomRuntime

log = structlog.get_logger(__name__)

CATCH_UP_TICKS_MAX = 3
LATE_SHARE = 0.5
"""A tick that starts later than this share of its interval is late."""
GROUP_SEATS_MAX = 512
"""How many seats the rooms of one group have together: some five milliseconds of work. A larger room is alone."""


class TickObserver(Protocol):
    """Told of every tick: for histograms."""

    def __call__(self, duration_s: float, lateness_s: float) -> None: ...


class TickGroup:
    """The timer of some rooms. Owned by the host.

    Ticks are due by the loop's clock, which is the monotonic one; uvloop's moves in whole milliseconds and stands
    still during a callback, so what has passed is read from the monotonic clock itself.

    Args:
        interval: between two ticks, seconds.
        phase: where in the interval its ticks are, 0 to 1.
        on_done: called for each room after a tick, and for an idle one whose time has come; the second argument says
            whether the room failed.
        observe: called for each tick.

    Attributes:
        simulations: the group's rooms.
    """

    def __init__(
        self, interval: float, phase: float, on_done: Callable[[RoomRuntime, bool], None], observe: TickObserver
    ) -> None:
        self.simulations: list[RoomRuntime] = []
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._on_done = on_done
        self._observe = observe
        self._due = (math.floor(self._loop.time() / interval) + 1 + phase) * interval
        self._timer: asyncio.TimerHandle | None = self._loop.call_at(self._due, self._run)

    def has_room_for(self, simulation: RoomRuntime) -> bool:
        """Whether one more room fits."""
        seats = sum(other.room.seats for other in self.simulations) + simulation.room.seats
        return simulation.dt == self._interval and seats <= GROUP_SEATS_MAX

    def overdue_s(self) -> float:
        """How long ago the next tick should have started; 0 or less while it is not due."""
        return monotonic() - self._due

    def add(self, simulation: RoomRuntime) -> None:
        """Step the room from the next tick on."""
        self.simulations.append(simulation)

    def remove(self, simulation: RoomRuntime) -> None:
        """Step the room no more; without any room the timer stops."""
        self.simulations.remove(simulation)
        if not self.simulations and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        done: list[RoomRuntime] = []
        failed: set[RoomRuntime] = set()
        try:
            self._tick(done, failed)
        finally:
            self._schedule()
        for simulation in done:
            try:
                self._on_done(simulation, simulation in failed)
            except Exception:  # the boundary to the other rooms of the group
                log.exception("room_upkeep_failed", room_id=simulation.room.room_id)

    def _tick(self, done: list[RoomRuntime], failed: set[RoomRuntime]) -> None:
        """Step the rooms that are due.

        Args:
            done: receives those that were stepped, and those that have been empty for long enough.
            failed: receives those that raised.
        """
        moved: list[tuple[RoomRuntime, float, float]] = []
        for simulation in list(self.simulations):
            if simulation.is_idle:
                if monotonic() >= simulation.closes_at_s:
                    done.append(simulation)
                continue
            done.append(simulation)
            started = monotonic()
            if not _succeeds(simulation, _move):
                failed.add(simulation)
            moved.append((simulation, started, monotonic() - started))
        for simulation, started, duration in moved:
            writing = monotonic()
            if simulation.is_open and simulation not in failed and not _succeeds(simulation, _write):
                failed.add(simulation)
            self._count(simulation, started - self._due, duration + monotonic() - writing)

    def _schedule(self) -> None:
        if self._timer is None:
            return
        self._due += self._interval
        behind = int((monotonic() - self._due) / self._interval)
        if behind > CATCH_UP_TICKS_MAX:
            for simulation in self.simulations:
                if not simulation.is_idle:
                    simulation.counters.ticks_skipped += behind
            self._due += behind * self._interval
        self._timer = self._loop.call_at(self._due, self._run)

    def _count(self, simulation: RoomRuntime, lateness: float, duration: float) -> None:
        simulation.counters.tick_seconds += duration
        if lateness > LATE_SHARE * self._interval:
            simulation.counters.ticks_late += 1
        simulation.slow_log.note("tick", duration, monotonic())
        self._observe(duration, max(lateness, 0.0))


def _move(simulation: RoomRuntime) -> None:
    simulation.move()
    encoding = monotonic()
    simulation.encode()
    simulation.counters.encode_seconds += monotonic() - encoding


def _write(simulation: RoomRuntime) -> None:
    simulation.write()


def _succeeds(simulation: RoomRuntime, part: Callable[[RoomRuntime], None]) -> bool:
    """Run a part of a room's tick; a room that fails must not stop the others."""
    try:
        part(simulation)
    except RoomCodeRaised:
        return False  # logged and counted
    except Exception:  # a fault of the server, not of the game
        room = simulation.room
        simulation.counters.room_errors[room.room_type] += 1
        log.exception("room_tick_failed", room_id=room.room_id, room_type=room.room_type, tick=room.tick)
        return False
    return True
