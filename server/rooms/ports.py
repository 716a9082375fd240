"""Ports through which rooms reach sessions and recorders, so that rooms import neither sockets nor stores.

The ports of a single seat, `Subscriber` and `SeatConnection`, are in server/rooms/subscriber.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from tickwire.schemas.messages import Command, Input
from tickwire.server.rooms.checkpoint import SessionCheckpoint
from tickwire.server.rooms.room_tasks import TaskResult
from tickwire.server.rooms.room_transactions import PendingTransaction
from tickwire.server.rooms.seat import Seat, SeatRequest
from tickwire.server.rooms.subscriber import Subscriber
from tickwire.server.rooms.transactions import RecordVersion, Transaction


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


class EntryRecorder(Protocol):
    """Records what enters a room, so that the room can be replayed. `tickwire.server.recording` has one.

    Each method is called before the room handles the entry. None of them raises an exception.
    """

    def record_join(self, seat: Seat, request: SeatRequest, /) -> None:
        """Record that a player takes a seat; `on_join` may still refuse it."""
        ...

    def record_leave(self, seat: Seat, reason: str, /) -> None:
        """Record that a player leaves, other than by the room's own decision."""
        ...

    def record_disconnect(self, seat: Seat, /) -> None:
        """Record that a player has lost its connection."""
        ...

    def record_resume(self, seat: Seat, /, *, keeps_world: bool) -> None:
        """Record that a player has reconnected."""
        ...

    def record_move(self, seat: Seat, refused: str, /) -> None:
        """Record the outcome of a player's move to another room."""
        ...

    def record_command(self, seat: Seat, message: Command, /) -> None:
        """Record a command that is within its limits."""
        ...

    def record_records(self, seat: Seat | None, records: Mapping[str, RecordVersion], /) -> None:
        """Record newer versions of players' records."""
        ...

    def record_commit(
        self, seat: Seat, name: str, transaction: Transaction, records: Mapping[str, RecordVersion], /
    ) -> None:
        """Record that the transaction of a command is committed."""
        ...

    def record_settlement(
        self, pending: PendingTransaction, refused: str, records: Mapping[str, RecordVersion], /
    ) -> None:
        """Record the outcome of a transaction that the room has started."""
        ...

    def record_task(self, index: int, result: TaskResult, /) -> None:
        """Record the end of a task: its place among the running tasks, and its result."""
        ...

    def record_tuning(self) -> None:
        """Record the room's new tuning values."""
        ...

    def record_call(self, method: str, argument: str = "", /) -> None:
        """Record that the server calls a method of the running room that may run hooks."""
        ...

    def record_input(self, seat: Seat, message: Input, /) -> None:
        """Record an input that the tick delivers now; the player's lag is known."""
        ...

    def record_failure(self, hook: str, error: BaseException, /, *, is_ignored: bool) -> None:
        """Record an exception of a hook in a tick."""
        ...

    def record_tick(self) -> None:
        """Record the end of a tick that has succeeded."""
        ...

    def stop(self, reason: str, /) -> None:
        """End the recording, because the room ends, moves or restarts; detaches the recorder from the room."""
        ...
