"""Lightweight clients, each of which checks that it receives every tick.

They are plain asyncio protocols, so that hundreds of them fit in a test process.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec

from tests.harness.polling import eventually
from tickwire.schemas import SCHEMA_VERSION, SUBPROTOCOL
from tickwire.schemas.codec import decode_server, encode_client
from tickwire.schemas.framing import FIN_BINARY, header_bytes, payload_bytes
from tickwire.schemas.messages import Hello, Join, Joined, StateFrame

PING, PONG, MASKED = 0x89, 0x8A, 0x80
_REQUEST = (
    f"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
).encode()


BATCH = 20
"""The number of watchers that are seated at the same time."""


def masked(payload: bytes) -> bytes:
    """Return a client frame with a mask of zeros; the payload must be shorter than 126 bytes."""
    return bytes((0x82, 0x80 | len(payload), 0, 0, 0, 0)) + payload


class Watcher(asyncio.Protocol):
    """One connection in a room.

    Attributes:
        ticks: the number of state frames received.
        gaps: the number of state frames that were not relative to the previous tick.
    """

    def __init__(self, first: bytes) -> None:
        self.ticks = self.gaps = 0
        self.is_seated = self.is_lost = False
        self._first = first
        self._data = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(_REQUEST)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self._first:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            assert self._transport is not None
            self._transport.write(self._first)
            self._first, self._data = b"", self._data[end + 4 :]
        while (end := _frame_end(self._data)) and len(self._data) >= end:
            start = header_bytes(self._data)
            if self._data[0] == PING:
                self._send(bytes((PONG, MASKED | end - start, 0, 0, 0, 0)) + self._data[start:end])
            elif self._data[0] == FIN_BINARY:
                self._hear(decode_server(self._data[start:end]))
            self._data = self._data[end:]

    def _send(self, frame: bytes) -> None:
        if self._transport is not None:
            self._transport.write(frame)

    def _hear(self, message: Any) -> None:
        if isinstance(message, StateFrame):
            self.gaps += self.ticks > 0 and message.age != 1
            self.ticks += 1
        elif isinstance(message, Joined):
            self.is_seated = True

    def abort(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()


def _frame_end(data: bytes) -> int:
    if len(data) < 2 or len(data) < header_bytes(data):
        return 0
    return header_bytes(data) + payload_bytes(data)


@asynccontextmanager
async def crowd(port: int, count: int, room_type: str = "pulse", **options: Any) -> AsyncIterator[list[Watcher]]:
    """Run seated watchers, and check at the end that each of them received every tick."""
    loop = asyncio.get_running_loop()
    join = encode_client(Join(room_type, "crowd", options=msgspec.msgpack.encode(options) if options else b""))
    first = masked(encode_client(Hello(SCHEMA_VERSION, "watcher"))) + masked(join)
    watchers: list[Watcher] = []
    try:
        for number in range(1, count + 1):
            watchers.append((await loop.create_connection(lambda: Watcher(first), "127.0.0.1", port))[1])
            if number % BATCH == 0 or number == count:  # so that no handshake waits for all others
                await eventually(lambda: all(each.is_seated or each.is_lost for each in watchers), 20)
                assert not any(watcher.is_lost for watcher in watchers)
        yield watchers
        before = [watcher.ticks for watcher in watchers]
        assert not any(watcher.is_lost for watcher in watchers)
        await eventually(lambda: all(w.ticks > b + 2 for w, b in zip(watchers, before, strict=True)))
        assert not any(watcher.is_lost for watcher in watchers)
        assert [watcher.gaps for watcher in watchers] == [0] * count, "a watcher missed a tick"
    finally:
        for watcher in watchers:
            watcher.abort()
