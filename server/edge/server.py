"""A shard's edge: its door, the connections behind it, and their sessions.

A sweep looks after every time limit, once a second, so that neither a connection nor a session needs timers of
its own: no Hello in time, silence, a close that is not answered, a session that nobody has come back to.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import structlog
from websockets.http11 import Request, Response

from tickwire.schemas.messages import Goodbye
from tickwire.server.edge import static_files
from tickwire.server.edge.acceptor import RETRY_AFTER_S, Acceptor
from tickwire.server.edge.addresses import Address, Addresses
from tickwire.server.edge.auth.authenticator import Authenticator
from tickwire.server.edge.certificates import TlsCertificate
from tickwire.server.edge.connection import Connection, HandshakeRejection, Receiver
from tickwire.server.edge.context import BanList, NoBanList
from tickwire.server.edge.counters import EdgeCounters
from tickwire.server.edge.handshake import SessionHandshake
from tickwire.server.edge.http_request import header, token_of
from tickwire.server.edge.loop_clock import LoopClock
from tickwire.server.edge.origins import OriginPolicy
from tickwire.server.edge.proxies import TrustedProxies
from tickwire.server.edge.rate_limit import LimitScope, RateLimiter
from tickwire.server.edge.resume_tokens import ResumeTokens
from tickwire.server.edge.session import Session
from tickwire.server.edge.session_registry import SessionRegistry
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.edge.throttle import Throttle
from tickwire.server.errors import Banned
from tickwire.server.fault_isolation import FaultIsolation
from tickwire.server.observability.log_interval import LogInterval
from tickwire.server.rooms.checkpoint import SessionCheckpoint
from tickwire.server.rooms.ports import (
    NoPlayerQueue,
    NoSessionLocator,
    NoTransactions,
    PlayerQueue,
    RoomJoiner,
    SessionLocator,
    TransactionRunner,
)
from tickwire.server.rooms.seat import Subscriber

log = structlog.get_logger(__name__)

SWEEP_INTERVAL_S_MAX = 1.0
LOG_INTERVAL_S = 60.0
LOGGED_CHARACTERS_MAX = 200


class EdgeServer:
    """Accepts players. Implements `tickwire.server.edge.connection.ConnectionOwner` and
    `tickwire.server.edge.context.SessionContext`.

    Args:
        placer: finds sessions a room.
        settings: the edge's limits.
        authenticator: says who a token stands for.
        tokens: what clients come back with; without, nobody comes back to another shard.

    Attributes:
        counters: plain numbers, read by whoever makes metrics of them.
        registry: the sessions.
        certificates: what TLS is spoken with; None before the start, and without TLS.
        queue: where sessions wait for a match.
        homes: finds sessions that are not known here.
        dealer: carries out deals.
        bans: who may not play.
        wall_s: UTC, seconds since 1970, as clients are told of it.
        pages: files that are served at the same address; for development.
        isolation: guards each connection in the sweep.
        on_sweep_ended: receives the sweep's task when it ends, by `close` or by a fault; set it before `start`.
    """

    def __init__(
        self,
        placer: RoomJoiner,
        settings: EdgeSettings,
        authenticator: Authenticator,
        tokens: ResumeTokens | None = None,
    ) -> None:
        self.counters = EdgeCounters()
        self.tokens = tokens or ResumeTokens({"own": secrets.token_bytes(32)}, "own")
        self.placer = placer
        self.queue: PlayerQueue = NoPlayerQueue()
        self.homes: SessionLocator = NoSessionLocator()
        self.dealer: TransactionRunner = NoTransactions()
        self.bans: BanList = NoBanList()
        self.wall_s: Callable[[], float] = time.time
        self.pages: dict[str, static_files.StaticFile] = {}
        self.settings = settings
        self.registry = SessionRegistry(
            window_s=settings.resume_window_s,
            away_max=settings.connections_max,
            away_per_address_max=settings.connections_per_address_max,
            duplicate_sessions=settings.duplicate_sessions,
            counters=self.counters,
            tokens=self.tokens,
        )
        self._authenticator = authenticator
        self._origins = OriginPolicy(settings.origins)
        self._proxies = TrustedProxies(settings.trusted_proxies)
        self._connections: set[Connection] = set()
        self._addresses = Addresses(settings)
        self._throttle = Throttle()
        self._throttled_addresses, self._refused_origins = LogInterval(LOG_INTERVAL_S), LogInterval(LOG_INTERVAL_S)
        self.certificates: TlsCertificate | None = None
        self.isolation = FaultIsolation()
        self._door: Acceptor | None = None
        self._sweeping: asyncio.Task[None] | None = None
        self.on_sweep_ended: Callable[[asyncio.Task[None]], object] = lambda task: None
        self._tasks: set[asyncio.Task[None]] = set()
        self._none_left = asyncio.Event()
        self._none_left.set()
        self._sweep_interval_s = min(SWEEP_INTERVAL_S_MAX, settings.heartbeat_interval_s / 3)
        self._clock = LoopClock(self._sweep_interval_s, time.monotonic())

    @property
    def connection_count(self) -> int:
        """Open sockets."""
        return len(self._connections)

    @property
    def waiting_count(self) -> int:
        """Accepted sockets that wait for their handshake."""
        return self._door.waiting_count if self._door is not None else 0

    @property
    def port(self) -> int:
        """The port it listens on; what the system chose when 0 was asked for."""
        assert self._door is not None, "start comes first"
        return self._door.port

    async def start(self, host: str, port: int, certificates: TlsCertificate | None = None) -> None:
        """Begins to accept; without certificates in plain text.

        Raises:
            ConfigError: the address is in use or cannot be had.
        """
        self.certificates = certificates
        tls: ssl.SSLContext | None = certificates.context if certificates is not None else None
        self._door = Acceptor(
            self.settings,
            counters=self.counters,
            make=self._make,
            spawn=self.spawn,
            admit=self._admit,
            now_s=self.now_s,
        )
        self._door.open(host, port, tls)
        self._sweeping = asyncio.get_running_loop().create_task(self._sweep(), name="edge sweep")
        self._sweeping.add_done_callback(self.on_sweep_ended)

    async def close(self, goodbye: Goodbye, *, deadline_s: float) -> None:
        """Accepts no more, says Goodbye to everybody, waits for them, and drops who is left. Idempotent."""
        if self._door is not None:
            self._door.close()
        for session in self.registry:
            session.say_goodbye(goodbye)
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                await self._none_left.wait()
        for connection in list(self._connections):
            connection.abort()
        self._throttle.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=deadline_s)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self._none_left.wait()
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.wait((self._sweeping,))  # awaiting it would raise its cancellation as if it were ours
            self._sweeping = None

    def revive(self, kept: SessionCheckpoint, /) -> Subscriber | None:
        """See `tickwire.server.rooms.ports.SessionRestorer.revive`."""
        return self.registry.revive(kept, self)

    def settle(self, subscriber: Subscriber, /) -> None:
        """See `tickwire.server.rooms.ports.SessionRestorer.settle`."""
        if isinstance(subscriber, Session):
            self.registry.settle(subscriber, self.now_s())
            try:
                self.bans.check(subscriber.player_id)
            except Banned as banned:  # since its room was sent
                subscriber.ban(str(banned))

    def drop(self, session_id: str, room_id: str, /) -> None:
        """See `tickwire.server.rooms.ports.SessionRestorer.drop`."""
        session = self.registry.get(session_id)
        if session is not None and session.wire is None and session.room_id == room_id:
            session.end("the player left while the room was moving", counted_as="left_while_moving")

    # -- what sessions share --------------------------------------------------------------------------------

    def now_s(self) -> float:
        """Return the time on the clock that peers are judged by: the loop's, without its stalls."""
        return self._clock.read(time.monotonic())

    def now_us(self) -> int:
        """UTC, microseconds since 1970."""
        return int(self.wall_s() * 1_000_000)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Runs a task; `close` awaits it, and cancels it if it takes too long."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.critical("task_failed", task=task.get_name(), exc_info=task.exception())

    # -- what connections call ------------------------------------------------------------------------------

    def wants_proxy_header(self, address: str) -> bool:
        """See `Owner.wants_proxy_header`."""
        return self.settings.proxy_protocol and self._proxies.trusts(address)

    def screen(self, connection: Connection, request: Request) -> HandshakeRejection | None:
        """See `Owner.screen`."""
        peer = connection.address
        connection.address = self._proxies.client_address(peer, request.headers.get_all("X-Forwarded-For"))
        address = self._address_of(connection)
        connection.limiter.address = address.messages
        if len(self._connections) > self.settings.connections_max:
            return HandshakeRejection(
                503, "the shard holds as many connections as it may", "connections_max", RETRY_AFTER_S
            )
        if address.connections >= self.settings.connections_per_address_max:
            reason = "too many connections from this address"
            return HandshakeRejection(429, reason, "connections_per_address_max", RETRY_AFTER_S)
        if self._proxies.trusts(peer) and not address.handshakes.take(time.monotonic()):
            return HandshakeRejection(
                429, "too many handshakes from this address", "address_handshakes", RETRY_AFTER_S
            )
        origin, host = header(request, "Origin"), header(request, "Host")
        if not self._origins.allows(origin, host):
            self._log_origin(connection, origin or "", host or "")
            return HandshakeRejection(403, "this origin may not connect", "origin")
        return None

    def page(self, request: Request) -> Response | None:
        """See `Owner.page`."""
        found = static_files.find(self.pages, request)
        return found.response() if found is not None else None

    def opened(self, connection: Connection, request: Request) -> Receiver:
        """See `Owner.opened`."""
        self._address_of(connection).connections += 1
        return SessionHandshake(
            connection,
            token=token_of(request, in_query=self.settings.token_in_query),
            authenticator=self._authenticator,
            sessions=self.registry,
            around=self,
        )

    def ended(self, connection: Connection) -> None:
        """See `Owner.ended`."""
        self._connections.discard(connection)
        if connection.was_opened:
            self._address_of(connection).connections -= 1
        if not self._connections:
            self._none_left.set()

    def throttle(self, connection: Connection, scope: LimitScope) -> None:
        """See `Owner.throttle`."""
        self._throttle.add(connection)
        if scope is LimitScope.ADDRESS:
            self._log_address(connection)

    def unthrottle(self, connection: Connection) -> None:
        """See `Owner.unthrottle`."""
        self._throttle.remove(connection)

    # -- addresses ------------------------------------------------------------------------------------------

    def _address_of(self, connection: Connection) -> Address:
        return self._addresses.get(connection.address, time.monotonic())

    def _admit(self, peer: str) -> bool:
        """Whether a peer may have a handshake; for whom a proxy speaks is known only when its request was read."""
        now_s = time.monotonic()
        return self._proxies.trusts(peer) or self._addresses.get(peer, now_s).handshakes.take(now_s)

    def _log_origin(self, connection: Connection, origin: str, host: str) -> None:
        if self._refused_origins.is_due(origin, time.monotonic()):
            log.warning(
                "origin_refused",
                origin=origin[:LOGGED_CHARACTERS_MAX],
                host=host[:LOGGED_CHARACTERS_MAX],
                address=connection.address,
                setting="edge.origins",
                hint=f"to let this page connect, add {origin[:LOGGED_CHARACTERS_MAX]!r} to edge.origins",
            )

    def _log_address(self, connection: Connection) -> None:
        if self._throttled_addresses.is_due(connection.address, time.monotonic()):
            log.warning(
                "address_throttled",
                address=connection.address,
                connections=self._address_of(connection).connections,
                setting="edge.messages_per_second_per_address_max",
                limit=self.settings.messages_per_second_per_address_max,
                hint="a proxy that is not in edge.trusted_proxies, many players behind one address, or an attack",
            )

    def _make(self, peer: str, accepted_s: float) -> Connection:
        now_s = time.monotonic()
        connection = Connection(
            message_bytes_max=self.settings.message_bytes_max,
            write_buffer_bytes_max=self.settings.write_buffer_bytes_max,
            limiter=RateLimiter(self.settings, self._addresses.get(peer, now_s).messages, now_s),
            counters=self.counters,
            owner=self,
            accepted_s=accepted_s,
        )
        self._connections.add(connection)
        self._none_left.clear()
        return connection

    # -- time limits ----------------------------------------------------------------------------------------

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_interval_s)
            stall_s = self._clock.advance(time.monotonic())
            if stall_s:
                log.warning("loop_stalled", stall_s=round(stall_s, 3))
            now_s = self.now_s()
            for connection in list(self._connections):
                with self.isolation.guard("edge sweep", connection.address):
                    self._look_after(connection, now_s)
            with self.isolation.guard("edge sweep", "sessions"):
                self.registry.sweep(now_s)
            self._addresses.expire(time.monotonic())
            if self.certificates is not None:
                with self.isolation.guard("edge sweep", "certificates"):
                    self.certificates.reload_if_changed()

    def _look_after(self, connection: Connection, now_s: float) -> None:
        settings = self.settings
        if connection.has_spoken:
            connection.has_spoken, connection.heard_s = False, now_s
        if connection.closing_since_s is not None:
            if now_s - connection.closing_since_s > settings.close_timeout_s:
                connection.abort()
        elif connection.receiver is not None:
            connection.receiver.swept(now_s)
            if now_s - connection.heard_s >= settings.heartbeat_interval_s:
                connection.ping()
        elif now_s - connection.accepted_s > settings.handshake_timeout_s:
            self.counters.refused["handshake_timeout"] += 1
            connection.abort()
