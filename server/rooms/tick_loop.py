"""The tick loop: rooms of one tick rate tick together, on time, on the timer of their group.

A group simulates and encodes all of its rooms before it writes any of them: code that has just run is in the
processor's caches and takes a third of the time, and a write to a socket evicts it. The next tick of the group is
scheduled whatever a room or this module raises. An idle room (`RoomRuntime.is_idle`) is skipped.

A tick that cannot start in time is late. A group that is up to CATCH_UP_TICKS_MAX ticks behind runs them without a
pause. A group that is further behind skips ticks: the room's tick number does not jump, but its time does.
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
"""A tick is late if it starts later than this share of its interval."""
GROUP_SEATS_MAX = 512
"""The maximum sum of the seats of a group's rooms: about 5 ms of work. A larger room has a group of its own."""


class TickObserver(Protocol):
    """Callback for every tick, for histograms."""

    def __call__(self, duration_s: float, lateness_s: float) -> None:
        """Record the duration of a tick, and its delay."""


class TickGroup:
    """The timer of a group of rooms. Owned by the host.

    Ticks are due by the event loop's clock, which is the monotonic clock. That of uvloop has a resolution of a
    millisecond and does not advance during a callback, so durations are read from the monotonic clock itself.

    Args:
        interval: the time between two ticks in seconds.
        phase: the position of the ticks in the interval, 0 to 1.
        on_done: called for each room after a tick, and for an idle room that is due to close; the second argument is
            whether the room failed.
        observe: called for each tick.

    Attributes:
        runtimes: the group's rooms.
    """

    def __init__(
        self, interval: float, phase: float, on_done: Callable[[RoomRuntime, bool], None], observe: TickObserver
    ) -> None:
        self.runtimes: list[RoomRuntime] = []
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._on_done = on_done
        self._observe = observe
        self._due = (math.floor(self._loop.time() / interval) + 1 + phase) * interval
        self._timer: asyncio.TimerHandle | None = self._loop.call_at(self._due, self._run)

    def can_add(self, runtime: RoomRuntime) -> bool:
        """Return whether the room has the group's tick rate and the group has capacity for its seats."""
        seats = sum(other.room.seats for other in self.runtimes) + runtime.room.seats
        return runtime.dt == self._interval and seats <= GROUP_SEATS_MAX

    def overdue_s(self) -> float:
        """Return by how many seconds the next tick is overdue; 0 or less while it is not due."""
        return monotonic() - self._due

    def add(self, runtime: RoomRuntime) -> None:
        """Add a room, from the next tick on."""
        self.runtimes.append(runtime)

    def remove(self, runtime: RoomRuntime) -> None:
        """Remove a room; the timer stops with the last one."""
        self.runtimes.remove(runtime)
        if not self.runtimes and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        done: list[RoomRuntime] = []
        failed: set[RoomRuntime] = set()
        try:
            self._tick(done, failed)
        finally:
            self._schedule()
        for runtime in done:
            try:
                self._on_done(runtime, runtime in failed)
            except Exception:  # the boundary to the other rooms of the group
                log.exception("room_upkeep_failed", room_id=runtime.room.room_id)

    def _tick(self, done: list[RoomRuntime], failed: set[RoomRuntime]) -> None:
        """Run a tick of all rooms that are not idle.

        Args:
            done: receives the rooms that have ticked, and the idle rooms that are due to close.
            failed: receives the rooms that raised an exception.
        """
        simulated: list[tuple[RoomRuntime, float, float]] = []
        for runtime in list(self.runtimes):
            if runtime.is_idle:
                if monotonic() >= runtime.closes_at_s:
                    done.append(runtime)
                continue
            done.append(runtime)
            started = monotonic()
            if not _succeeds(runtime, _simulate):
                failed.add(runtime)
            simulated.append((runtime, started, monotonic() - started))
        for runtime, started, duration in simulated:
            writing = monotonic()
            if runtime.is_open and runtime not in failed and not _succeeds(runtime, _write):
                failed.add(runtime)
            self._count(runtime, started - self._due, duration + monotonic() - writing)

    def _schedule(self) -> None:
        if self._timer is None:
            return
        self._due += self._interval
        behind = int((monotonic() - self._due) / self._interval)
        if behind > CATCH_UP_TICKS_MAX:
            for runtime in self.runtimes:
                if not runtime.is_idle:
                    runtime.counters.ticks_skipped += behind
            self._due += behind * self._interval
        self._timer = self._loop.call_at(self._due, self._run)

    def _count(self, runtime: RoomRuntime, lateness: float, duration: float) -> None:
        runtime.counters.tick_seconds += duration
        if lateness > LATE_SHARE * self._interval:
            runtime.counters.ticks_late += 1
        runtime.slow_log.record("tick", duration, monotonic())
        self._observe(duration, max(lateness, 0.0))


def _simulate(runtime: RoomRuntime) -> None:
    runtime.simulate()
    encoding = monotonic()
    runtime.encode()
    runtime.counters.encode_seconds += monotonic() - encoding


def _write(runtime: RoomRuntime) -> None:
    runtime.write()


def _succeeds(runtime: RoomRuntime, part: Callable[[RoomRuntime], None]) -> bool:
    """Run a part of a room's tick and return whether it succeeded; a failure must not affect the other rooms."""
    try:
        part(runtime)
    except RoomCodeRaised:
        return False  # logged and counted
    except Exception:  # a bug of the server, not of the game
        room = runtime.room
        runtime.counters.room_errors[room.room_type] += 1
        log.exception("room_tick_failed", room_id=room.room_id, room_type=room.room_type, tick=room.tick)
        return False
    return True
