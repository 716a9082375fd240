"""A WebSocket with messages and no client behind it, for tests that send single messages or invalid bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tickwire.schemas import SCHEMA_VERSION, SUBPROTOCOL
from tickwire.schemas.codec import decode_server, encode_client
from tickwire.schemas.messages import Hello, Message, ServerMessage

TIMEOUT_S = 20


class RawClient:
    """One connection.

    Args:
        socket: the open WebSocket.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def say(self, *messages: Message) -> None:
        """Send messages."""
        for message in messages:
            await self.socket.send(encode_client(message))

    async def send(self, data: bytes | str | Iterable[bytes]) -> None:
        """Send bytes, a text frame, or the fragments of a message."""
        await self.socket.send(data)

    async def next(self, kind: type[Any]) -> Any:
        """Receive until a message of this kind, and return it."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                message = await self.any()
                if isinstance(message, kind):
                    return message

    async def any(self) -> ServerMessage:
        """Receive one message."""
        data = await self.socket.recv()
        assert isinstance(data, bytes)
        return decode_server(data)

    async def close_code(self, timeout_s: float = TIMEOUT_S) -> int | None:
        """Receive until the connection is closed, and return its close code."""
        async with asyncio.timeout(timeout_s):
            try:
                while True:
                    await self.socket.recv()
            except ConnectionClosed:
                return self.socket.close_code

    def cut(self) -> None:
        """End the connection without a close."""
        self.socket.transport.abort()


@asynccontextmanager
async def raw_client(url: str, *messages: Message) -> AsyncIterator[RawClient]:
    """Connect, and send these messages."""
    protocols = [Subprotocol(SUBPROTOCOL)]
    async with open_websocket(url, subprotocols=protocols, compression=None, close_timeout=1) as socket:
        client = RawClient(socket)
        await client.say(*messages)
        yield client


def hello(**changes: Any) -> Hello:
    """Return a Hello of the current schema version."""
    return Hello(SCHEMA_VERSION, "test", **changes)
