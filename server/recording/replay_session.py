"""The parts of a shard that a replayed room reaches: sessions without connections, tasks that do not run. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tickwire.schemas.codec import decode_server
from tickwire.schemas.errors import WireError
from tickwire.schemas.framing import frame_payloads
from tickwire.schemas.messages import Event, Message, Redirect
from tickwire.schemas.payloads import decode_payload
from tickwire.server.rooms.checkpoint import SessionCheckpoint
from tickwire.server.rooms.containment import RoomIdentity
from tickwire.server.rooms.move_request import MoveRequest
from tickwire.server.rooms.outbox import Outbox
from tickwire.server.rooms.room_tasks import RoomTask, TaskResult
from tickwire.server.rooms.seat import Seat
from tickwire.server.rooms.subscriber import SeatConnection

SEAT_LOST = "seat lost"
"""The name of the notice that a player has lost its seat."""


class ReplayedEvent(NamedTuple):
    """An event that a replayed room has sent.

    Args:
        player_id: the receiver.
        name: the name of the event; SEAT_LOST for the end of a seat.
        payload: the decoded payload; of the end of a seat, the reason.
    """

    player_id: str
    name: str
    payload: Any


class ReplaySession:
    """A session of a replayed room: it has no connection and keeps the events until they are taken.

    Args:
        checkpoint: the identity of the session.
    """

    def __init__(self, checkpoint: SessionCheckpoint) -> None:
        self.connection: SeatConnection | None = None
        self.outbox = Outbox()
        self.address = ""
        self.session_id = checkpoint.session_id
        self.player_id = checkpoint.player_id
        self.is_guest = checkpoint.is_guest
        self.schema_version = checkpoint.schema_version
        self._checkpoint = checkpoint
        self._notices: list[ReplayedEvent] = []

    def take_events(self) -> list[ReplayedEvent]:
        """Return the events since the last call."""
        notices, self._notices = self._notices, []
        if not self.outbox.unsent:
            return notices
        events = []
        for frame in frame_payloads(self.outbox.dequeue()):
            message = decode_server(frame)
            if isinstance(message, Event):
                events.append(ReplayedEvent(self.player_id, message.name, _decode(message.payload)))
        return events + notices

    def send_message(self, message: Message) -> None:
        """Do nothing: the replay shows the state of the room itself."""

    def slow_consumer(self, reason: str) -> None:
        """Do nothing: the session has no connection."""

    def seat_lost(self, reason: str) -> None:
        """Keep the reason as an event."""
        self._notices.append(ReplayedEvent(self.player_id, SEAT_LOST, reason))

    def seat_moved(self, reason: str, redirect: Redirect | None = None) -> None:
        """Keep the reason as an event."""
        self._notices.append(ReplayedEvent(self.player_id, SEAT_LOST, reason))

    def start_move(self, request: MoveRequest) -> Callable[[], object] | None:
        """Start nothing: the outcome of the move is in the recording."""
        return lambda: None

    def seat_restored(self, seat: Seat) -> None:
        """Do nothing: the replay finds the seats in the room."""

    def to_checkpoint(self) -> SessionCheckpoint:
        """Return the identity of the session."""
        return self._checkpoint


class ReplayTasks:
    """Runs no coroutine: the results are in the recording. Implements `TaskStarter`."""

    def start(
        self, room: RoomIdentity, task: RoomTask, on_ended: Callable[[RoomTask, TaskResult], bool], /
    ) -> Callable[[], object]:
        """See `TaskStarter.start`."""
        task.coroutine.close()
        return lambda: None

    def record_cancelled(self, count: int, /) -> None:
        """Do nothing."""


def _decode(payload: bytes) -> Any:
    try:
        return decode_payload(payload) if payload else None
    except WireError:
        return payload
