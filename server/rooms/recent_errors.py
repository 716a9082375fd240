"""The newest exceptions of the games' hooks on one shard, for the admin API, the console and `tickwire dev`.

At most ERRORS_MAX errors of each of at most ROOMS_MAX rooms are kept, also after a room has ended. The same error of
a room, in the same hook and line, is kept once and counted. Pure: the clock is a parameter.
"""

from __future__ import annotations

import traceback
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from tickwire.server.observability.redaction import redact_text
from tickwire.server.rooms.hook_call import HookCall

ROOMS_MAX = 100
ERRORS_MAX = 10
"""Errors of one room that differ in their hook, type or line: more than these have one cause."""
FRAMES_MAX = 12
FRAME_CHARACTERS_MAX = 160
MESSAGE_CHARACTERS_MAX = 500
LOGGED_MAX = 3
"""The first errors of a kind are logged; after that, one each LOG_INTERVAL_S: a tick may fail 60 times a second."""
LOG_INTERVAL_S = 10.0
SHARD_LOGGED_MAX = 100
"""The errors that a shard logs in LOG_INTERVAL_S. More rooms than are kept here may fail with each of their ticks."""
_PACKAGE = Path(__file__).parents[2]
_OURS = tuple(f"{_PACKAGE / name}/" for name in ("server", "schemas"))


class RoomError:
    """An exception that a hook of a room raised, with all its repetitions.

    Args:
        room: the type and id of the room.
        call: the newest call that raised it.
        error: the newest exception.

    Attributes:
        tick: the tick of the newest exception.
        player_id: the player of the newest call; empty without one.
        arguments: the arguments of the newest call, as short text.
        message: the type and text of the exception.
        frames: the lines of the game's code, the innermost last: file, line, function and code.
        consequence: a sentence about what becomes of the room or the call.
        count: how often it was raised.
        last_s: when it was raised last, on the clock of the shard.
        unlogged: the repetitions since the last log line.
        recording: the recording of the seconds before the newest exception; empty without one.
    """

    def __init__(self, room: tuple[str, str], call: HookCall, error: BaseException) -> None:
        self.room_type, self.room_id = room
        self.hook = call.hook
        self.frames = describe_frames(error.__traceback__)
        self.tick = self.count = self.unlogged = 0
        self.last_s = self.logged_s = 0.0
        self.consequence = self.player_id = self.message = self.recording = ""
        self.arguments: list[str] = []

    def update(self, call: HookCall, error: BaseException) -> None:
        """Record another exception of this kind."""
        self.count += 1
        self.unlogged += 1
        self.player_id, self.arguments = call.player_id, call.describe_arguments()
        self.message = describe_error(error)


class ErrorPlace(NamedTuple):
    """The room and tick of an exception, and a sentence about its consequence."""

    room_type: str
    room_id: str
    tick: int
    consequence: str = ""


class RecentErrors:
    """The newest errors of the rooms of a shard.

    Args:
        now_s: a monotonic clock in seconds.

    Attributes:
        on_error: called with each error that is due for the log; `tickwire dev` prints it.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self.on_error: Callable[[RoomError], None] = lambda error: None
        self._now_s = now_s
        self._by_room: OrderedDict[str, OrderedDict[tuple[str, str, str], RoomError]] = OrderedDict()
        self._interval_s = 0.0  # when the interval began in which `_logged` errors were logged
        self._logged = 0

    def add(self, place: ErrorPlace, call: HookCall, error: BaseException) -> RoomError:
        """Add an exception, and return it with its repetitions."""
        kinds = self._by_room.setdefault(place.room_id, OrderedDict())
        self._by_room.move_to_end(place.room_id)
        while len(self._by_room) > ROOMS_MAX:
            self._by_room.popitem(last=False)
        kind = call.hook, type(error).__qualname__, _line_of(error.__traceback__)
        known = kinds.get(kind)
        if known is None:
            known = kinds[kind] = RoomError((place.room_type, place.room_id), call, error)
        kinds.move_to_end(kind)
        while len(kinds) > ERRORS_MAX:
            kinds.popitem(last=False)
        known.update(call, error)
        known.tick, known.consequence, known.last_s = place.tick, place.consequence, self._now_s()
        return known

    def is_due(self, error: RoomError) -> bool:
        """Return whether to log an error that was just added, and record it if so; also report it to `on_error`."""
        if error.count > LOGGED_MAX and error.last_s - error.logged_s < LOG_INTERVAL_S:
            return False
        if error.last_s - self._interval_s >= LOG_INTERVAL_S:
            self._interval_s, self._logged = error.last_s, 0
        if self._logged >= SHARD_LOGGED_MAX:
            return False
        self._logged += 1
        error.logged_s, error.unlogged = error.last_s, 0
        self.on_error(error)
        return True

    def list_errors(self, room_id: str = "") -> list[RoomError]:
        """Return the errors of a room, or of all rooms; the newest first."""
        rooms = self._by_room.values() if not room_id else [self._by_room.get(room_id, OrderedDict())]
        found = [error for kinds in rooms for error in kinds.values()]
        return sorted(found, key=lambda error: error.last_s, reverse=True)

    def age_s(self, error: RoomError) -> float:
        """Return how long ago an error was raised last, in seconds."""
        return self._now_s() - error.last_s


def describe_error(error: BaseException) -> str:
    """Return the type and the text of an exception, without secrets, whatever its `str` does."""
    text = "".join(traceback.format_exception_only(type(error), error)).strip()
    return redact_text(text)[:MESSAGE_CHARACTERS_MAX]


def describe_frames(trace: TracebackType | None) -> list[str]:
    """Return the lines of the game's code in a traceback; those of the server if the game has none."""
    frames = traceback.extract_tb(trace)
    own = [frame for frame in frames if not frame.filename.startswith(_OURS)]
    return [
        f"{frame.filename}:{frame.lineno} in {frame.name}: {redact_text(frame.line or '')}"[:FRAME_CHARACTERS_MAX]
        for frame in (own or frames)[-FRAMES_MAX:]
    ]


def _line_of(trace: TracebackType | None) -> str:
    """Return the innermost file and line of a traceback."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
