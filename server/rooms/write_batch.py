"""A batch of writes: the frames of one tick for many connections, sent by one call of the native kernel.

A transport of asyncio or uvloop takes some 2 µs a write for its own work. A connection without TLS whose transport
holds no bytes does not need it: the frame goes to the socket directly. Whatever the socket does not take goes to the
transport, which then behaves as if it had been called first. A transport that holds bytes is always written to, so
the order is kept. Without the native kernel all frames go to the transports.
"""

from __future__ import annotations

from tickwire.schemas import kernel
from tickwire.server.rooms.subscriber import SeatConnection


class WriteBatch:
    """Collects writes until `flush`. Every connection is written to at most once."""

    __slots__ = ("_writes",)

    def __init__(self) -> None:
        self._writes: list[tuple[int, bytes, SeatConnection]] = []

    def write(self, connection: SeatConnection, frames: bytes) -> None:
        """Write complete frames: now to the transport, or in `flush` to the socket."""
        if (descriptor := connection.descriptor) >= 0 and kernel.is_native and not connection.unsent_bytes():
            self._writes.append((descriptor, frames, connection))
        else:
            connection.write(frames)

    def flush(self) -> None:
        """Send all collected frames. The caller must not return to the event loop between `write` and `flush`."""
        if not self._writes:
            return
        writes, self._writes = self._writes, []
        for place, taken in kernel.send(writes):
            _, frames, connection = writes[place]
            connection.write(frames[taken:])
