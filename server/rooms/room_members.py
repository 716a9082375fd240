"""Checks the members of a game's room class that are neither tables nor declarations, when it is defined. Pure.

Without these checks a misspelt hook is never called, and the other mistakes fail when the first room is created.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable
from typing import Any

from tickwire.server.replication.columns import Column

_SIMILARITY_MIN = 0.85
"""Of a method's name and a hook's: `on_joined` and `on_join` have 0.88, `on_timed` and `on_tuned` 0.75."""
_SETTINGS = (bool, int, float, str)
"""Types of class variables that may be misspelt declarations: `max_player` and `tick_rate`."""


def check_members(cls: type[Any], room: type[Any], hooks: Iterable[str], declarations: Iterable[str]) -> None:
    """Check the members of a room class and of its bases up to Room.

    Args:
        cls: the class of the game.
        room: the class Room itself.
        hooks: the names of the hooks.
        declarations: the names of the class variables that a game may set.

    Raises:
        TypeError: a member is invalid; the message names it.
    """
    known, settable = frozenset(hooks), frozenset(declarations)
    for base in cls.__mro__[: cls.__mro__.index(room)]:
        for name, value in vars(base).items():
            if isinstance(value, Column):
                raise TypeError(f"{cls.__name__}.{name}: a column belongs to a Table, not to a room")
            if name.startswith("on_") and name not in known and inspect.isfunction(value):
                _check_misspelling(cls, name, known)
            elif isinstance(value, _SETTINGS) and name not in settable:
                _check_setting(cls, name, settable)
    _check_constructor(cls)


def _check_misspelling(cls: type[Any], name: str, hooks: frozenset[str]) -> None:
    similar = difflib.get_close_matches(name, sorted(hooks), n=1, cutoff=_SIMILARITY_MIN)
    if similar:
        raise TypeError(
            f"{cls.__name__}.{name} is not a hook and would never be called; "
            f"write {similar[0]}, or choose a name that is less similar"
        )


def _check_setting(cls: type[Any], name: str, declarations: frozenset[str]) -> None:
    similar = difflib.get_close_matches(name, sorted(declarations), n=1, cutoff=_SIMILARITY_MIN)
    if similar and not name.startswith("_"):
        raise TypeError(
            f"{cls.__name__}.{name} has no effect; write {similar[0]}, or choose a name that is less similar"
        )


def _check_constructor(cls: type[Any]) -> None:
    constructor = inspect.getattr_static(cls, "__init__")
    if not inspect.isfunction(constructor):
        raise TypeError(f"{cls.__name__}.__init__: must be a plain method")
    try:
        inspect.signature(constructor).bind(cls, room_id="", name="", seed=0)
    except TypeError as error:
        text = f"{cls.__name__}.__init__ is called with (self, *, room_id, name, seed): {error}"
        raise TypeError(f"{text}; write `def __init__(self, **kwargs)` and pass kwargs to super()") from None
