"""A session whose connection is one end of a socket pair: the native kernel sends to it directly."""

from __future__ import annotations

import socket

from tests.harness.recording_subscriber import RecordingSubscriber
from tickwire.schemas import SCHEMA_VERSION
from tickwire.server.edge.socket_fields import SocketFields


class PairConnection(SocketFields):
    """A connection over one end of a socket pair. Its transport only records what it is written.

    Attributes:
        held: the number of bytes that the transport holds.
        written: what the transport was written.
        stream: all bytes that were written or sent, in order, up to the last call of `drain`.
    """

    def __init__(self) -> None:
        self.socket, self.peer = socket.socketpair()
        self.peer.setblocking(False)
        self.descriptor = self.socket.fileno()
        self.is_congested = self.may_hold_bytes = False
        self.held = 0
        self.written: list[bytes] = []
        self.stream = b""

    def write(self, frames: bytes) -> None:
        self.drain()
        self.may_hold_bytes = True
        self.written.append(frames)
        self.stream += frames

    def unsent_bytes(self) -> int:
        return self.held

    def drain(self) -> bytes:
        """Read what was sent to the socket, and return the stream."""
        while True:
            try:
                received = self.peer.recv(1 << 20)
            except OSError:
                return self.stream
            if not received:
                return self.stream
            self.stream += received

    def close(self) -> None:
        self.socket.close()
        self.peer.close()


class SocketSubscriber(RecordingSubscriber):
    """A session with such a connection. It decodes nothing."""

    def __init__(self, player_id: str, schema_version: int = SCHEMA_VERSION) -> None:
        super().__init__(player_id)
        self.schema_version = schema_version
        self.pair = PairConnection()
        self.connection = self.pair  # type: ignore[assignment]
