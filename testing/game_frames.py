"""Finds the code of the game among the frames of a call stack: the hook that runs, and the line that has called."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import CodeType, FrameType
from typing import NamedTuple

import tickwire
from tickwire.server.rooms.room import Room

SCENARIO = "the scenario"
"""Stands for a hook if no room calls: the code of the test itself."""

_TICKWIRE = Path(tickwire.__file__).parent
_GAMES = ("examples",)
"""The packages of Tickwire that are games."""
_LIBRARIES = tuple(
    str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platstdlib") if sysconfig.get_path(name)
)


class CodePlace(NamedTuple):
    """A line of code.

    Args:
        hook: the hook of the room that runs, such as `on_tick`; SCENARIO outside of rooms.
        file: the path of the file.
        line: the number of the line.
    """

    hook: str
    file: str
    line: int


@lru_cache(maxsize=4096)
def is_library(file: str) -> bool:
    """Return whether a file belongs to Python's standard library, or is not a file."""
    if file.startswith("<"):
        return True
    path = str(Path(file).resolve())
    return path.startswith(_LIBRARIES) and "site-packages" not in path and "dist-packages" not in path


@lru_cache(maxsize=4096)
def is_server(file: str) -> bool:
    """Return whether a file belongs to Tickwire and is not a game."""
    path = Path(file).resolve()
    folders = [(_TICKWIRE / name).resolve() for name in _GAMES]
    ours = [_TICKWIRE.resolve(), *(link.resolve() for link in _TICKWIRE.iterdir() if link.is_dir())]
    return any(path.is_relative_to(each) for each in ours) and not any(path.is_relative_to(each) for each in folders)


@lru_cache(maxsize=4096)
def is_game(file: str) -> bool:
    """Return whether a file is code of a game: neither Tickwire, nor the standard library, nor installed."""
    return not (is_library(file) or is_server(file) or "site-packages" in file or "dist-packages" in file)


def callers(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield a frame and its callers, the innermost first."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def find_caller(frame: FrameType | None) -> CodePlace | None:
    """Return the line of the game that has called, past functions of libraries; None if the server has called.

    The server calls sources of chance, too, for its logs and metrics.
    """
    stack = callers(frame)
    for each in stack:
        if is_server(each.f_code.co_filename):
            return None
        if is_game(each.f_code.co_filename):
            outer = [each, *stack]
            hooks = [caller.f_code.co_name for caller in outer if is_room_method(caller)]
            return CodePlace(hooks[-1] if hooks else SCENARIO, each.f_code.co_filename, each.f_lineno)
    return None


def is_room_method(frame: FrameType) -> bool:
    """Return whether a frame runs a method of a room that the game has defined."""
    code: CodeType = frame.f_code
    if code.co_argcount == 0 or not is_game(code.co_filename):
        return False
    return isinstance(frame.f_locals.get(code.co_varnames[0]), Room)
