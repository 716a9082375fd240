"""A TCP connection on which a test writes arbitrary bytes, for tests of floods and of slow readers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.harness.polling import eventually
from tickwire.schemas import SCHEMA_VERSION, SUBPROTOCOL
from tickwire.schemas.codec import decode_server, encode_client
from tickwire.schemas.framing import frame_payloads
from tickwire.schemas.messages import Hello, ServerMessage, Welcome
from tickwire.server.shard import Shard

REQUEST = (
    f"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
).encode()
HELLO = encode_client(Hello(SCHEMA_VERSION, "test"))
STRANGER = "127.0.0.2"
"""Another address of this machine: its limits are not those of the tests' other players."""


def frame(payload: bytes = b"", first: int = 0x82) -> bytes:
    """Return a client's frame with a mask of zeros."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([first]) + length + bytes(4) + payload


class RawPeer:
    """A TCP connection to a shard, on which the test writes arbitrary bytes.

    Attributes:
        messages: the messages of the server, while reading is not paused.
        close_code: of the server's close frame; None before.
        is_lost: whether the connection has ended.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.messages: list[ServerMessage] = []
        self.close_code: int | None = None
        self.is_lost = False
        self._reader, self.writer = reader, writer
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            assert (await self._reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
            while True:
                head = await self._reader.readexactly(2)
                extended = {126: 2, 127: 8}.get(head[1], 0)
                length = await self._reader.readexactly(extended)
                size = int.from_bytes(length, "big") if extended else head[1]
                payload = await self._reader.readexactly(size)
                if head[0] == 0x82:
                    (data,) = frame_payloads(head + length + payload)
                    self.messages.append(decode_server(data))
                elif head[0] == 0x88:
                    self.close_code = int.from_bytes(payload[:2], "big")
        except (asyncio.IncompleteReadError, ConnectionError):
            self.is_lost = True

    def of(self, kind: type[ServerMessage]) -> list[Any]:
        """Return the messages of a kind."""
        return [message for message in self.messages if isinstance(message, kind)]

    async def close(self) -> None:
        """Drop the connection."""
        self._reading.cancel()
        await asyncio.wait([self._reading])
        self.writer.transport.abort()


@asynccontextmanager
async def raw_peer(shard: Shard, *, first: bytes = frame(HELLO), address: str = STRANGER) -> AsyncIterator[RawPeer]:
    """Connect, and send the handshake with these bytes behind it."""
    port = shard.parts.edge.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0), limit=1 << 24)
    peer = RawPeer(reader, writer)
    writer.write(REQUEST + first)
    try:
        if first:
            await eventually(lambda: bool(peer.of(Welcome)))
        yield peer
    finally:
        await peer.close()
