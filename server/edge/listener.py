"""The listening socket of a shard, and all connections behind it.

One sweep a second looks after every time limit, so that a connection needs no timers of its own: no Hello in
time, silence, a close that is not answered.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter
from contextlib import suppress

import structlog

from schemas.messages import Goodbye
from server.edge.closing import Closing
from server.edge.connection import Connection
from server.edge.counters import EdgeCounters
from server.edge.session import Session
from server.edge.settings import SILENCE_HEARTBEATS_MAX, EdgeSettings
from server.errors import ConfigError
from server.rooms.ports import Placer

log = structlog.get_logger(__name__)

SWEEP_INTERVAL_S = 1.0
RETRY_AFTER_S = 5


class Listener:
    """Accepts players.

    Args:
        placer: finds sessions a room.
        settings: the edge's limits.

    Attributes:
        counters: plain numbers, read by whoever makes metrics of them.
    """

    def __init__(self, placer: Placer, settings: EdgeSettings) -> None:
        self.counters = EdgeCounters()
        self._placer = placer
        self._settings = settings
        self._connections: set[Connection] = set()
        self._sessions: set[Session] = set()
        self._addresses: Counter[str] = Counter()
        self._server: asyncio.Server | None = None
        self._sweeping: asyncio.Task[None] | None = None
        self._none_left = asyncio.Event()
        self._none_left.set()

    @property
    def connection_count(self) -> int:
        """Open sockets."""
        return len(self._connections)

    @property
    def session_count(self) -> int:
        """Sessions that are not over."""
        return len(self._sessions)

    @property
    def port(self) -> int:
        """The port it listens on; what the system chose when 0 was asked for."""
        assert self._server is not None, "start comes first"
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Begins to accept.

        Raises:
            ConfigError: the address is in use or cannot be had.
        """
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(self._accept, host, port, ssl=tls, backlog=1024)
        except OSError as error:
            raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
        self._sweeping = loop.create_task(self._sweep(), name="edge sweep")

    async def close(self, goodbye: Goodbye, *, deadline_s: float) -> None:
        """Accepts no more, says Goodbye to everybody, waits for them, and drops who is left. Idempotent."""
        if self._server is not None:
            self._server.close()
        for session in list(self._sessions):
            session.say_goodbye(goodbye)
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                await self._none_left.wait()
        joins = [session.joining for session in self._sessions if session.joining is not None]
        for connection in list(self._connections):
            connection.abort()
        if joins:
            await asyncio.wait(joins, timeout=deadline_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self._none_left.wait()
        if self._sweeping is not None:
            self._sweeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeping
            self._sweeping = None

    # -- what connections call ------------------------------------------------------------------------------

    def _accept(self) -> Connection:
        connection = Connection(
            message_bytes_max=self._settings.message_bytes_max,
            write_buffer_bytes_max=self._settings.write_buffer_bytes_max,
            counters=self.counters,
            opened=self._open,
            admit=self._admit,
            ended=self._ended,
        )
        self._connections.add(connection)
        self._none_left.clear()
        return connection

    def _admit(self, connection: Connection) -> tuple[int, str, int] | None:
        if len(self._connections) > self._settings.connections_max:
            self.counters.refused["connections_max"] += 1
            return 503, "the shard holds as many connections as it may", RETRY_AFTER_S
        if self._addresses[connection.address] >= self._settings.connections_per_address_max:
            self.counters.refused["connections_per_address_max"] += 1
            return 429, "too many connections from this address", RETRY_AFTER_S
        return None

    def _open(self, connection: Connection) -> Session:
        self._addresses[connection.address] += 1
        session = Session(
            connection,
            settings=self._settings,
            placer=self._placer,
            counters=self.counters,
            now_us=lambda: time.time_ns() // 1000,
            ended=self._session_ended,
        )
        self._sessions.add(session)
        return session

    def _session_ended(self, session: Session) -> None:
        self._sessions.discard(session)
        address = session.connection.address
        self._addresses[address] -= 1
        if self._addresses[address] <= 0:
            del self._addresses[address]

    def _ended(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._none_left.set()

    # -- time limits ----------------------------------------------------------------------------------------

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_INTERVAL_S)
            now_s = loop.time()
            for connection in list(self._connections):
                self._look_after(connection, now_s)

    def _look_after(self, connection: Connection, now_s: float) -> None:
        settings, session = self._settings, connection.receiver
        silence_s_max = SILENCE_HEARTBEATS_MAX * settings.heartbeat_interval_s
        if connection.closing_since_s is not None:
            if now_s - connection.closing_since_s > settings.close_timeout_s:
                connection.abort()
        elif not isinstance(session, Session):
            if now_s - connection.accepted_s > settings.handshake_timeout_s:
                self.counters.refused["handshake_timeout"] += 1
                connection.abort()
        elif not session.has_greeted and now_s - connection.accepted_s > settings.handshake_timeout_s:
            session.time_out()
        elif now_s - connection.heard_s > silence_s_max:
            session.close(Closing.SILENT, "nothing was heard for too long", counted_as="silent")
        else:
            session.new_second()
