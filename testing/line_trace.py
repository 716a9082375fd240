"""Traces the lines of a game that hooks of a room run in one tick, with the state of the room after each line.

Two traces of the same tick show the first line whose effect differs between two runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

from tickwire.testing.fingerprint import checksum, encode_values, take_fingerprint
from tickwire.testing.game_frames import CodePlace, is_game, is_room_method

STEPS_MAX = 20_000
"""The traced lines, of which each costs about 0.1 ms."""
VARIABLES_MAX = 200
"""The values of local variables that are compared for each line, fields of objects included."""


class LineStep(NamedTuple):
    """A line of the game that is about to run.

    Args:
        place: the line and its hook.
        call: the number of the call of the hook in the trace, from 1.
        state: the checksum of the room's state before the line.
        variables: the checksum of the local variables, before the line.
    """

    place: CodePlace
    call: int
    state: int
    variables: int


class LineTracer:
    """Records the lines of one tick.

    Attributes:
        steps: the lines in their order, at most STEPS_MAX.
    """

    def __init__(self) -> None:
        self.steps: list[LineStep] = []
        self._previous: Any = None
        self._is_active = False
        self._hook: FrameType | None = None
        self._room: Any = None
        self._calls = 0

    def start(self) -> None:
        """Begin to record on the current thread; between two ticks. A measurement of coverage pauses. Idempotent."""
        if not self._is_active:
            self._is_active, self._previous = True, sys.gettrace()
            sys.settrace(self._trace_call)

    def stop(self) -> None:
        """End to record. Idempotent."""
        if self._is_active:
            self._is_active = False
            sys.settrace(self._previous)

    def _trace_call(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        if not is_game(frame.f_code.co_filename):
            return None
        if self._hook is None:
            if not is_room_method(frame):
                return None
            self._hook, self._room = frame, frame.f_locals[frame.f_code.co_varnames[0]]
            self._calls += 1
        return self._trace_line

    def _trace_line(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        if event in ("line", "return") and self._hook is not None and len(self.steps) < STEPS_MAX:
            code = frame.f_code
            place = CodePlace(self._hook.f_code.co_name, code.co_filename, frame.f_lineno)
            self.steps.append(LineStep(place, self._calls, _state_of(self._room), _variables_of(frame)))
        if event == "return" and frame is self._hook:
            self._hook = self._room = None
        return self._trace_line


def _state_of(room: Any) -> int:
    if not hasattr(room, "clock"):  # in `__init__`, before that of Room
        return 0
    return checksum(repr(sorted(take_fingerprint(room).items())).encode())


def _variables_of(frame: FrameType) -> int:
    return checksum(encode_values(frame.f_locals.items(), VARIABLES_MAX))
