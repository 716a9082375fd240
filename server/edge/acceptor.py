"""The listening socket: accepts connections, and starts their handshakes at a bounded rate.

    accepted --admitted--> TLS handshake, if any --> a Connection
        └--would wait too long--> rejected with Retry-After

Accepted connections wait as bare sockets, so that a thousand clients that connect at once do not delay the ticks of
the players. A socket's send buffer is small: data that waits in the kernel is outdated on arrival, and hides that the
client reads too slowly.
"""

from __future__ import annotations

import asyncio
import errno
import math
import socket
import ssl
from collections.abc import Coroutine
from typing import Any, NamedTuple, Protocol

import structlog

from tickwire.server.edge.admission import SLOT_S, AdmissionQueue
from tickwire.server.edge.connection import Connection
from tickwire.server.edge.counters import EdgeCounters
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.errors import listen_error

log = structlog.get_logger(__name__)

BACKLOG = 4096
ACCEPTS_AT_ONCE = 64
NO_FILES_PAUSE_S = 0.2
UNSENT_BYTES_LOW = 16 * 1024
"""TCP_NOTSENT_LOWAT: the most unsent data that the kernel buffers beyond the data in flight."""
RETRY_AFTER_S = 5
_BUSY, _TOO_MANY = "503 Service Unavailable", "429 Too Many Requests"
_ANSWER = "HTTP/1.1 {}\r\nRetry-After: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class PendingSocket(NamedTuple):
    """An accepted socket that waits for its handshake."""

    socket: socket.socket
    address: str
    accepted_s: float


class AcceptorOwner(Protocol):
    """Decides which peers may connect, and creates their connections: the edge server."""

    def may_connect(self, peer: str) -> bool:
        """Return whether a peer at this address may start a handshake now."""
        ...

    def create_connection(self, peer: str, accepted_s: float) -> Connection:
        """Return the protocol of a socket that was accepted at this time."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start the task of a handshake."""
        ...

    def now_s(self) -> float:
        """Return the time on the clock for time limits, in seconds."""
        ...


class Acceptor:
    """One listening address.

    Args:
        settings: the edge's limits.
        counters: the edge's counters, which the acceptor adds to.
        owner: the edge server.
    """

    def __init__(self, settings: EdgeSettings, counters: EdgeCounters, owner: AcceptorOwner) -> None:
        self._settings = settings
        self._counters = counters
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._tls: ssl.SSLContext | None = None
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._queue: AdmissionQueue[PendingSocket] = AdmissionQueue(
            per_second=settings.handshakes_per_second_max,
            wait_s_max=settings.admission_timeout_s,
            now_s=owner.now_s(),
        )

    @property
    def waiting_count(self) -> int:
        """The number of sockets that wait for their handshake."""
        return len(self._queue)

    @property
    def port(self) -> int:
        """The port that it listens on; the one that the system chose if the configured port is 0."""
        assert self._socket is not None, "the port is known after open"
        return int(self._socket.getsockname()[1])

    def open(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        """Start accepting connections.

        Raises:
            ConfigError: the address is in use or not available.
        """
        self._tls = tls
        is_ipv6 = ":" in host
        try:
            self._socket = socket.create_server(
                (host, port),
                family=socket.AF_INET6 if is_ipv6 else socket.AF_INET,
                backlog=BACKLOG,
                dualstack_ipv6=is_ipv6 and host == "::" and socket.has_dualstack_ipv6(),
            )
        except OSError as error:
            raise listen_error("listen", host, port, error) from error
        # Set before the accept, because the receive window that is offered to a peer depends on it.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._settings.receive_buffer_bytes)
        self._socket.setblocking(False)
        self._loop.add_reader(self._socket, self._accept)

    def close(self) -> None:
        """Stop accepting, and close the waiting sockets. Idempotent."""
        for timer in (self._timer, self._pause):
            if timer is not None:
                timer.cancel()
        self._timer = self._pause = None
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        for pending in self._queue.clear():
            pending.socket.close()

    # -- accepting ------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        assert self._socket is not None, "the reader exists only while the socket is open"
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                accepted, address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                self._pause_accepting(error)
                return
            self._accepted(accepted, str(address[0]))

    def _accepted(self, accepted: socket.socket, address: str) -> None:
        now_s = self._owner.now_s()
        pending = PendingSocket(accepted, address, now_s)
        if self._queue.is_full:
            self._counters.refused["throttled"] += 1
            self._refuse(accepted, _BUSY, self._queue.wait_s)
        elif not self._owner.may_connect(address):
            self._counters.refused["address_handshakes"] += 1
            self._refuse(accepted, _TOO_MANY, RETRY_AFTER_S)
        elif self._queue.offer(pending, now_s):
            self._admit(pending)
        elif self._timer is None:
            self._timer = self._loop.call_later(SLOT_S, self._release_due)

    def _release_due(self) -> None:
        self._timer = None
        try:
            for pending in self._queue.release_due(self._owner.now_s()):
                self._admit(pending)
        finally:  # an exception of one socket must not block the others
            self._timer = self._loop.call_later(SLOT_S, self._release_due) if len(self._queue) else None

    def _admit(self, pending: PendingSocket) -> None:
        self._counters.handshakes += 1
        try:
            _configure_socket(pending.socket, self._settings.send_buffer_bytes)
        except OSError:  # the client has disconnected meanwhile
            pending.socket.close()
            return
        self._owner.spawn(self._connect(pending), "handshake")

    async def _connect(self, pending: PendingSocket) -> None:
        timeout_s = self._settings.handshake_timeout_s if self._tls is not None else None
        connection = self._owner.create_connection(pending.address, pending.accepted_s)
        try:
            await self._loop.connect_accepted_socket(
                lambda: connection, pending.socket, ssl=self._tls, ssl_handshake_timeout=timeout_s
            )
        except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
            connection.handshake_failed()
            self._counters.refused["tls" if self._tls is not None else "gone"] += 1
            log.debug("handshake_failed", error=str(error))

    def _refuse(self, accepted: socket.socket, status: str, retry_after_s: float) -> None:
        """Send a Retry-After and close the socket, as cheaply as possible. With TLS the socket is only closed."""
        with accepted:
            if self._tls is None:
                try:
                    accepted.setblocking(False)
                    accepted.recv(65536)  # unread bytes would turn the close into a reset, which discards the answer
                    accepted.send(_ANSWER.format(status, math.ceil(retry_after_s)).encode())
                except OSError:
                    return  # the client has disconnected, or has sent nothing yet and sees only the close

    def _pause_accepting(self, error: OSError) -> None:
        """Stop accepting for a moment when no file descriptors are left; clients wait in the kernel's queue."""
        assert self._socket is not None
        self._counters.refused["no_files"] += 1
        log.error("accept_failed", error=str(error))
        self._loop.remove_reader(self._socket)
        self._pause = self._loop.call_later(NO_FILES_PAUSE_S, self._resume_accepting)

    def _resume_accepting(self) -> None:
        if self._socket is not None:
            self._loop.add_reader(self._socket, self._accept)


def _configure_socket(accepted: socket.socket, send_buffer_bytes: int) -> None:
    accepted.setblocking(False)
    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES_LOW)
