"""Collects the exceptions of a room's hooks, so that a test fails with them.

A shard contains such an exception: it logs and counts it, and the room continues or closes. A test must see it.
"""

from __future__ import annotations

from typing import NamedTuple

from tickwire.server.rooms.hook_call import HookCall
from tickwire.server.rooms.recent_errors import ErrorPlace, RecentErrors, RoomError


class RaisedError(NamedTuple):
    """An exception that a hook has raised.

    Args:
        room_type: the type of the room.
        tick: the tick.
        hook: the name of the hook.
        error: the exception.
    """

    room_type: str
    tick: int
    hook: str
    error: BaseException

    def __str__(self) -> str:
        return f"{self.hook} of {self.room_type!r} raised {self.error!r} in tick {self.tick}"


class RaisedErrors(RecentErrors):
    """The newest errors of a shard, which also keeps the exceptions themselves in a list.

    Args:
        raised: receives each exception.
    """

    def __init__(self, raised: list[RaisedError]) -> None:
        super().__init__(lambda: 0.0)
        self._raised = raised

    def add(self, place: ErrorPlace, call: HookCall, error: BaseException) -> RoomError:
        """Add an exception, and return it with its repetitions."""
        self._raised.append(RaisedError(place.room_type, place.tick, call.hook, error))
        return super().add(place, call, error)

    def is_due(self, error: RoomError) -> bool:
        """Return False: the harness raises the exception, so the log need not repeat it."""
        return False
