"""A session without sockets, which records what a room sends to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from tickwire.client.core import ClientCore
from tickwire.client.updates import EventReceived
from tickwire.schemas import SCHEMA_VERSION
from tickwire.schemas.codec import encode_server
from tickwire.schemas.framing import frame_payloads
from tickwire.schemas.messages import Message, Redirect
from tickwire.server.rooms.checkpoint import SessionCheckpoint
from tickwire.server.rooms.move_request import MoveRequest
from tickwire.server.rooms.outbox import Outbox
from tickwire.server.rooms.seat import Seat


class RecordingSubscriber:
    """A subscriber and its connection in one: decodes all that it receives with a client core, and records it."""

    def __init__(self, player_id: str) -> None:
        self.session_id = self.player_id = player_id
        self.is_guest = self.is_congested = False
        self.descriptor = -1
        self.connection: RecordingSubscriber | None = self
        self.outbox = Outbox()
        self.core = ClientCore()
        self.writes = 0
        self.bytes_written = 0
        self.notices: list[str] = []
        self.events: list[tuple[str, Any]] = []
        self.schema_version = SCHEMA_VERSION
        self.restored: Seat | None = None
        self.moves: list[MoveRequest] = []

    def write(self, frames: bytes) -> None:
        self.writes += 1
        self.bytes_written += len(frames)
        for data in frame_payloads(frames):
            update = self.core.receive(data, now_us=0)
            if isinstance(update, EventReceived):
                event = update.event
                payload = msgspec.msgpack.decode(event.payload) if event.payload else None
                self.events.append((event.name, payload))

    def send_message(self, message: Message) -> None:
        self.core.receive(encode_server(message), now_us=0)

    def slow_consumer(self, reason: str) -> None:
        self.notices.append("slow")

    def seat_lost(self, reason: str) -> None:
        self.notices.append(reason)

    def seat_moved(self, reason: str, redirect: Redirect | None = None) -> None:
        self.notices.append(f"moved: {reason}")

    def start_move(self, request: MoveRequest) -> Callable[[], object]:
        self.moves.append(request)
        return lambda: self.notices.append("move cancelled")

    def seat_restored(self, seat: Seat) -> None:
        self.restored = seat

    def to_checkpoint(self) -> SessionCheckpoint:
        return SessionCheckpoint(self.session_id, self.player_id, False, self.schema_version)
