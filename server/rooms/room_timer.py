"""One call that a room has scheduled on its clock; see server/rooms/clock.py. Pure.

    pending --runs once, or its player has left, or its row is despawned--> ended
       └-----cancel-----------------------------------------------------------┘

A repeated call stays pending after each run.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from tickwire.server.replication.table import Row
from tickwire.server.rooms.player import Player


class TimerSchedule(NamedTuple):
    """The times of a timer, in ticks of the room. Fractions are kept, so that a repeated call does not drift.

    Args:
        due: the exact time of the next run; the call runs in the first tick that is not before it.
        interval: the time between two runs; 0 for a call that runs once.
    """

    due: float
    interval: float = 0.0


class TimerCall(NamedTuple):
    """The call of a timer.

    Args:
        method: the name of the room's method.
        arguments: the arguments, encoded except for players and rows.
    """

    method: str
    arguments: tuple[bytes | Player | Row, ...] = ()


class RoomTimer:
    """A scheduled call of a method of the room.

    Args:
        number: the number of the timer in its room, from 1; 0 for a timer that has ended elsewhere.
        call: the call.
        schedule: the times.
        tick_rate_hz: the number of ticks per second.

    Attributes:
        number: the number of the timer in its room, from 1.
        call: the call.
        schedule: the times of the next run, in ticks.
        tick: the tick of the next run.
        is_pending: whether the call will run, unless it is cancelled or its player or row goes first.
    """

    __slots__ = ("_tick_rate_hz", "call", "is_pending", "number", "schedule", "tick")

    def __init__(self, number: int, call: TimerCall, schedule: TimerSchedule, tick_rate_hz: float) -> None:
        self.number = number
        self.call = call
        self.schedule = schedule
        self.tick = math.ceil(schedule.due)
        self.is_pending = True
        self._tick_rate_hz = tick_rate_hz

    @property
    def method(self) -> str:
        """The name of the method that is called."""
        return self.call.method

    @property
    def due_s(self) -> float:
        """The room time of the next run, in seconds; compare it with `clock.now_s`."""
        return self.schedule.due / self._tick_rate_hz

    @property
    def interval_s(self) -> float:
        """The time between two runs in seconds; 0 for a call that runs once."""
        return self.schedule.interval / self._tick_rate_hz

    def cancel(self) -> None:
        """Prevent all further runs, also from the call itself. Idempotent."""
        self.is_pending = False

    def postpone(self) -> None:
        """Set the next run of a repeated call."""
        self.schedule = TimerSchedule(round_ticks(self.schedule.due + self.schedule.interval), self.schedule.interval)
        self.tick = math.ceil(self.schedule.due)

    def __repr__(self) -> str:
        return f"<RoomTimer {self.method} at {self.due_s:g} s{'' if self.is_pending else ', ended'}>"


def create_ended_timer() -> RoomTimer:
    """Return a timer that has ended, in place of one that no longer exists."""
    timer = RoomTimer(0, TimerCall(""), TimerSchedule(0.0), 1.0)
    timer.cancel()
    return timer


def round_ticks(ticks: float) -> float:
    """Return a time in ticks without the error of the conversion from seconds: 1.1 s are 11 ticks at 10 Hz."""
    return round(ticks, 6)
