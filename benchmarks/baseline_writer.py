"""The lower bound of `fanout`: a bare asyncio protocol on uvloop that writes prebuilt frames and discards inputs.

python -m benchmarks.baseline_writer PORT BYTES ROOMS TICK_RATE
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

_ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: none\r\n\r\n"
)


class BaselineConnection(asyncio.Protocol):
    """One connection: answers the handshake, and ignores later data."""

    def __init__(self, rooms: list[list[asyncio.Transport]]) -> None:
        self._rooms = rooms
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"GET") and self._transport is not None:
            self._transport.write(_ACCEPTED)
            min(self._rooms, key=len).append(self._transport)


async def serve(port: int, size: int, rooms: int, tick_rate_hz: float) -> None:
    """Serve until the process ends."""
    loop = asyncio.get_running_loop()
    members: list[list[asyncio.Transport]] = [[] for _ in range(rooms)]
    await loop.create_server(lambda: BaselineConnection(members), "127.0.0.1", port)
    frame = b"\x82\x7e" + (size - 4).to_bytes(2, "big") + bytes(size - 4) if size > 129 else b"\x82" + bytes(size - 1)
    interval = 1 / tick_rate_hz

    def tick(room: int, due: float) -> None:
        for transport in members[room]:
            transport.write(frame)
        loop.call_at(due + interval, tick, room, due + interval)

    now = loop.time()
    for room in range(rooms):
        due = now + interval * room / rooms
        loop.call_at(due, tick, room, due)
    await asyncio.Event().wait()


if __name__ == "__main__":
    port, size, rooms, rate = sys.argv[1:]
    uvloop.run(serve(int(port), int(size), int(rooms), float(rate)))
