"""A batch of writes: the frames of one tick for many connections, sent by one call of the native kernel.

A transport of asyncio or uvloop takes some 2 µs a write for its own work. A connection without TLS whose transport
holds no bytes does not need it: the frame goes to the socket directly. Bytes that the socket does not accept go to
the transport, which then behaves as if it had been called first. A transport that holds bytes is always written to,
so the order is kept. Without the native kernel all frames go to the transports.
"""

from __future__ import annotations

from collections.abc import Iterable

from tickwire.schemas import kernel
from tickwire.server.rooms.subscriber import SeatConnection


def write_batch(writes: Iterable[tuple[SeatConnection, bytes]]) -> None:
    """Write complete frames to many connections, to each at most once."""
    direct: list[tuple[int, bytes, SeatConnection]] = []
    is_native = kernel.is_native
    for connection, frames in writes:
        if is_native and (descriptor := connection.descriptor) >= 0 and not connection.unsent_bytes():
            direct.append((descriptor, frames, connection))
        else:
            connection.write(frames)
    if direct:
        for place, taken in kernel.send(direct):
            _, frames, connection = direct[place]
            connection.write(frames[taken:])
