"""The listening socket: accepts, and lets connections in at a bounded rate, before anything is spent on them.

    accepted --the gate opens--> TLS handshake, if any --> a Connection
        └--would wait too long--> refused, with a time to come back

What is accepted waits as a bare socket, so that a thousand clients that come at once cost the ticks of those who play
nothing but their turn. A socket's send buffer is kept small: what waits in the kernel is old when it arrives, and
nobody would notice that the client takes too little.
"""

from __future__ import annotations

import asyncio
import errno
import math
import socket
import ssl
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

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
"""TCP_NOTSENT_LOWAT: the kernel takes no more than this beyond what is on its way to the client."""
RETRY_AFTER_S = 5
_BUSY, _TOO_MANY = "503 Service Unavailable", "429 Too Many Requests"
_ANSWER = "HTTP/1.1 {}\r\nRetry-After: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Waiting(NamedTuple):
    """A socket that waits at the gate."""

    socket: socket.socket
    address: str
    accepted_s: float


class Acceptor:
    """One listening address.

    Args:
        settings: the edge's limits.
        counters: the edge's numbers, added to.
        make: makes the protocol of an accepted socket; its arguments are the peer's address and the
            time of the accept.
        spawn: runs handshakes.
        admit: whether a peer at this address may have a handshake now.
        now_s: the clock that peers are judged by.
    """

    def __init__(
        self,
        settings: EdgeSettings,
        *,
        counters: EdgeCounters,
        make: Callable[[str, float], Connection],
        spawn: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
        admit: Callable[[str], bool],
        now_s: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._counters = counters
        self._make = make
        self._spawn = spawn
        self._admit = admit
        self._now_s = now_s
        self._loop = asyncio.get_running_loop()
        self._tls: ssl.SSLContext | None = None
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._gate: AdmissionQueue[Waiting] = AdmissionQueue(
            per_second=settings.handshakes_per_second_max,
            wait_s_max=settings.admission_timeout_s,
            now_s=now_s(),
        )

    @property
    def waiting_count(self) -> int:
        """Sockets that wait for their handshake."""
        return len(self._gate)

    @property
    def port(self) -> int:
        """The port it listens on; what the system chose when 0 was asked for."""
        assert self._socket is not None, "open comes first"
        return int(self._socket.getsockname()[1])

    def open(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        """Begins to accept.

        Raises:
            ConfigError: the address is in use or cannot be had.
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
        # Before the accept: the window that a peer is offered depends on it.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._settings.receive_buffer_bytes)
        self._socket.setblocking(False)
        self._loop.add_reader(self._socket, self._accept)

    def close(self) -> None:
        """Accepts no more, and drops who waits. Idempotent."""
        for timer in (self._timer, self._pause):
            if timer is not None:
                timer.cancel()
        self._timer = self._pause = None
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        for waiting in self._gate.clear():
            waiting.socket.close()

    # -- accepting ------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        assert self._socket is not None, "there is a reader only while it is open"
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                accepted, address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                self._wait_for_files(error)
                return
            self._accepted(accepted, str(address[0]))

    def _accepted(self, accepted: socket.socket, address: str) -> None:
        now_s = self._now_s()
        waiting = Waiting(accepted, address, now_s)
        if self._gate.is_full:
            self._counters.refused["throttled"] += 1
            self._refuse(accepted, _BUSY, self._gate.wait_s)
        elif not self._admit(address):
            self._counters.refused["address_handshakes"] += 1
            self._refuse(accepted, _TOO_MANY, RETRY_AFTER_S)
        elif self._gate.ask(waiting, now_s):
            self._let_in(waiting)
        elif self._timer is None:
            self._timer = self._loop.call_later(SLOT_S, self._open_gate)

    def _open_gate(self) -> None:
        self._timer = None
        try:
            for waiting in self._gate.open(self._now_s()):
                self._let_in(waiting)
        finally:  # whatever one of them causes, the others are let in
            self._timer = self._loop.call_later(SLOT_S, self._open_gate) if len(self._gate) else None

    def _let_in(self, waiting: Waiting) -> None:
        self._counters.handshakes += 1
        try:
            _prepare(waiting.socket, self._settings.send_buffer_bytes)
        except OSError:  # the client has gone meanwhile
            waiting.socket.close()
            return
        self._spawn(self._connect(waiting), "handshake")

    async def _connect(self, waiting: Waiting) -> None:
        timeout_s = self._settings.handshake_timeout_s if self._tls is not None else None
        connection = self._make(waiting.address, waiting.accepted_s)
        try:
            await self._loop.connect_accepted_socket(
                lambda: connection, waiting.socket, ssl=self._tls, ssl_handshake_timeout=timeout_s
            )
        except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
            connection.never_made()
            self._counters.refused["tls" if self._tls is not None else "gone"] += 1
            log.debug("handshake_failed", error=str(error))

    def _refuse(self, accepted: socket.socket, status: str, retry_after_s: float) -> None:
        """Says when to come again, in as few steps as can be; behind TLS there is no way to say it."""
        with accepted:
            if self._tls is None:
                try:
                    accepted.setblocking(False)
                    accepted.recv(65536)  # what is unread when a socket is closed would make the answer be dropped
                    accepted.send(_ANSWER.format(status, math.ceil(retry_after_s)).encode())
                except OSError:
                    return  # it has gone, or has not asked yet: then it sees the connection end

    def _wait_for_files(self, error: OSError) -> None:
        """The process has no file descriptors left: who knocks waits in the kernel's queue."""
        assert self._socket is not None
        self._counters.refused["no_files"] += 1
        log.error("cannot_accept", error=str(error))
        self._loop.remove_reader(self._socket)
        self._pause = self._loop.call_later(NO_FILES_PAUSE_S, self._accept_again)

    def _accept_again(self) -> None:
        if self._socket is not None:
            self._loop.add_reader(self._socket, self._accept)


def _prepare(accepted: socket.socket, send_buffer_bytes: int) -> None:
    accepted.setblocking(False)
    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES_LOW)
