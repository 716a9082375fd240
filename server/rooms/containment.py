"""The boundary between the server and a game's code: nothing that a hook raises leaves it.

    Exception                     logged and counted; becomes RoomCodeRaised
    SystemExit, GeneratorExit,    the same. Hooks are plain functions: a game that calls `sys.exit()`, or reads the
    asyncio.CancelledError        result of a cancelled future, has no say over the shard or over the caller's task
    KeyboardInterrupt             the same. The shard receives SIGINT from the event loop, never as an exception
    CommandRefused                passes where it is an answer (on_command, on_join); elsewhere the same

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
"""A refusal's reason is cut here: a client accepts no text of more than 4,096 bytes."""


class RoomIdentity(Protocol):
    """Which room it is."""

    @property
    def room_type(self) -> str: ...
    @property
    def room_id(self) -> str: ...
    @property
    def tick(self) -> int: ...


class UnmadeRoom(NamedTuple):
    """The identity of a room whose `__init__` has not returned yet."""

    room_type: str
    room_id: str
    tick: int = 0


class RoomCodeRaised(Exception):
    """The game's code raised in a hook, named by the argument; the cause is chained."""


class CommandRefused(Exception):
    """Raise it in `on_command` or `on_join`: the player gets an answer that says no, with these words."""

    @property
    def reason(self) -> str:
        """The words for the player; never raises, whatever a game's subclass does."""
        words = self.args[0] if self.args and type(self.args[0]) is str else "the room refuses"
        return words[:REASON_CHARACTERS_MAX]


@contextmanager
def contain(hook: str, room: RoomIdentity, counters: RoomCounters, *, may_refuse: bool = False) -> Iterator[None]:
    """Run a game's code.

    Raises:
        RoomCodeRaised: the code raised anything at all.
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
