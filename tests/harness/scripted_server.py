"""A scripted server over a real WebSocket, for tests of the asyncio client."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tickwire.schemas import SUBPROTOCOL, fields
from tickwire.schemas.codec import decode_client, encode_server
from tickwire.schemas.messages import Hello, Join, Joined, Message, Ping, Pong, StateDescription, Welcome

JOINED = Joined("r", entity=1, description=StateDescription(inputs=(fields.real("dx", -1, 1, 0.1).describe(),)))


class Peer:
    """The server's end of one connection. Pings are answered unless it is `deaf`."""

    def __init__(self, socket: ServerConnection, *, deaf: bool) -> None:
        self.socket = socket
        self.pings = 0
        self._deaf = deaf

    async def say(self, *messages: Message | bytes) -> None:
        for message in messages:
            await self.socket.send(message if isinstance(message, bytes) else encode_server(message))

    async def hear(self) -> Any:
        """Return the next message that is not a Ping."""
        while True:
            data = await self.socket.recv()
            assert isinstance(data, bytes)
            message = decode_client(data)
            if not isinstance(message, Ping):
                return message
            self.pings += 1
            if not self._deaf:
                await self.say(Pong(message.client_time_us, 7_000_000, 1))

    async def want(self, kind: type[Message]) -> Any:
        message = await self.hear()
        assert isinstance(message, kind), message
        return message

    async def welcome(self, heartbeat_interval_ms: int = 5000) -> None:
        await self.want(Hello)
        await self.say(Welcome("s", heartbeat_interval_ms=heartbeat_interval_ms))

    async def seat(self) -> None:
        await self.welcome()
        await self.want(Join)
        await self.say(JOINED)


@asynccontextmanager
async def server(
    script: Callable[[Peer], Awaitable[None]], *, deaf: bool = False, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Run a server; each connection runs the script, then receives until the client disconnects."""
    wrong: list[BaseException] = []

    async def handle(socket: ServerConnection) -> None:
        peer = Peer(socket, deaf=deaf)
        with suppress(ConnectionClosed):
            try:
                await script(peer)
                while True:
                    await peer.hear()
            except AssertionError as error:
                wrong.append(error)

    protocols = [Subprotocol(SUBPROTOCOL)]
    async with serve(handle, "127.0.0.1", 0, subprotocols=protocols, ping_interval=None, ssl=tls) as running:
        port = next(iter(running.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}" if tls is None else f"wss://localhost:{port}"
    assert not wrong, wrong[0]
