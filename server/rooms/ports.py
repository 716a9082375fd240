"""Ports through which rooms reach the sessions of a shard, so that rooms import neither sockets nor stores.

The ports of a single seat, `Subscriber` and `SeatConnection`, are in server/rooms/subscriber.py.
"""

from __future__ import annotations

from typing import Protocol

from tickwire.server.rooms.checkpoint import SessionCheckpoint
from tickwire.server.rooms.seat import Seat
from tickwire.server.rooms.subscriber import Subscriber


class RestoredSubscriber(Subscriber, Protocol):
    """A session that is restored together with its room."""

    def seat_restored(self, seat: Seat) -> None:
        """Attach the seat of a restored room to the session, which is disconnected."""
        ...


class SessionSource(Protocol):
    """Restores the sessions of a room that another shard had, or that an earlier run of this shard had."""

    def restore(self, checkpoint: SessionCheckpoint, /) -> RestoredSubscriber | None:
        """Restore a session, disconnected. No client can resume it before `settle`.

        Returns:
            None if this shard has a newer copy of the session.
        """
        ...


class SessionRestorer(SessionSource, Protocol):
    """Restores sessions and activates them."""

    def settle(self, subscriber: Subscriber, /) -> None:
        """Activate a restored session, and apply the policy for several sessions of one player.

        Call it once this shard owns the session's room, or once the room could not be restored and has no owner.
        """
        ...

    def drop(self, session_id: str, room_id: str, /) -> None:
        """End a restored session whose player has left this room on the shard where it was."""
        ...
