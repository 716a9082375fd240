"""The boundary between the server and a game's code: no exception of a hook crosses it.

    Exception                     logged and counted; becomes RoomCodeRaised
    SystemExit, GeneratorExit,    the same. Hooks are plain functions: a game that calls `sys.exit()`, or reads the
    asyncio.CancelledError        result of a cancelled future, must not stop the shard or cancel the caller's task
    KeyboardInterrupt             the same. The shard receives SIGINT from the event loop, never as an exception
    CommandRefused                passes through in commands and hooks that may refuse (on_join); elsewhere the same

The types of arguments and options are code of the game, too: `__post_init__` of a struct runs while they are decoded.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import structlog

from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.hook_call import HookCall
from tickwire.server.rooms.reasons import REASON_CHARACTERS_MAX
from tickwire.server.rooms.recent_errors import ErrorPlace

log = structlog.get_logger(__name__)


class RoomIdentity(Protocol):
    """The identity of a room, for logs and counters."""

    @property
    def room_type(self) -> str:
        """The type of the room."""

    @property
    def room_id(self) -> str:
        """The id of the room."""

    @property
    def tick(self) -> int:
        """The number of its newest tick."""


class PendingRoom(NamedTuple):
    """The identity of a room that does not exist yet."""

    room_type: str
    room_id: str
    tick: int = 0


class RoomCodeRaised(Exception):
    """The game's code raised an exception in the hook that the argument names; the exception is the cause."""


class CommandRefused(Exception):
    """Raise it in a command or in `on_join` to refuse the player, who receives the argument as the reason."""

    @property
    def reason(self) -> str:
        """The reason for the player. Never raises an exception, also not in a game's subclass."""
        reason = self.args[0] if self.args and type(self.args[0]) is str else "the room refused the request"
        return reason[:REASON_CHARACTERS_MAX]


class NoSuchCommand(CommandRefused):
    """The room has no command with this name.

    Args:
        name: the name in the Command.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"unknown command {name[:64]!r}")


CONSEQUENCES = {
    "__init__": "the room is not created",
    "on_create": "the room is not created",
    "restore": "the room is not restored",
    "on_join": "the join is refused",
    "save": "the last saved state stays",
    "tick": "the room closes, or restarts if its policy is to restore it",
    "can_migrate": "the room stays on this shard",
}


@contextmanager
def contain(
    hook: str,
    room: RoomIdentity,
    counters: RoomCounters,
    *,
    arguments: tuple[Any, ...] = (),
    answers: tuple[type[Exception], ...] = (),
) -> Iterator[None]:
    """Run a game's code, and log and count an exception that leaves it.

    Args:
        hook: the name of the hook, for the log.
        room: the room whose code runs.
        counters: the counters of the shard.
        arguments: the arguments of the hook, for the log.
        answers: exceptions that are a valid answer to the player, such as CommandRefused.

    Raises:
        RoomCodeRaised: the code raised an exception of any type.
        One of `answers`: the code raised it.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, answers):
            raise
        default = "the command fails" if answers else "the room continues"
        report_error(room, counters, HookCall(hook, arguments), error, CONSEQUENCES.get(hook, default))
        raise RoomCodeRaised(hook) from error


def report_error(
    room: RoomIdentity, counters: RoomCounters, call: HookCall, error: BaseException, consequence: str
) -> None:
    """Count an exception of a game's code, keep it for the admin API, and log it unless it repeats too often.

    Args:
        room: the room whose code ran.
        counters: the counters of the shard.
        call: the hook and its arguments.
        error: the exception.
        consequence: a sentence about what becomes of the room or the call.
    """
    counters.room_errors[room.room_type] += 1
    kept = counters.recent_errors.add(ErrorPlace(room.room_type, room.room_id, room.tick, consequence), call, error)
    repeats = kept.unlogged - 1
    if counters.recent_errors.is_due(kept):
        log.error(
            "room_code_raised",
            hook=call.hook,
            room_id=room.room_id,
            room_type=room.room_type,
            tick=room.tick,
            player_id=kept.player_id,
            arguments=kept.arguments,
            consequence=consequence,
            repeats=repeats,
            exc_info=error,
        )
