"""The clock of a room: the room's time, and calls that the room has scheduled.

    self.clock.after(3.0, self.start_round, 1)      # once, in the first tick that is 3 s away or more
    self.clock.every(10.0, self.spawn_wave)         # in 10 s, 20 s, ...
    self.clock.after(60.0, self.warn, player)       # not if the player has left by then

The room's time is its tick number divided by its tick rate: it pauses with the ticks of an empty room, and it does
not depend on the load of the shard. The calls that are due run in each tick after the inputs and before `on_tick`, in
the order of their ticks, and within a tick in the order in which they were scheduled. A call that is scheduled in a
tick runs in the next tick at the earliest.

Timers move with the room and are saved with a durable one. A call is therefore a method of the room, and its
arguments are players, rows, and values that can be encoded (server/rooms/value_codec.py), which are copied when the
timer is set. Pure.
"""

from __future__ import annotations

import math
import weakref
from bisect import insort
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import structlog

from tickwire.server.replication.table import Row
from tickwire.server.rooms.checkpoint import ClockCheckpoint, TimerCheckpoint
from tickwire.server.rooms.player import Player
from tickwire.server.rooms.room_methods import check_arguments, check_method, find_method
from tickwire.server.rooms.room_timer import RoomTimer, TimerCall, TimerSchedule, round_ticks
from tickwire.server.rooms.value_codec import NotCopied, ReferenceSource, decode_value, encode_plain, encode_value

log = structlog.get_logger(__name__)

TIMERS_MAX = 1000
"""The number of pending timers of a room: several for each player of the largest rooms."""
ARGUMENT_BYTES_MAX = 1024
"""The encoded size of a timer's arguments, so that all timers of a room are at most a megabyte of each save."""


class TooManyTimers(RuntimeError):
    """The room has TIMERS_MAX pending timers."""


class TimedRoom(ReferenceSource, Protocol):
    """A room, as its clock sees it. `tickwire.server.rooms.room.Room` is one."""

    room_id: str
    tick: int

    @property
    def room_type(self) -> str:
        """The type of the room."""
        ...

    @property
    def tick_rate_hz(self) -> float:
        """The number of ticks per second."""
        ...


class RoomClock:
    """The clock of one room.

    Args:
        room: the room. The clock refers to it weakly, so that a closed room is freed at once.

    Attributes:
        next_tick: no timer is due before this tick; infinite without timers.
        running: the call that runs, or that has raised an exception.
    """

    __slots__ = ("_last_number", "_room_reference", "_timers", "next_tick", "running")

    def __init__(self, room: TimedRoom) -> None:
        self._room_reference = weakref.ref(room)
        self._timers: list[RoomTimer] = []  # in the order of their runs; ended ones are removed when they are due
        self._last_number = 0
        self.next_tick: float = math.inf
        self.running = TimerCall("")

    @property
    def now_s(self) -> float:
        """The room's time in seconds: the number of the newest tick, divided by the tick rate."""
        room = self._room
        return room.tick / room.tick_rate_hz

    @property
    def timers(self) -> tuple[RoomTimer, ...]:
        """The pending timers, in the order of their next runs."""
        return tuple(timer for timer in self._timers if self._is_live(timer))

    @property
    def last_number(self) -> int:
        """The number of the newest timer; 0 before the first."""
        return self._last_number

    def after(self, delay_s: float, method: Callable[..., object], *arguments: Any) -> RoomTimer:
        """Call a method of the room once, in the first tick that is at least `delay_s` seconds from now.

        Args:
            delay_s: the delay in seconds of room time. The call runs in the next tick at the earliest.
            method: a method of this room, such as `self.start_round`.
            *arguments: the arguments of the call. If a player among them leaves, or a row is despawned, before the
                call is due, it does not run.

        Returns:
            The timer, which can be cancelled. It may be kept in an attribute of the room.

        Raises:
            ValueError: the delay is negative or not finite, or the arguments are too large.
            TypeError: the method is not a plain method of this room or does not accept the arguments, or an argument
                cannot be encoded.
            TooManyTimers: the room has TIMERS_MAX timers.
        """
        if not (math.isfinite(delay_s) and delay_s >= 0):
            raise ValueError(f"clock.after: the delay must be 0 s or more, not {delay_s}")
        return self._schedule(delay_s * self._room.tick_rate_hz, 0.0, method, arguments)

    def every(self, interval_s: float, method: Callable[..., object], *arguments: Any) -> RoomTimer:
        """Call a method of the room again and again: in `interval_s` seconds, and then in every such interval.

        The interval may lie between two ticks; the calls then alternate, and their number per time is exact.

        Args:
            interval_s: the interval in seconds of room time; at least one tick.
            method: a method of this room.
            *arguments: the arguments of each call; see `after`.

        Raises:
            ValueError: the interval is shorter than a tick or not finite, or the arguments are too large.
            TypeError, TooManyTimers: see `after`.
        """
        rate = self._room.tick_rate_hz
        if not (math.isfinite(interval_s) and round_ticks(interval_s * rate) >= 1):
            raise ValueError(
                f"clock.every: the interval must be at least a tick ({1 / rate:g} s), not {interval_s}; "
                "for shorter intervals use on_tick"
            )
        return self._schedule(interval_s * rate, round_ticks(interval_s * rate), method, arguments)

    def find(self, method: Callable[..., object]) -> RoomTimer | None:
        """Return the pending timer that calls this method next, or None."""
        name = getattr(method, "__name__", "")
        return next((timer for timer in self.timers if timer.method == name), None)

    def get(self, number: int) -> RoomTimer | None:
        """Return the pending timer with this number, or None."""
        return next((timer for timer in self.timers if timer.number == number), None)

    def _schedule(
        self, delay: float, interval: float, method: Callable[..., object], arguments: tuple[Any, ...]
    ) -> RoomTimer:
        room = self._room
        call = _create_call(room, method, arguments)
        if len(self._timers) >= TIMERS_MAX:
            self._replace(self.timers)
            if len(self._timers) >= TIMERS_MAX:
                raise TooManyTimers(f"the room has {TIMERS_MAX} timers; cancel those that it no longer needs")
        self._last_number += 1
        due = max(round_ticks(room.tick + delay), room.tick + 1.0)
        timer = RoomTimer(self._last_number, call, TimerSchedule(due, interval), room.tick_rate_hz)
        self._insert(timer)
        return timer

    def _insert(self, timer: RoomTimer) -> None:
        insort(self._timers, timer, key=_order)
        self.next_tick = self._timers[0].tick

    def _replace(self, timers: Iterable[RoomTimer]) -> None:
        self._timers = sorted(timers, key=_order)
        self.next_tick = self._timers[0].tick if self._timers else math.inf

    # -- called by the server -------------------------------------------------------------------------------

    def run_due(self) -> None:
        """Run the calls that are due in the room's current tick.

        Raises:
            Exception: any exception of a call, which is then `running`. The calls after it are still due.
        """
        room = self._room
        while self._timers and self._timers[0].tick <= room.tick:
            timer = self._timers.pop(0)
            is_due = self._is_live(timer)
            if is_due and timer.schedule.interval:
                timer.postpone()
                insort(self._timers, timer, key=_order)
            else:
                timer.cancel()
            self.next_tick = self._timers[0].tick if self._timers else math.inf
            if is_due:
                self.running = timer.call
                _run(room, timer.call)

    def running_arguments(self) -> tuple[Any, ...]:
        """Return the arguments of `running`, for an error report."""
        room = self._room
        return tuple(
            decode_value(argument, room) if isinstance(argument, bytes) else argument
            for argument in self.running.arguments
        )

    def checkpoint(self) -> ClockCheckpoint:
        """Return the pending timers in the form in which they are saved."""
        room = self._room
        timers = tuple(
            TimerCheckpoint(
                number=timer.number,
                method=timer.method,
                arguments=tuple(
                    argument if isinstance(argument, bytes) else encode_value(argument, room)
                    for argument in timer.call.arguments
                ),
                due=timer.schedule.due,
                interval=timer.schedule.interval,
            )
            for timer in self.timers
        )
        return ClockCheckpoint(room.tick_rate_hz, timers)

    def find_next(self) -> RoomTimer | None:
        """Return the pending timer that is due first, or None."""
        return next((timer for timer in self._timers if self._is_live(timer)), None)

    def restore(self, checkpoint: ClockCheckpoint, *, last_number: int = 0) -> None:
        """Replace all timers with saved ones. The room's tick, tables and players are restored already.

        A call that this build cannot run is logged and left out. The remaining time of each timer stays the same if
        the tick rate has changed.

        Args:
            checkpoint: the timers.
            last_number: the number of the newest timer, if it is known; it may have ended.
        """
        room = self._room
        restored: list[RoomTimer] = []
        for saved in checkpoint.timers[:TIMERS_MAX]:
            try:
                restored.append(_restore_timer(room, saved, room.tick_rate_hz / checkpoint.tick_rate_hz))
            except (ValueError, TypeError, KeyError, ArithmeticError) as error:
                log.warning(
                    "room_timer_dropped",
                    room_id=room.room_id,
                    room_type=room.room_type,
                    method=saved.method,
                    error=str(error),
                )
        self._last_number = max((last_number, *(saved.number for saved in checkpoint.timers)))
        self._replace(timer for timer in restored if self._is_live(timer))

    def _is_live(self, timer: RoomTimer) -> bool:
        """Return whether a timer is pending, and its players and rows are in the room."""
        if not timer.is_pending:
            return False
        players = self._room.players
        for argument in timer.call.arguments:
            if isinstance(argument, Player):
                if players.get(argument.id) is not argument:
                    return False
            elif isinstance(argument, Row) and not argument.exists:
                return False
        return True

    @property
    def _room(self) -> TimedRoom:
        room = self._room_reference()
        if room is None:
            raise ReferenceError("the room of this clock no longer exists")
        return room


def _order(timer: RoomTimer) -> tuple[int, int]:
    return timer.tick, timer.number


def _run(room: TimedRoom, call: TimerCall) -> None:
    arguments = (
        decode_value(argument, room) if isinstance(argument, bytes) else argument for argument in call.arguments
    )
    getattr(room, call.method)(*arguments)


def _create_call(room: TimedRoom, method: Callable[..., object], arguments: tuple[Any, ...]) -> TimerCall:
    """Check and encode a call.

    Raises:
        ValueError, TypeError: see `RoomClock.after`.
    """
    name = check_method("clock", room, method, arguments)
    encoded = tuple(_encode_argument(name, argument) for argument in arguments)
    size = sum(len(argument) for argument in encoded if isinstance(argument, bytes))
    if size > ARGUMENT_BYTES_MAX:
        raise ValueError(f"clock: the arguments of {name} have {size} bytes; the limit is {ARGUMENT_BYTES_MAX}")
    return TimerCall(name, encoded)


def _encode_argument(name: str, argument: Any) -> bytes | Player | Row:
    if isinstance(argument, Player | Row):
        return argument
    try:
        return encode_plain(argument)
    except (NotCopied, OverflowError, ValueError) as error:
        raise TypeError(
            f"clock: an argument of {name}, a {type(argument).__name__}, cannot be saved; pass players and rows as "
            "arguments of their own, and otherwise numbers, texts, bytes, arrays, and containers of these"
        ) from error


def _restore_timer(room: TimedRoom, saved: TimerCheckpoint, scale: float) -> RoomTimer:
    """Return a saved timer.

    Args:
        room: the room, with its tick, tables and players restored.
        saved: the timer as it was saved.
        scale: the tick rate of this build, divided by that of the build that saved the timer.

    Raises:
        ValueError, TypeError, KeyError, ArithmeticError: this build cannot run the call.
    """
    function = find_method(room, saved.method)
    if function is None:
        raise ValueError("this build has no such method")
    arguments = tuple(_decode_argument(data, room) for data in saved.arguments)
    check_arguments("clock", saved.method, function, (room, *arguments))
    due = round_ticks(room.tick + (saved.due - room.tick) * scale)
    if not math.isfinite(due):
        raise ValueError("its time is not finite")
    if due <= room.tick:
        due = room.tick + 1.0
    interval = max(round_ticks(saved.interval * scale), 1.0) if saved.interval else 0.0
    return RoomTimer(
        saved.number, TimerCall(saved.method, arguments), TimerSchedule(due, interval), room.tick_rate_hz
    )


def _decode_argument(data: bytes, room: TimedRoom) -> bytes | Player | Row:
    """Return a saved argument: a player or a row, or the encoded value.

    Raises:
        ValueError, TypeError, KeyError: the value cannot be decoded, or its player has left.
    """
    value = decode_value(data, room)
    if value is None and data != encode_plain(None):
        raise ValueError("a player among its arguments has left the room")
    return value if isinstance(value, Player | Row) else data
