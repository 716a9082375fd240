"""The ports of a connection: its owner, which created it, and its receiver, which handles the client's messages.

Both are generic in the type of the connection, so that `tickwire.server.edge.connection` can depend on this module.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, TypeVar

from websockets.http11 import Request, Response

from tickwire.server.edge.counters import EdgeCounters
from tickwire.server.edge.masking import unmask
from tickwire.server.edge.rate_limit import LimitScope

ConnectionT_contra = TypeVar("ConnectionT_contra", contravariant=True)


class HandshakeRejection(NamedTuple):
    """The HTTP response to a handshake that is rejected."""

    status: int
    reason: str
    counted_as: str
    retry_after_s: int = 0


class Receiver(Protocol[ConnectionT_contra]):
    """Receives what a client sends: first the handshake, then the session's message handlers."""

    __slots__ = ()

    def message_received(self, data: bytes, /) -> None:
        """Handle a whole binary message."""
        ...

    def frame_received(self, frame: bytes, /) -> None:
        """Handle a whole binary message as it was read: one masked frame with a header of six bytes."""
        self.message_received(unmask(frame[6:], frame[2:6]))

    def text_received(self) -> None:
        """Handle a text message, which no client of this protocol sends."""
        ...

    def check_timeouts(self, now_s: float) -> None:
        """Check the receiver's time limits; called once a second."""
        ...

    def connection_ended(self, connection: ConnectionT_contra) -> None:
        """Handle the loss of the transport; called once, on the receiver at that time."""
        ...


class ConnectionOwner(Protocol[ConnectionT_contra]):
    """Creates connections and decides which handshakes succeed: the edge server."""

    def expects_proxy_header(self, address: str) -> bool:
        """Return whether this peer is a proxy that sends a PROXY protocol header first."""
        ...

    def check_handshake(self, connection: ConnectionT_contra, request: Request) -> HandshakeRejection | None:
        """Check a valid WebSocket handshake against the limits; return a rejection, or None to accept it."""
        ...

    def find_page(self, request: Request) -> Response | None:
        """Return the response to a request for a static file; None if it is not one."""
        ...

    def create_receiver(self, connection: ConnectionT_contra, request: Request) -> Receiver[ConnectionT_contra]:
        """Return the receiver of a connection whose WebSocket handshake has succeeded."""
        ...

    def connection_closed(self, connection: ConnectionT_contra) -> None:
        """Remove a connection whose transport is gone, also before the handshake."""
        ...

    def now_s(self) -> float:
        """Return the time on the clock for time limits, in seconds."""
        ...

    def throttle(self, connection: ConnectionT_contra, scope: LimitScope) -> None:
        """Call `connection.proceed` repeatedly until the connection is within its limits or ends."""
        ...

    def unthrottle(self, connection: ConnectionT_contra) -> None:
        """Stop the calls of `connection.proceed`."""
        ...


class DiscardingReceiver(Receiver[object]):
    """Counts and discards the messages of a connection that has lost its session to another one.

    The edge server waits for the client to close such a connection.
    """

    __slots__ = ("_counters",)

    def __init__(self, counters: EdgeCounters) -> None:
        self._counters = counters

    def message_received(self, data: bytes, /) -> None:
        """Count and discard a message."""
        self._counters.rejected["replaced"] += 1

    def text_received(self) -> None:
        """Count and discard a message."""
        self._counters.rejected["replaced"] += 1

    def check_timeouts(self, now_s: float) -> None:
        """Do nothing: the time limit of the close is the edge server's."""

    def connection_ended(self, connection: object) -> None:
        """Do nothing: the session is attached to another connection."""
