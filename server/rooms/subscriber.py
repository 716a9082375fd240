"""The ports through which a room reaches a session: its connection, its events and its messages. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tickwire.schemas.messages import Message, Redirect
from tickwire.server.rooms.checkpoint import SessionCheckpoint
from tickwire.server.rooms.move_request import MoveRequest
from tickwire.server.rooms.outbox import Outbox


class SeatConnection(Protocol):
    """A connection, as the tick sees it. Read once a player and tick, so these are plain attributes."""

    is_congested: bool
    """Whether the transport holds more than its limit; the session is then skipped in this tick."""

    descriptor: int
    """The socket, for direct sends while `unsent_bytes` returns 0; -1 if only `write` may be used."""

    def write(self, frames: bytes, /) -> None:
        """Write complete WebSocket frames immediately, in one write. Does nothing once the connection is closing."""
        ...

    def unsent_bytes(self) -> int:
        """Return the number of bytes that the transport holds. Called only while `descriptor` is valid."""
        ...


class Subscriber(Protocol):
    """A session, as a room sees it. All calls are made on the event loop's thread and never block."""

    @property
    def connection(self) -> SeatConnection | None:
        """The session's connection, or None while it is disconnected."""
        ...

    @property
    def outbox(self) -> Outbox:
        """The session's events. The room pushes events, and dequeues them into a tick's write."""
        ...

    @property
    def session_id(self) -> str:
        """The id of the session; unique and unguessable."""
        ...

    @property
    def player_id(self) -> str:
        """The id of the player, who may be a guest."""
        ...

    @property
    def is_guest(self) -> bool:
        """Whether the player id is valid for this session only."""
        ...

    @property
    def address(self) -> str:
        """The client's address at its last connection; empty before the first connection."""
        ...

    @property
    def schema_version(self) -> int:
        """The schema version that the client uses."""
        ...

    def send_message(self, message: Message) -> None:
        """Write one control message immediately, without waiting for a tick. Does nothing while disconnected."""
        ...

    def slow_consumer(self, reason: str) -> None:
        """Close the connection of a client that reads too slowly, with a close code that lets it reconnect."""
        ...

    def seat_lost(self, reason: str) -> None:
        """Report that the room closed and the seat is gone; the session stays open and may join again."""
        ...

    def seat_moved(self, reason: str, redirect: Redirect | None = None) -> None:
        """Report that the room and the session run on another shard.

        Args:
            reason: the reason for logs and clients.
            redirect: where the client must reconnect; None sends it to its initial address.
        """
        ...

    def start_move(self, request: MoveRequest) -> Callable[[], object] | None:
        """Request a seat in another room for the player; its present seat receives the outcome.

        Returns:
            A function that cancels the move; None if the session has no seat.
        """
        ...

    def to_checkpoint(self) -> SessionCheckpoint:
        """Return the checkpoint from which another shard can restore the session."""
        ...
