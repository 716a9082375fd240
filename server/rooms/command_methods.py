"""Marks the methods of a room that players call as commands.

    class Arena(Room):
        @command
        def buy(self, player: Player, item: str, count: Annotated[int, Meta(ge=1, le=99)] = 1) -> int: ...

        @command(rate_per_s=1.0, burst=10)
        def say(self, player: Player, text: str) -> None: ...

`tickwire.server.rooms.command_declarations` reads the marks when the class is defined. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

import msgspec

Method = TypeVar("Method", bound=Callable[..., Any])
_MARK = "__tickwire_command__"


class CommandOptions(msgspec.Struct, frozen=True):
    """The options of `@command`.

    Args:
        rate_per_s: the number of calls per second that one player may make on average; None for no limit.
        burst: the number of calls that a player may make at once.
    """

    rate_per_s: float | None = None
    burst: int = 1


@overload
def command(method: Method, /) -> Method: ...
@overload
def command(*, rate_per_s: float, burst: int = 1) -> Callable[[Method], Method]: ...
def command(method: Any = None, /, *, rate_per_s: float | None = None, burst: int = 1) -> Any:
    """Make a method of a room a command, which clients call by its name.

    The first parameter is the player. The annotations of the others are checked before the method runs, and the
    annotation of the result after it.

    Args:
        method: the method.
        rate_per_s: the number of calls per second that one player may make on average, 1/86400 or more. Above it the
            command is refused with RATE_LIMITED, and clients send it again after the time in the reply.
        burst: the number of calls that a player may make at once.
    """
    options = CommandOptions(rate_per_s, burst)

    def mark(method: Any) -> Any:
        setattr(method, _MARK, options)
        return method

    return mark if method is None else mark(method)


def options_of(value: object) -> CommandOptions | None:
    """Return the options of a command; None for anything else."""
    return getattr(value, _MARK, None)
