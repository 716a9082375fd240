"""Raw clients for benchmarks, with minimal work per connection, so that the load is not the limit.

They implement the minimum of the protocol: the handshake, Hello, Join and inputs. Received bytes are decoded up to
the first state, and counted after it. Frames are masked with a key of zeros, which costs the server as much as any
other key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from ssl import SSLContext
from typing import cast

from tickwire.schemas import SCHEMA_VERSION, SUBPROTOCOL
from tickwire.schemas.codec import decode_server, encode_client, encode_input
from tickwire.schemas.framing import header_bytes, payload_bytes
from tickwire.schemas.messages import Error, Hello, Join, StateFrame

CONNECT_AT_ONCE = 50
STATE_S_MAX = 60.0
REQUEST = (
    f"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
).encode()


def masked(payload: bytes) -> bytes:
    """Encode a client's binary frame with a mask of zeros."""
    size = len(payload)
    if size < 126:
        return bytes((0x82, 0x80 | size, 0, 0, 0, 0)) + payload
    return b"\x82\xfe" + size.to_bytes(2, "big") + b"\0\0\0\0" + payload


PONG = b"\x8a\x80\0\0\0\0"
PONG_S = 2.0


class LoadClient(asyncio.Protocol):
    """One connection that counts the received bytes.

    It sends a pong every two seconds (RFC 6455, 5.5.3, allows unsolicited ones): a shard closes silent connections.

    Args:
        first: sent as soon as the handshake is answered; empty: nothing is sent, and no state is expected.
        is_recorded: whether all received bytes are kept.

    Attributes:
        is_open: completes with the answer to the handshake.
        has_state: completes with the first state.
        recorded: all received bytes; None if they are not kept.
    """

    def __init__(self, first: bytes, *, is_recorded: bool = False) -> None:
        loop = asyncio.get_running_loop()
        self._time = loop.time
        self._pong_due_s = 0.0
        self.bytes_received = 0
        self.reads = 0
        self.is_open = loop.create_future()
        self.has_state = loop.create_future()
        self.transport: asyncio.Transport | None = None
        self.recorded: list[bytes] | None = [] if is_recorded else None
        self._first = first
        self._unread = b""
        self._finds_state = bool(first)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        self.bytes_received += len(data)
        self.reads += 1
        if self.recorded is not None:
            self.recorded.append(data)
        now_s = self._time()
        if not self.is_open.done():
            assert self.transport is not None
            self.transport.write(self._first)
            self.is_open.set_result(None)
            self._pong_due_s = now_s + PONG_S
        elif now_s >= self._pong_due_s and self.transport is not None:
            self.transport.write(PONG)
            self._pong_due_s = now_s + PONG_S
        if self._finds_state:
            try:
                self._find_state(data)
            except Exception as error:  # fails the benchmark: a protocol's exceptions end in the loop's log
                self._finds_state = False
                self.has_state.set_exception(error)

    def _find_state(self, data: bytes) -> None:
        self._unread += data
        head, found, frames = self._unread.partition(b"\r\n\r\n")
        if not found:
            return
        payloads, rest = cut_frames(frames)
        self._unread = head + found + rest
        for message in map(decode_server, payloads):
            if isinstance(message, StateFrame):
                self._finds_state, self._unread = False, b""
                self.has_state.set_result(None)
                return
            if isinstance(message, Error):
                raise RuntimeError(f"a join was refused: {message}")

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self.is_open, self.has_state):
            if not future.done():
                future.set_exception(exc or ConnectionResetError("refused"))
                future.exception()  # a benchmark that waits for the other future does not read this one


def cut_frames(data: bytes) -> tuple[list[bytes], bytes]:
    """Return the payloads of complete unmasked frames, without empty ones, and the remaining bytes."""
    payloads = []
    while len(data) >= 2:
        start, size = header_bytes(data), payload_bytes(data)
        if len(data) < start + size:
            break
        if size:
            payloads.append(data[start : start + size])
        data = data[start + size :]
    return payloads, data


async def open_clients(
    port: int, count: int, *, room_type: str = "", tls: SSLContext | None = None, record_every: int = 0
) -> list[LoadClient]:
    """Connect `count` clients; with a room type they also send Hello and Join, and wait for their first state.

    Args:
        port: the server's port.
        count: the number of clients.
        room_type: the room type that they join; empty: they only connect.
        tls: the context of a server with TLS.
        record_every: records one in this number of clients; 0: none.
    """
    loop = asyncio.get_running_loop()
    first = b""
    if room_type:
        first = masked(encode_client(Hello(SCHEMA_VERSION, "load"))) + masked(encode_client(Join(room_type)))
    clients: list[LoadClient] = []
    for start in range(0, count, CONNECT_AT_ONCE):
        batch = [
            LoadClient(first, is_recorded=record_every > 0 and number % record_every == 0)
            for number in range(start, min(start + CONNECT_AT_ONCE, count))
        ]
        # At once, because a client with TLS waits for the server twice before the connection is made.
        connecting = [loop.create_connection(partial(_same, client), "127.0.0.1", port, ssl=tls) for client in batch]
        await asyncio.gather(*connecting)
        await asyncio.wait_for(asyncio.gather(*(client.is_open for client in batch)), 20)
        clients += batch
    if room_type:
        await asyncio.wait_for(asyncio.gather(*(client.has_state for client in clients)), STATE_S_MAX)
    return clients


def _same(client: LoadClient) -> LoadClient:
    return client


def close_clients(clients: list[LoadClient]) -> None:
    """Drop all connections."""
    for client in clients:
        if client.transport is not None:
            client.transport.abort()


async def send_inputs(
    clients: list[LoadClient], *, rate_hz: float, payload: bytes, first_seq: int, seconds: float
) -> list[float]:
    """Send every client's inputs, evenly spread.

    Returns:
        The lateness of each batch, in seconds.
    """

    def frame(number: int) -> bytes:
        return masked(encode_input(first_seq + number, 1, payload))

    return await send_frames(clients, frame, rate_hz=rate_hz, seconds=seconds)


async def send_frames(
    clients: list[LoadClient], frame: Callable[[int], bytes], *, rate_hz: float, seconds: float
) -> list[float]:
    """Send frames from every client, evenly spread. `frame` returns the nth frame.

    Returns:
        The lateness of each batch, in seconds.
    """
    loop = asyncio.get_running_loop()
    batches = 20
    groups = [clients[index::batches] for index in range(batches)]
    interval = 1 / rate_hz / batches
    lateness: list[float] = []
    started = loop.time()
    for number in range(int(seconds / interval)):
        due = started + number * interval
        await asyncio.sleep(max(0.0, due - loop.time()))
        lateness.append(loop.time() - due)
        data = frame(number // batches)
        for client in groups[number % batches]:
            if client.transport is not None:
                client.transport.write(data)
    return lateness
