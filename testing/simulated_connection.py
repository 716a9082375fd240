"""One connection of a simulated client. Its server end has the part of an edge `Connection` that sessions use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, cast

from tickwire.server.edge.connection import Connection
from tickwire.server.edge.settings import EdgeSettings
from tickwire.testing.schedule import Schedule
from tickwire.testing.simulated_network import Deliveries, Network, NetworkLink
from tickwire.testing.virtual_loop import VirtualLoop

CLOSE_TIMEOUT_S = EdgeSettings().close_timeout_s
ADDRESS = "192.0.2.1"
"""The address of every simulated client, of RFC 5737."""


class NetworkContext(NamedTuple):
    """The parts that all connections of a harness share.

    Args:
        loop: the clock.
        deliveries: delivers the messages in flight.
        schedule: the chance of the network.
    """

    loop: VirtualLoop
    deliveries: Deliveries
    schedule: Schedule


class ConnectionUser(Protocol):
    """The client's end of a connection."""

    @property
    def name(self) -> str:
        """The name of the client."""

    def frames_received(self, connection: SimulatedConnection, frames: bytes, /) -> None:
        """Handle whole frames of the server."""

    def connection_ended(self, connection: SimulatedConnection, code: int | None, /) -> None:
        """Handle the end of the connection: the server closed it with a code, or it broke."""


class SimulatedConnection:
    """A connection. The server uses it as a `Connection`.

    Args:
        context: the parts that all connections share.
        network: the properties of the network.
        client: the client's end.
        on_ended: called once the server has noticed the end.

    Attributes:
        is_open: whether the server may send.
        is_in_use: whether the client uses it.
        receiver: handles the client's messages.
        closed_with: the code with which the server has closed it; None before.
        client_close_code: the code with which the client has closed it; None before.
        accepted_s, last_received_s: as of a `Connection`, on the clock of the harness.
    """

    def __init__(
        self,
        context: NetworkContext,
        network: Network,
        client: ConnectionUser,
        on_ended: Callable[[SimulatedConnection], None],
    ) -> None:
        self.is_open = self.is_in_use = True
        self.is_congested = self.has_session = self.is_throttled = False
        self.descriptor = -1
        self.client_close_code: int | None = None
        self.closed_with: int | None = None
        self.failure = ""
        self.address = ADDRESS
        self.receiver: Any = None
        self.accepted_s = self.last_received_s = context.loop.time()
        self._client = client
        self._loop = context.loop
        self._on_ended = on_ended
        self._has_ended = False
        name, schedule = client.name, context.schedule
        self._to_client = NetworkLink(
            context.deliveries, context.loop, network, schedule.stream(f"server to {name}"), self._client_receives
        )
        self._to_server = NetworkLink(
            context.deliveries, context.loop, network, schedule.stream(f"{name} to server"), self._server_receives
        )

    # -- the client's end -----------------------------------------------------------------------------------

    def client_sends(self, data: bytes) -> None:
        """Send a message to the server."""
        if self.is_in_use:
            self._to_server.send(data)

    def client_closes(self, code: int | None = None, *, is_silent: bool = False) -> None:
        """End the connection at the client: messages to it are lost, and those to the server still arrive.

        Args:
            code: the close code; None: the connection breaks.
            is_silent: whether the server does not notice the end.
        """
        if not self.is_in_use:
            return
        self.is_in_use = False
        self._to_client.drop()
        self.client_close_code = code
        if not is_silent:
            self._to_server.send(None)

    def _client_receives(self, frames: bytes | None) -> None:
        if not self.is_in_use:
            return
        if frames is None:
            self.is_in_use = False
            self._to_server.send(None)
            self._client.connection_ended(self, self.closed_with)
            return
        self._client.frames_received(self, frames)

    # -- the server's end: the part of a Connection that sessions use --------------------------------------

    def as_connection(self) -> Connection:
        """Return this connection as the type that sessions expect."""
        return cast("Connection", self)

    def write(self, frames: bytes) -> None:
        """Send whole frames to the client."""
        if self.is_open:
            self._to_client.send(frames)

    def send(self, frames: bytes) -> bool:
        """Send whole frames to the client. Return True: the frames are never too many."""
        self.write(frames)
        return True

    def unsent_bytes(self) -> int:
        """Return 0."""
        return 0

    def charge(self, tokens: int) -> None:
        """Do nothing: the harness does not limit the rate of messages."""

    def is_flooding(self, now_s: float) -> bool:
        """Return False, as the rate is not limited."""
        return False

    def close(self, code: int, reason: str) -> None:
        """Close the connection after all messages so far."""
        if self.is_open:
            self.is_open = False
            self.closed_with = int(code)
            self._to_client.send(None)
            self._loop.call_later(CLOSE_TIMEOUT_S, self.end)  # a client that is gone does not answer

    def break_off(self) -> None:
        """End the connection without a close, and without a notice to its receiver: the shard has crashed."""
        self.receiver = None
        if self.is_open:
            self.is_open = False
            self._to_client.send(None)

    def check_timeouts(self, now_s: float) -> None:
        """Have the session check its time limits."""
        if self.receiver is not None:
            self.receiver.check_timeouts(now_s)

    def _server_receives(self, data: bytes | None) -> None:
        if data is None:
            self.end()
        elif self.is_open and self.receiver is not None:
            self.last_received_s = self._loop.time()
            self.receiver.message_received(data)

    def end(self) -> None:
        """End the connection at the server, which notices that it is gone. Idempotent."""
        if self._has_ended:
            return
        self._has_ended, self.is_open = True, False
        receiver, self.receiver = self.receiver, None
        if receiver is not None:
            receiver.connection_ended(self.as_connection())
        self._on_ended(self)
