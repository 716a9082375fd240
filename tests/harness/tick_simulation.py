"""Simulates the tick loop of a busy shard on a clock of its own: deterministic, without sockets and without waiting.

The event loop is modelled as uvloop runs: an iteration calls the timers that were due at its start, then handles the
input that has arrived since the last time. Work advances the clock.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

from tickwire import Room
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.tick_scheduler import TickScheduler

INPUT_INTERVAL_S = 0.5e-3
"""The longest time between two inputs while the shard is idle."""


class SimulatedTimer:
    """A scheduled call of a `SimulatedClock`."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        """Prevent the call."""
        self.is_cancelled = True


class SimulatedClock:
    """A clock that advances by work, and by waiting for the next timer.

    Args:
        input_share: the work for input, as a share of the time in which it arrives.

    Attributes:
        busy_s: the work so far, in seconds.
    """

    def __init__(self, input_share: float = 0.0) -> None:
        self.busy_s = 0.0
        self._now_s = 1000.0
        self._input_share = input_share
        self._input_until_s = self._now_s
        self._timers: list[tuple[float, int, SimulatedTimer]] = []
        self._numbers = itertools.count()

    def now_s(self) -> float:
        """Return the time in seconds."""
        return self._now_s

    def call_at(self, due_s: float, callback: Callable[[], None]) -> SimulatedTimer:
        """Schedule a call."""
        timer = SimulatedTimer(callback)
        heapq.heappush(self._timers, (due_s, next(self._numbers), timer))
        return timer

    def work(self, seconds: float) -> None:
        """Advance the clock by work."""
        self._now_s += seconds
        self.busy_s += seconds

    def run(self, seconds: float) -> None:
        """Run the event loop."""
        end_s = self._now_s + seconds
        while self._now_s < end_s:
            started_s = self._now_s
            while self._timers and self._timers[0][0] <= started_s:
                _, _, timer = heapq.heappop(self._timers)
                if not timer.is_cancelled:
                    timer.callback()
            arrived_s, self._input_until_s = self._now_s - self._input_until_s, self._now_s
            self.work(arrived_s * self._input_share)
            next_due_s = self._timers[0][0] if self._timers else end_s
            self._now_s = max(self._now_s, min(next_due_s, end_s, self._now_s + INPUT_INTERVAL_S))


class TimedRuntime(RoomRuntime):
    """A room whose tick takes a given time.

    Args:
        room: the room.
        clock: the clock that its work advances.
        work_s: the time of a tick, of which the writes are WRITE_SHARE.

    Attributes:
        is_resting: whether the room skips its ticks.
        started_s: the times at which ticks started.
    """

    WRITE_SHARE = 0.6

    def __init__(self, room: Room, clock: SimulatedClock, work_s: float) -> None:
        super().__init__(room, epoch=1, counters=RoomCounters(), now_s=clock.now_s)
        self.work_s = work_s
        self.is_resting = False
        self.started_s: list[float] = []
        self._clock = clock

    @property
    def is_idle(self) -> bool:
        """Whether the room skips its ticks."""
        return self.is_resting

    def simulate(self) -> None:
        """Take the first part of the time."""
        self.started_s.append(self._clock.now_s())
        self._clock.work(self.work_s * (1 - self.WRITE_SHARE))

    def encode(self) -> None:
        """Take no time."""

    def write(self) -> None:
        """Take the rest of the time."""
        self._clock.work(self.work_s * self.WRITE_SHARE)


class TickedShard:
    """The rooms of a shard on a simulated clock.

    Args:
        input_share: the work for input, as a share of the time.

    Attributes:
        lateness_s: the lateness of all ticks since the last `clear`.
    """

    def __init__(self, input_share: float = 0.0) -> None:
        self.clock = SimulatedClock(input_share)
        self.lateness_s: list[float] = []
        self.scheduler = TickScheduler(self.clock, lambda runtime, failed: None, self._observe)
        self._numbers = itertools.count()

    def add(self, room: type[Room], work_s: float) -> TimedRuntime:
        """Add a room whose tick takes `work_s`."""
        runtime = TimedRuntime(room(room_id=f"r{next(self._numbers)}", name="", seed=1), self.clock, work_s)
        self.scheduler.add(runtime)
        return runtime

    def measure(self, seconds: float) -> tuple[float, list[float]]:
        """Run, and return the busy share of the time and the lateness of all ticks, ascending."""
        self.lateness_s.clear()
        busy_s = self.clock.busy_s
        self.clock.run(seconds)
        return (self.clock.busy_s - busy_s) / seconds, sorted(self.lateness_s)

    def _observe(self, duration_s: float, lateness_s: float) -> None:
        self.lateness_s.append(lateness_s)
