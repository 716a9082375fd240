"""The servers that `edge` compares. Each writes frames to its connections on a signal, and counts received messages.

python -m benchmarks.edge_servers SUBJECT PORT FRAME_BYTES COUNT_FILE [CERTIFICATE KEY]

SIGUSR1 switches writing on and off; SIGUSR2 writes the count of received messages to COUNT_FILE. Frames are written
as by a shard: the connections are split into GROUPS, which are written at different times of the tick interval.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import importlib
import re
import signal
import ssl
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast
from websockets.asyncio.server import serve as serve_websockets
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from tickwire.schemas import SUBPROTOCOL
from tickwire.schemas.framing import binary_frame
from tickwire.server.edge.acceptor import Acceptor
from tickwire.server.edge.addresses import Addresses
from tickwire.server.edge.connection import Connection
from tickwire.server.edge.counters import EdgeCounters
from tickwire.server.edge.rate_limit import LimitScope, RateLimiter
from tickwire.server.edge.receiver import HandshakeRejection, Receiver
from tickwire.server.edge.settings import EdgeSettings

GROUPS = 20
TICK_RATE_HZ = 20.0


class Subject:
    """The base of all servers: members in groups, and a count."""

    def __init__(self) -> None:
        self.groups: list[list[Any]] = [[] for _ in range(GROUPS)]
        self.received = 0

    def add(self, member: Any) -> None:
        """Add an open connection."""
        min(self.groups, key=len).append(member)

    async def serve(self, port: int, tls: ssl.SSLContext | None) -> object:
        """Start to listen. The caller keeps the returned object alive."""
        raise NotImplementedError

    def write(self, members: list[Any], frame: bytes) -> None:
        """Write one frame to each member."""
        raise NotImplementedError


class BareServer(Subject):
    """A bare asyncio protocol: answers the handshake, writes prebuilt frames, counts reads and discards them."""

    async def serve(self, port: int, tls: ssl.SSLContext | None) -> object:
        return await asyncio.get_running_loop().create_server(
            lambda: BareServerProtocol(self), "127.0.0.1", port, ssl=tls
        )

    def write(self, members: list[Any], frame: bytes) -> None:
        for transport in members:
            transport.write(frame)


class BareServerProtocol(asyncio.Protocol):
    """One connection of `BareServer`."""

    def __init__(self, subject: BareServer) -> None:
        self._subject = subject
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if not data.startswith(b"GET"):
            self._subject.received += 1
            return
        key = re.findall(rb"Sec-WebSocket-Key: (\S+)", data)[0]
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        assert self._transport is not None
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        self._subject.add(self._transport)


class Tickwire(Subject):
    """The edge's acceptor and connections, with a receiver that counts."""

    async def serve(self, port: int, tls: ssl.SSLContext | None) -> object:
        unlimited = 10_000_000
        self._settings = EdgeSettings(
            handshakes_per_second_max=10_000.0,
            messages_per_second_max=unlimited,
            messages_per_second_per_address_max=unlimited,
        )
        self._counters, self._addresses = EdgeCounters(), Addresses(self._settings)
        self._tasks: set[asyncio.Task[None]] = set()
        acceptor = Acceptor(self._settings, self._counters, self)
        acceptor.open("127.0.0.1", port, tls)
        return acceptor

    def may_connect(self, peer: str) -> bool:
        return True

    def create_connection(self, peer: str, accepted_s: float) -> Connection:
        now_s = time.monotonic()
        return Connection(
            self._settings,
            limiter=RateLimiter(self._settings, self._addresses.get(peer, now_s).messages, now_s),
            counters=self._counters,
            owner=self,
            accepted_s=accepted_s,
        )

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def write(self, members: list[Any], frame: bytes) -> None:
        for connection in members:
            connection.write(frame)

    def now_s(self) -> float:
        return time.monotonic()

    def throttle(self, connection: Connection, scope: LimitScope) -> None:
        raise AssertionError("nothing is limited here")

    def unthrottle(self, connection: Connection) -> None: ...

    def expects_proxy_header(self, address: str) -> bool:
        return False

    def check_handshake(self, connection: Connection, request: Request) -> HandshakeRejection | None:
        return None

    def find_page(self, request: Request) -> Response | None:
        return None

    def create_receiver(self, connection: Connection, request: Request) -> Receiver[Connection]:
        self.add(connection)
        return Counting(self)

    def connection_closed(self, connection: Connection) -> None: ...


class Counting(Receiver[Connection]):
    """Counts messages."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    def message_received(self, data: bytes, /) -> None:
        self._subject.received += 1

    def text_received(self) -> None: ...
    def check_timeouts(self, now_s: float) -> None: ...
    def connection_ended(self, connection: Connection) -> None: ...


class Websockets(Subject):
    """websockets' own asyncio server: its receive loop, and its broadcast."""

    async def serve(self, port: int, tls: ssl.SSLContext | None) -> object:
        async def handle(connection: ServerConnection) -> None:
            self.add(connection)
            async for _ in connection:
                self.received += 1

        return await serve_websockets(
            handle,
            "127.0.0.1",
            port,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            ping_interval=None,
            ssl=tls,
        )

    def write(self, members: list[Any], frame: bytes) -> None:
        broadcast(members, frame[2:])


class Picows(Subject):
    """picows, a WebSocket library in Cython."""

    async def serve(self, port: int, tls: ssl.SSLContext | None) -> object:
        picows: Any = importlib.import_module("picows")  # not among our dependencies

        def connected(_: Any, transport: Any) -> None:
            self.add(transport)

        def frame(_: Any, transport: Any, frame: Any) -> None:
            self.received += 1

        listener = type("Listener", (picows.WSListener,), {"on_ws_connected": connected, "on_ws_frame": frame})
        self._binary = picows.WSMsgType.BINARY
        return await picows.ws_create_server(lambda request: listener(), "127.0.0.1", port, ssl=tls)

    def write(self, members: list[Any], frame: bytes) -> None:
        payload = frame[2:]
        for transport in members:
            transport.send(self._binary, payload)


SUBJECTS: dict[str, Callable[[], Subject]] = {
    "bare writer": BareServer,
    "tickwire": Tickwire,
    "websockets": Websockets,
    "picows": Picows,
}


async def serve(subject: Subject, port: int, frame_bytes: int, count_file: Path, tls: ssl.SSLContext | None) -> None:
    """Serves until it is ended."""
    loop = asyncio.get_running_loop()
    keep = await subject.serve(port, tls)
    frame = binary_frame(bytes(frame_bytes - 2))
    interval = 1 / TICK_RATE_HZ
    is_writing = False

    def switch() -> None:
        nonlocal is_writing
        is_writing = not is_writing

    def tick(group: int, due: float) -> None:
        if is_writing:
            subject.write(subject.groups[group], frame)
        loop.call_at(due + interval, tick, group, due + interval)

    def count() -> None:
        count_file.write_text(str(subject.received))

    loop.add_signal_handler(signal.SIGUSR1, switch)
    loop.add_signal_handler(signal.SIGUSR2, count)
    now = loop.time()
    for group in range(GROUPS):
        due = now + interval * group / GROUPS
        loop.call_at(due, tick, group, due)
    await asyncio.Event().wait()
    del keep


if __name__ == "__main__":
    name, port, frame_bytes, count_file, *files = sys.argv[1:]
    context = None
    if files:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(files[0], files[1])
    uvloop.run(serve(SUBJECTS[name](), int(port), int(frame_bytes), Path(count_file), context))
