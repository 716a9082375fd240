"""The edge of a shard: accepts connections, and owns them and their sessions.

A sweep checks every time limit once a second, so that neither a connection nor a session needs a timer of its own: no
Hello in time, silence, a close without an answer, a session that is not resumed.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import suppress
from typing import Any

import msgspec
import structlog
from websockets.http11 import Request, Response

from tickwire.schemas.messages import Goodbye
from tickwire.server.edge import static_files
from tickwire.server.edge.acceptor import RETRY_AFTER_S, Acceptor
from tickwire.server.edge.addresses import Address, Addresses
from tickwire.server.edge.auth.authenticator import Authenticator
from tickwire.server.edge.certificates import TlsCertificate
from tickwire.server.edge.connection import Connection
from tickwire.server.edge.context import SessionContext
from tickwire.server.edge.handshake import SessionHandshake
from tickwire.server.edge.http_request import header, token_from_request
from tickwire.server.edge.loop_clock import LoopClock
from tickwire.server.edge.origins import OriginPolicy
from tickwire.server.edge.rate_limit import LimitScope, RateLimiter
from tickwire.server.edge.receiver import HandshakeRejection, Receiver
from tickwire.server.edge.services import (
    BanList,
    NoReportService,
    NoSessionPresence,
    PlayerQueue,
    ReportService,
    RoomJoiner,
    SessionLocator,
    SessionPresence,
    TransactionRunner,
)
from tickwire.server.edge.session_registry import SessionRegistry
from tickwire.server.edge.session_token import TokenPolicy
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.edge.throttle import Throttle
from tickwire.server.edge.trusted_proxies import TrustedProxies
from tickwire.server.fault_isolation import FaultIsolation
from tickwire.server.observability.log_interval import LogInterval

log = structlog.get_logger(__name__)

SWEEP_INTERVAL_S_MAX = 1.0
LOG_INTERVAL_S = 60.0
LOGGED_CHARACTERS_MAX = 200


class EdgeServices(msgspec.Struct, frozen=True, kw_only=True):
    """The services of the shard that sessions call; see `tickwire.server.edge.services`.

    Args:
        authenticator: authenticates players.
        join_service: finds rooms.
        queue: the matchmaking queue.
        transactions: commits what commands change.
        session_locator: finds sessions that are not on this shard.
        bans: the banned players.
        reports: accepts the reports of players.
        token_policy: the policy at the end of a player's token.
        presence: makes sessions known to the other shards.
    """

    authenticator: Authenticator
    join_service: RoomJoiner
    queue: PlayerQueue
    transactions: TransactionRunner
    session_locator: SessionLocator
    bans: BanList
    reports: ReportService = NoReportService()
    token_policy: TokenPolicy = TokenPolicy()
    presence: SessionPresence = NoSessionPresence()


class EdgeEnvironment(msgspec.Struct, frozen=True, kw_only=True):
    """The clock, the pages and the fault handling that the edge receives from its process.

    Args:
        wall_s: the fleet's clock, which clients receive: UTC, seconds since 1970.
        isolation: guards each connection in the sweep.
        on_sweep_ended: receives the sweep's task when it ends, by `close` or by a fault.
        pages: files that are served at the same address, by path; for development.
    """

    wall_s: Callable[[], float]
    isolation: FaultIsolation
    on_sweep_ended: Callable[[asyncio.Task[None]], object]
    pages: Mapping[str, static_files.StaticFile]


class EdgeServer:
    """Accepts players. Implements `tickwire.server.edge.receiver.ConnectionOwner`.

    Args:
        settings: the edge's limits.
        registry: the table of sessions.
        services: the services that sessions call.
        environment: clock, pages and the handling of faults.

    Attributes:
        counters: the edge's counters, which the metrics read.
        registry: the table of sessions.
        context: the dependencies of sessions.
        certificates: the TLS certificate; None before the start, and without TLS.
    """

    def __init__(
        self,
        settings: EdgeSettings,
        registry: SessionRegistry,
        services: EdgeServices,
        environment: EdgeEnvironment,
    ) -> None:
        self.settings = settings
        self.registry = registry
        self.counters = registry.counters
        self._environment = environment
        self._isolation = environment.isolation
        self._authenticator = services.authenticator
        self._origins = OriginPolicy(settings.origins)
        self._proxies = TrustedProxies(settings.trusted_proxies)
        self._connections: set[Connection] = set()
        self._addresses = Addresses(settings)
        self._throttle = Throttle()
        self._throttled_addresses, self._refused_origins = LogInterval(LOG_INTERVAL_S), LogInterval(LOG_INTERVAL_S)
        self.certificates: TlsCertificate | None = None
        self._acceptor: Acceptor | None = None
        self._sweep_task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._all_closed = asyncio.Event()
        self._all_closed.set()
        self._sweep_interval_s = min(SWEEP_INTERVAL_S_MAX, settings.heartbeat_interval_s / 3)
        self._clock = LoopClock(self._sweep_interval_s, time.monotonic())
        self.context = SessionContext(
            settings=settings,
            counters=registry.counters,
            tokens=registry.tokens,
            registry=registry,
            join_service=services.join_service,
            queue=services.queue,
            transactions=services.transactions,
            session_locator=services.session_locator,
            bans=services.bans,
            reports=services.reports,
            authenticator=services.authenticator,
            token_policy=services.token_policy,
            presence=services.presence,
            now_s=self.now_s,
            now_us=self.now_us,
            spawn=self.spawn,
        )

    @property
    def connections(self) -> Collection[Connection]:
        """The open sockets."""
        return self._connections

    @property
    def connection_count(self) -> int:
        """The number of open sockets."""
        return len(self._connections)

    @property
    def waiting_count(self) -> int:
        """The number of accepted sockets that wait for their handshake."""
        return self._acceptor.waiting_count if self._acceptor is not None else 0

    @property
    def port(self) -> int:
        """The port that it listens on; the one that the system chose if the configured port is 0."""
        assert self._acceptor is not None, "the port is known after start"
        return self._acceptor.port

    async def start(self, host: str, port: int, certificates: TlsCertificate | None = None) -> None:
        """Start accepting connections, over TLS if there is a certificate.

        Raises:
            ConfigError: the address is in use or not available.
        """
        self.certificates = certificates
        tls: ssl.SSLContext | None = certificates.context if certificates is not None else None
        self._acceptor = Acceptor(self.settings, self.counters, self)
        self._acceptor.open(host, port, tls)
        self._sweep_task = asyncio.get_running_loop().create_task(self._sweep(), name="edge sweep")
        self._sweep_task.add_done_callback(self._environment.on_sweep_ended)

    async def close(self, goodbye: Goodbye, *, deadline_s: float) -> None:
        """Stop accepting, send Goodbye to all sessions, and drop the connections left at the deadline. Idempotent."""
        if self._acceptor is not None:
            self._acceptor.close()
        for session in self.registry:
            session.end_with_goodbye(goodbye)
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                await self._all_closed.wait()
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
                await self._all_closed.wait()
        if self._sweep_task is not None:
            self._sweep_task.cancel()
            await asyncio.wait((self._sweep_task,))  # awaiting it would raise its cancellation as if it were ours
            self._sweep_task = None

    # -- clocks and tasks ----------------------------------------------------------------------------------

    def now_s(self) -> float:
        """Return the time on the clock for time limits: the loop's, without its stalls, in seconds."""
        return self._clock.read(time.monotonic())

    def now_us(self) -> int:
        """Return the fleet's time: UTC, microseconds since 1970."""
        return int(self._environment.wall_s() * 1_000_000)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a task; `close` awaits it, and cancels it at the deadline."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.critical("task_failed", task=task.get_name(), exc_info=task.exception())

    # -- ConnectionOwner -----------------------------------------------------------------------------------

    def expects_proxy_header(self, address: str) -> bool:
        """See `ConnectionOwner.expects_proxy_header`."""
        return self.settings.proxy_protocol and self._proxies.trusts(address)

    def check_handshake(self, connection: Connection, request: Request) -> HandshakeRejection | None:
        """See `ConnectionOwner.check_handshake`."""
        peer = connection.address
        connection.address = self._proxies.client_address(peer, request.headers.get_all("X-Forwarded-For"))
        address = self._get_address(connection)
        connection.limiter.address = address.messages
        if len(self._connections) > self.settings.connections_max:
            return HandshakeRejection(503, "the shard has too many connections", "connections_max", RETRY_AFTER_S)
        if address.connections >= self.settings.connections_per_address_max:
            reason = "too many connections from this address"
            return HandshakeRejection(429, reason, "connections_per_address_max", RETRY_AFTER_S)
        if self._proxies.trusts(peer) and not address.handshakes.try_take(time.monotonic()):
            return HandshakeRejection(
                429, "too many handshakes from this address", "address_handshakes", RETRY_AFTER_S
            )
        origin, host = header(request, "Origin"), header(request, "Host")
        if not self._origins.allows(origin, host):
            self._log_origin(connection, origin or "", host or "")
            return HandshakeRejection(403, "this origin may not connect", "origin")
        return None

    def find_page(self, request: Request) -> Response | None:
        """See `ConnectionOwner.find_page`."""
        found = static_files.find(self._environment.pages, request)
        return found.response() if found is not None else None

    def create_receiver(self, connection: Connection, request: Request) -> Receiver[Connection]:
        """See `ConnectionOwner.create_receiver`."""
        self._get_address(connection).connections += 1
        return SessionHandshake(
            connection,
            token=token_from_request(request, in_query=self.settings.token_in_query),
            authenticator=self._authenticator,
            sessions=self.registry,
            context=self.context,
        )

    def connection_closed(self, connection: Connection) -> None:
        """See `ConnectionOwner.connection_closed`."""
        self._connections.discard(connection)
        if connection.was_opened:
            self._get_address(connection).connections -= 1
        if not self._connections:
            self._all_closed.set()

    def throttle(self, connection: Connection, scope: LimitScope) -> None:
        """See `ConnectionOwner.throttle`."""
        self._throttle.add(connection)
        if scope is LimitScope.ADDRESS:
            self._log_address(connection)

    def unthrottle(self, connection: Connection) -> None:
        """See `ConnectionOwner.unthrottle`."""
        self._throttle.remove(connection)

    # -- addresses ------------------------------------------------------------------------------------------

    def _get_address(self, connection: Connection) -> Address:
        return self._addresses.get(connection.address, time.monotonic())

    def may_connect(self, peer: str) -> bool:
        """Return whether a peer may start a handshake. A proxy always may: its client is known after the request."""
        now_s = time.monotonic()
        return self._proxies.trusts(peer) or self._addresses.get(peer, now_s).handshakes.try_take(now_s)

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
                connections=self._get_address(connection).connections,
                setting="edge.messages_per_second_per_address_max",
                limit=self.settings.messages_per_second_per_address_max,
                hint="a proxy missing in edge.trusted_proxies, many players behind one address, or an attack",
            )

    def create_connection(self, peer: str, accepted_s: float) -> Connection:
        """See `AcceptorOwner.create_connection`."""
        now_s = time.monotonic()
        connection = Connection(
            self.settings,
            limiter=RateLimiter(self.settings, self._addresses.get(peer, now_s).messages, now_s),
            counters=self.counters,
            owner=self,
            accepted_s=accepted_s,
        )
        self._connections.add(connection)
        self._all_closed.clear()
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
                with self._isolation.guard("edge sweep", connection.address):
                    self._check_timeouts(connection, now_s)
            with self._isolation.guard("edge sweep", "sessions"):
                self.registry.expire(now_s)
            self._addresses.expire(time.monotonic())
            if self.certificates is not None:
                with self._isolation.guard("edge sweep", "certificates"):
                    self.certificates.reload_if_changed()

    def _check_timeouts(self, connection: Connection, now_s: float) -> None:
        settings = self.settings
        if connection.has_received:
            connection.has_received, connection.last_received_s = False, now_s
        if connection.closing_since_s is not None:
            if now_s - connection.closing_since_s > settings.close_timeout_s:
                connection.abort()
        elif connection.receiver is not None:
            connection.receiver.check_timeouts(now_s)
            if now_s - connection.last_received_s >= settings.heartbeat_interval_s:
                connection.ping()
        elif now_s - connection.accepted_s > settings.handshake_timeout_s:
            self.counters.refused["handshake_timeout"] += 1
            connection.abort()
