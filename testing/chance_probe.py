"""Finds the calls of a game to sources of chance: other random numbers, the time, addresses of objects.

A profile function of Python sees each call of a function, however it was imported. The functions of `numpy.random`
are the exception, because Cython does not report their calls; these are replaced during the probe, also where a game
has imported them by name. A call counts if code of the game makes it, directly or through the standard library.
"""

from __future__ import annotations

import builtins
import datetime
import os
import random
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from types import FrameType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from tickwire.testing.game_frames import CodePlace, find_caller

CALLS_MAX = 10_000

_BUILTINS: dict[object, str] = {
    os.urandom: "os.urandom",
    builtins.id: "id",
    builtins.hash: "hash",
} | {
    getattr(time, name): f"time.{name}"
    for name in (
        "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time",
        "process_time_ns", "thread_time", "localtime", "gmtime", "ctime", "strftime",
    )
}  # fmt: skip
_OF_CLASSES = {
    (datetime.datetime, "now"): "datetime.now",
    (datetime.datetime, "utcnow"): "datetime.utcnow",
    (datetime.datetime, "today"): "datetime.today",
    (datetime.date, "today"): "date.today",
}
_PYTHON = {
    uuid.uuid1.__code__: "uuid.uuid1",
    uuid.uuid4.__code__: "uuid.uuid4",
}
_RANDOM_STATE: Any = np.random.mtrand._rand


class SourceCall(NamedTuple):
    """A call to a source of chance.

    Args:
        source: the function, such as `time.monotonic`.
        place: the line of the game.
        tick: the tick in which it was called.
        step: the number of lines of the game that were traced before it.
    """

    source: str
    place: CodePlace
    tick: int
    step: int


class ChanceProbe:
    """Records the calls of a game to sources of chance.

    Args:
        get_position: returns the current tick, and the number of lines that were traced.

    Attributes:
        calls: the calls in their order, at most CALLS_MAX.
    """

    def __init__(self, get_position: Callable[[], tuple[int, int]]) -> None:
        self.calls: list[SourceCall] = []
        self._get_position = get_position

    @contextmanager
    def active(self) -> Iterator[None]:
        """Record calls inside a `with`, on the current thread."""
        previous = sys.getprofile()
        with ExitStack() as stack:
            _replace_numpy(self._record, stack)
            sys.setprofile(self._profile)
            try:
                yield
            finally:
                sys.setprofile(previous)

    def _record(self, source: str, frame: FrameType | None) -> None:
        if len(self.calls) < CALLS_MAX and (place := find_caller(frame)) is not None:
            call = SourceCall(source, place, *self._get_position())
            if not self.calls or not _is_part_of(call, self.calls[-1]):
                self.calls.append(call)

    def _profile(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call":
            source = _source_of_builtin(argument)
            if source:
                self._record(source, frame)
        elif event == "call":
            source = _source_of_function(frame)
            if source:
                self._record(source, frame.f_back)


def _is_part_of(call: SourceCall, last: SourceCall) -> bool:
    """Return whether a call is only how the last one works: `random.choice` calls `random.getrandbits`."""
    is_same_line = call.place == last.place and call.tick == last.tick
    is_same_module = call.source.partition(".")[0] == last.source.partition(".")[0]
    return is_same_line and (is_same_module or call.source == "os.urandom")


def _source_of_builtin(function: Any) -> str:
    """Return the name of a source of chance that is written in C; empty for another function."""
    owner = getattr(function, "__self__", None)
    if owner is random._inst:
        return f"random.{function.__name__}" if function.__name__ in ("random", "getrandbits") else ""
    if isinstance(owner, type):
        kinds = (kind for kind in (datetime.datetime, datetime.date) if issubclass(owner, kind))
        return next(
            (_OF_CLASSES[kind, function.__name__] for kind in kinds if (kind, function.__name__) in _OF_CLASSES), ""
        )
    if isinstance(owner, ModuleType):
        return _BUILTINS.get(function, "")
    return ""


def _source_of_function(frame: FrameType) -> str:
    """Return the name of a source of chance that is written in Python; empty for another function."""
    code = frame.f_code
    if code in _PYTHON:
        return _PYTHON[code]
    module = frame.f_globals.get("__name__")
    if module == "secrets":
        return f"secrets.{code.co_name}"
    if module == "random" and not code.co_name.startswith("_") and frame.f_locals.get("self") is random._inst:
        return f"random.{code.co_name}"
    if module == "random" and code is random.Random.seed.__code__ and frame.f_locals.get("a") is None:
        return "random.Random() without a seed"
    return ""


def _replace_numpy(record: Callable[[str, FrameType | None], None], stack: ExitStack) -> None:
    """Replace the functions of `numpy.random` that use its global state, or take a seed from the system."""
    replaced: dict[int, tuple[Any, Callable[..., Any]]] = {}
    for name, function in vars(np.random).items():
        if getattr(function, "__self__", None) is _RANDOM_STATE and name not in ("seed", "get_state", "set_state"):
            replaced[id(function)] = (
                function,
                _recorded(f"numpy.random.{name}", function, record, lambda arguments: True),
            )
        elif name == "default_rng":
            replaced[id(function)] = function, _recorded(
                "numpy.random.default_rng() without a seed", function, record, lambda arguments: not any(
                    argument is not None for argument in arguments
                )
            )  # fmt: skip
    for module in list(sys.modules.values()):
        if (getattr(module, "__name__", "") or "").startswith("numpy") and module is not np.random:
            continue
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if id(value) in replaced and replaced[id(value)][0] is value:
                stack.callback(setattr, module, name, value)
                setattr(module, name, replaced[id(value)][1])


def _recorded(
    source: str,
    function: Callable[..., Any],
    record: Callable[[str, FrameType | None], None],
    counts: Callable[[tuple[Any, ...]], bool],
) -> Callable[..., Any]:
    thread = threading.get_ident()

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() == thread and counts((*args, *kwargs.values())):
            record(source, sys._getframe(1))
        return function(*args, **kwargs)

    return call
