"""The session of a saved seat that no client can resume: the seat is restored with it and then given up.

A room is restored with all of its players. A player whose session is on another shard, or has ended, then leaves the
room through `on_leave` as any other player does, so that its entities do not stay in the world.
"""

from __future__ import annotations

from collections.abc import Callable

from tickwire.schemas.messages import Message, Redirect
from tickwire.server.rooms.checkpoint import SessionCheckpoint
from tickwire.server.rooms.move_request import MoveRequest
from tickwire.server.rooms.outbox import Outbox
from tickwire.server.rooms.seat import Seat
from tickwire.server.rooms.subscriber import SeatConnection


class AbsentSession:
    """A `Subscriber` in place of a session that cannot be restored. It sends nothing.

    Args:
        checkpoint: the session as it was saved.
    """

    def __init__(self, checkpoint: SessionCheckpoint) -> None:
        self.connection: SeatConnection | None = None
        self.outbox = Outbox()
        self.address = ""
        self._checkpoint = checkpoint

    @property
    def session_id(self) -> str:
        """Return the id that the session had."""
        return self._checkpoint.session_id

    @property
    def player_id(self) -> str:
        """Return the player of the session."""
        return self._checkpoint.player_id

    @property
    def is_guest(self) -> bool:
        """Return whether the player was a guest."""
        return self._checkpoint.is_guest

    @property
    def schema_version(self) -> int:
        """Return the schema version of the session's last client."""
        return self._checkpoint.schema_version

    def send_message(self, message: Message) -> None:
        """Do nothing: the session has no client."""

    def slow_consumer(self, reason: str) -> None:
        """Do nothing: the session has no client."""

    def seat_lost(self, reason: str) -> None:
        """Do nothing: the session has no client."""

    def seat_moved(self, reason: str, redirect: Redirect | None = None) -> None:
        """Do nothing: the session has no client."""

    def start_move(self, request: MoveRequest) -> Callable[[], object] | None:
        """Return None: the player is not moved."""
        return None

    def seat_restored(self, seat: Seat) -> None:
        """Do nothing: the seat is given up when the room is restored."""

    def to_checkpoint(self) -> SessionCheckpoint:
        """Return the session as it was saved."""
        return self._checkpoint
