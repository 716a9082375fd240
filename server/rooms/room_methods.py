"""Finds and checks methods of a room that are called later by their name, such as those of timers.

A method is kept by its name, because the room may have moved to another shard by then, or may have been restored from
a save. So only a plain method of the room's class is accepted, and no function or method of another object. Pure.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any


def find_method(room: object, name: str) -> Callable[..., object] | None:
    """Return the plain method of the room's class with this name, or None."""
    found: Callable[..., object] | None = inspect.getattr_static(type(room), name, None)
    return found if inspect.isfunction(found) else None


def check_method(caller: str, room: object, method: Callable[..., object], arguments: tuple[Any, ...]) -> str:
    """Check that a method can be called by its name later, and return the name.

    Args:
        caller: the part of the API that the game has called, for the message.
        room: the room.
        method: the method that the game has passed.
        arguments: the arguments of the later call.

    Raises:
        TypeError: the method is not a plain method of this room, or does not accept the arguments.
    """
    name = getattr(method, "__name__", "")
    function = find_method(room, name)
    is_of_room = getattr(method, "__self__", None) is room and getattr(method, "__func__", None) is function
    if function is None or not is_of_room:
        raise TypeError(
            f"{caller}: {name or method!r} is not a method of this room; the call moves with the room and is saved "
            "with it, so it can only be a method, such as self.start_round"
        )
    check_arguments(caller, name, function, (room, *arguments))
    return name


def check_arguments(caller: str, name: str, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    """Check that a plain function accepts these arguments, of which the first is the room.

    Raises:
        TypeError: it does not, or it is not a plain function.
    """
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise TypeError(f"{caller}: {name} must be a plain method, not async and not a generator")
    try:
        _signature(function).bind(*arguments)
    except TypeError as error:
        raise TypeError(f"{caller}: {name} does not accept these {len(arguments) - 1} arguments: {error}") from None


@lru_cache(maxsize=1024)
def _signature(function: Callable[..., object]) -> inspect.Signature:
    return inspect.signature(function)
