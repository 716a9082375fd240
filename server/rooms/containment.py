"""The boundary between the server and a game's code: no exception of a hook crosses it.

    Exception                     logged and counted; becomes RoomCodeRaised
    SystemExit, GeneratorExit,    the same. Hooks are plain functions: a game that calls `sys.exit()`, or reads the
    asyncio.CancelledError        result of a cancelled future, must not stop the shard or cancel the caller's task
    KeyboardInterrupt             the same. The shard receives SIGINT from the event loop, never as an exception
    CommandRefused                passes through in commands and hooks that may refuse (on_join); elsewhere the same

Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import structlog

from tickwire.server.rooms.counters import RoomCounters

log = structlog.get_logger(__name__)

REASON_CHARACTERS_MAX = 1000
"""The reason of a refusal is truncated to this length: clients accept texts of at most 4,096 bytes."""


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


def to_reason(reason: str) -> str:
    """Return the reason of a game for the end of a seat or room, truncated to REASON_CHARACTERS_MAX.

    Raises:
        TypeError: it is not a string.
        ValueError: it is empty, or not Unicode.
    """
    if not isinstance(reason, str):
        raise TypeError(f"the reason must be a string that clients can show, not a {type(reason).__name__}")
    if not reason.strip():
        raise ValueError("the reason must not be empty; clients show it to their players")
    reason.encode()
    return reason[:REASON_CHARACTERS_MAX]


@contextmanager
def contain(hook: str, room: RoomIdentity, counters: RoomCounters, *, may_refuse: bool = False) -> Iterator[None]:
    """Run a game's code, and log and count an exception that leaves it.

    Args:
        hook: the name of the hook, for the log.
        room: the room whose code runs.
        counters: the counters of the shard.
        may_refuse: whether CommandRefused is a valid answer of the hook.

    Raises:
        RoomCodeRaised: the code raised an exception of any type.
        CommandRefused: the code raised it, and `may_refuse` is set.
    """
    try:
        yield
    except BaseException as error:
        if may_refuse and isinstance(error, CommandRefused):
            raise
        counters.room_errors[room.room_type] += 1
        log.exception("room_code_raised", hook=hook, room_id=room.room_id, room_type=room.room_type, tick=room.tick)
        raise RoomCodeRaised(hook) from error
