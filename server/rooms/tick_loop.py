"""The tick loop: rooms of one tick rate tick together, on time, on the timer of their group.

A group simulates and encodes all of its rooms before it writes any of them: code that has just run is in the
processor's caches and takes a third of the time, and a write to a socket evicts it. The next tick of the group is
scheduled whatever a room or this module raises. An idle room (`RoomRuntime.is_idle`) is skipped.

A tick that cannot start in time is late. A group that is up to CATCH_UP_TICKS_MAX ticks behind runs them without a
pause. A group that is further behind skips ticks: the room's tick number does not jump, but its time does.

A group moves by `shift_s` within the interval, over several ticks: by at most SHIFT_SHARE_MAX of the interval per
tick, which is less than the jitter that clients smooth anyway. server/rooms/tick_scheduler.py decides which rooms
share a group, and where the groups are in the interval.
"""

from __future__ import annotations

import asyncio
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
SHIFT_SHARE_MAX = 0.02
"""A millisecond at 20 Hz."""
SEAT_WORK_S = 12e-6
"""The work of a tick per seat before it was measured: rooms of 50 moving players take 0.5 to 0.7 ms a tick."""
WORK_WEIGHT = 1 / 16
"""The weight of the newest tick in a room's measured work: an average over most of a second at 20 Hz."""
WORK_STEP_S = 0.5e-3
"""A tick counts as at most twice the room's average and this: a pause of the process is not the room's work."""


class TickObserver(Protocol):
    """Callback for every tick, for histograms."""

    def __call__(self, duration_s: float, lateness_s: float) -> None:
        """Record the duration of a tick, and its delay."""


class Timer(Protocol):
    """A scheduled call."""

    def cancel(self) -> None:
        """Prevent the call. Idempotent."""


class TickTimers(Protocol):
    """The clock and the timers of the tick loop; tests pass a simulated one."""

    def now_s(self) -> float:
        """Return the time in seconds. It advances during a callback."""

    def call_at(self, due_s: float, callback: Callable[[], None]) -> Timer:
        """Schedule a call; a call that is overdue runs as soon as possible, after the input that has arrived."""


class LoopTimers:
    """The running event loop's timers.

    Ticks are due by the event loop's clock, which is the monotonic clock. That of uvloop has a resolution of a
    millisecond and does not advance during a callback, so times are read from the monotonic clock itself.
    """

    def now_s(self) -> float:
        """Return the monotonic time in seconds."""
        return monotonic()

    def call_at(self, due_s: float, callback: Callable[[], None]) -> Timer:
        """Schedule a call by the event loop."""
        return asyncio.get_running_loop().call_at(due_s, callback)


class RoomWork:
    """The work of a room's tick, in seconds.

    Args:
        seats: the number of seats of the room.

    Attributes:
        measured_s: a moving average; at first the expected work.
        expected_s: the work that is expected if all seats are taken.
    """

    __slots__ = ("expected_s", "measured_s")

    def __init__(self, seats: int) -> None:
        self.expected_s = self.measured_s = seats * SEAT_WORK_S

    @property
    def planned_s(self) -> float:
        """The work that the room needs capacity for."""
        return max(self.measured_s, self.expected_s)

    def record(self, duration_s: float) -> None:
        """Record the duration of a tick."""
        newest_s = min(duration_s, 2 * self.measured_s + WORK_STEP_S)
        self.measured_s += WORK_WEIGHT * (newest_s - self.measured_s)


class TickGroup:
    """The timer of a group of rooms. Owned by the scheduler.

    Args:
        interval: the time between two ticks in seconds.
        due_s: the time of the first tick.
        clock: the clock, and the timers.
        on_done: called for each room after a tick, and for an idle room that is due to close; the second argument is
            whether the room failed.
        observe: called for each tick.

    Attributes:
        interval: the time between two ticks in seconds.
        due_s: the time of the next tick.
        shift_s: by how much the group has yet to move within the interval.
        work_s: the measured work of a tick of all rooms, in seconds.
        planned_work_s: the work of a tick if all seats of the rooms are taken, at least the measured work.
    """

    def __init__(
        self,
        interval: float,
        due_s: float,
        clock: TickTimers,
        on_done: Callable[[RoomRuntime, bool], None],
        observe: TickObserver,
    ) -> None:
        self.interval = interval
        self.due_s = due_s
        self.shift_s = 0.0
        self.work_s = self.planned_work_s = 0.0
        self._rooms: dict[RoomRuntime, RoomWork] = {}
        self._clock = clock
        self._on_done = on_done
        self._observe = observe
        self._timer: Timer | None = clock.call_at(due_s, self._run)

    @property
    def runtimes(self) -> tuple[RoomRuntime, ...]:
        """The group's rooms, in the order of their ticks."""
        return tuple(self._rooms)

    @property
    def phase(self) -> float:
        """The position of the ticks in the interval, 0 to 1."""
        return (self.due_s / self.interval) % 1.0

    def overdue_s(self) -> float:
        """Return by how many seconds the next tick is overdue; 0 or less while it is not due."""
        return self._clock.now_s() - self.due_s

    def add(self, runtime: RoomRuntime, work: RoomWork) -> None:
        """Add a room with the work of its tick, from the next tick on."""
        self._rooms[runtime] = work
        self.work_s += work.measured_s
        self.planned_work_s += work.planned_s

    def remove(self, runtime: RoomRuntime) -> RoomWork:
        """Remove a room and return the work of its tick; the timer stops with the last room."""
        work = self._rooms.pop(runtime)
        self.work_s -= work.measured_s
        self.planned_work_s -= work.planned_s
        if not self._rooms and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return work

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
        now_s = self._clock.now_s
        for runtime in self.runtimes:
            if runtime.is_idle:
                self._record_work(runtime, 0.0)
                if now_s() >= runtime.closes_at_s:
                    done.append(runtime)
                continue
            done.append(runtime)
            started = now_s()
            if not _succeeds(runtime, _simulate):
                failed.add(runtime)
            simulated.append((runtime, started, now_s() - started))
        for runtime, started, duration in simulated:
            writing = now_s()
            if runtime.is_open and runtime not in failed and not _succeeds(runtime, _write):
                failed.add(runtime)
            self._count(runtime, started - self.due_s, duration + now_s() - writing)

    def _schedule(self) -> None:
        if self._timer is None:
            return
        self.due_s += self.interval + self._take_shift()
        behind = int((self._clock.now_s() - self.due_s) / self.interval)
        if behind > CATCH_UP_TICKS_MAX:
            for runtime in self._rooms:
                if not runtime.is_idle:
                    runtime.counters.ticks_skipped += behind
            self.due_s += behind * self.interval
        self._timer = self._clock.call_at(self.due_s, self._run)

    def _take_shift(self) -> float:
        most = SHIFT_SHARE_MAX * self.interval
        step = min(max(self.shift_s, -most), most)
        self.shift_s -= step
        return step

    def _count(self, runtime: RoomRuntime, lateness: float, duration: float) -> None:
        runtime.counters.tick_seconds += duration
        if lateness > LATE_SHARE * self.interval:
            runtime.counters.ticks_late += 1
        runtime.slow_log.record("tick", duration, self._clock.now_s())
        self._record_work(runtime, duration)
        self._observe(duration, max(lateness, 0.0))

    def _record_work(self, runtime: RoomRuntime, duration: float) -> None:
        work = self._rooms.get(runtime)
        if work is None:
            return  # the room was closed during the tick
        measured_s, planned_s = work.measured_s, work.planned_s
        work.record(duration)
        self.work_s += work.measured_s - measured_s
        self.planned_work_s += work.planned_s - planned_s


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
