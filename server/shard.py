"""A shard: the composition root, the only place that knows all parts.

    start   the ports are opened, not ready; then the stores are waited for, with back-off; then ready
    upkeep  once a second: the directory kept (server/placement/lease_keeper.py); beside it durable rooms are saved
    stop    not ready; nobody is sent here, joins are refused; rooms closed and saved; players told Goodbye; the
            directory left; stores flushed

Redis away: rooms tick on, joins get a retryable Error, leases are renewed when it is back. MongoDB away: rooms tick
on, saves wait and drain by themselves.
"""

from __future__ import annotations

import asyncio
import gc
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import msgspec
import structlog

from tickwire.matchmaking import Matchmaker, MatchmakingError, ShardInfo, TicketKeys, Ttls
from tickwire.matchmaking.loop_timeout import LoopTimeout
from tickwire.matchmaking.queue import Queues
from tickwire.schemas.messages import ErrorCode, Goodbye
from tickwire.server import __version__
from tickwire.server.admin.api import AdminApi
from tickwire.server.admin.collectors import collect_edge, collect_matchmaking, collect_rooms, collect_storage
from tickwire.server.admin.http_server import OperationsServer
from tickwire.server.admin.operator_policy import OperatorPolicy
from tickwire.server.admin.service import AdminService
from tickwire.server.config import ALL_ADDRESSES, RedisSettings, Settings
from tickwire.server.edge import static_files
from tickwire.server.edge.auth.authenticator import create_authenticator
from tickwire.server.edge.certificates import TlsCertificate
from tickwire.server.edge.counters import EdgeCounters
from tickwire.server.edge.resume_tokens import ResumeTokens
from tickwire.server.edge.server import EdgeServer, EdgeServices
from tickwire.server.edge.session_registry import SessionRegistry
from tickwire.server.errors import ConfigError, NotSavable, Unavailable
from tickwire.server.fault_isolation import FaultIsolation
from tickwire.server.game_modules import load_modes, load_room_types
from tickwire.server.migration.room_migration import RoomMigrator
from tickwire.server.migration.session_recovery import SessionRecovery
from tickwire.server.migration.session_transfer import SessionTransfer
from tickwire.server.observability import logs
from tickwire.server.observability.health import Health
from tickwire.server.observability.loop_monitor import LoopMonitor
from tickwire.server.observability.metrics import Metrics
from tickwire.server.persistence.saver import RoomSaver, close_fenced
from tickwire.server.persistence.transactions import TransactionService
from tickwire.server.placement.backfill import BackfillService
from tickwire.server.placement.join_service import JoinService
from tickwire.server.placement.lease_keeper import LeaseKeeper
from tickwire.server.placement.queue_service import QueueService
from tickwire.server.placement.queue_views import QueueViews
from tickwire.server.placement.redis_setup import RedisSetup
from tickwire.server.placement.room_quota import RoomQuota
from tickwire.server.rooms.host import RoomHost
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.storage import MongoStore, WriteBehind

log = structlog.get_logger(__name__)

UPKEEP_INTERVAL_S = 1.0
RETRY_S_MAX = 5.0
STEP_S_MIN = 0.2
"""The least time of a step of the shutdown."""
GC_THRESHOLD = (20_000, 50, 100)
"""The collector looks this seldom: what a tick makes has no cycles, and looking at all of it costs milliseconds."""

SWITCH_S = 0.0005
"""So long may a thread that packs or writes worlds keep the loop waiting; Python's default is ten times that."""


class Shard:
    """One server process.

    Args:
        settings: all of them.
        shard_id: unique in the fleet; `shard_name` and a random part when empty.
    """

    def __init__(self, settings: Settings, *, shard_id: str = "") -> None:
        self.shard_id = shard_id or f"{settings.shard_name}-{secrets.token_hex(4)}"
        self.settings = settings
        self.health = Health()
        self.metrics = Metrics(__version__)
        self.isolation = FaultIsolation()
        self._matchmaker = matchmaker_of(settings.redis)
        self.host = RoomHost(
            load_room_types(settings.rooms), on_closed=self._room_closed, observe_tick=self.metrics.observe_tick
        )
        self._store = MongoStore(
            settings.mongo.url,
            settings.mongo.database,
            call_s_max=settings.mongo.deadline_s,
            timeout=LoopTimeout,
            isolation=self.isolation,
        )
        self._write_behind = WriteBehind(
            self._store.worlds, on_fenced=partial(close_fenced, self.host), now_s=time.monotonic
        )
        self._saver = RoomSaver(self._store.worlds, self._write_behind, self._store.quarantine, self.isolation)
        self._dealing = TransactionService(
            self._store.players,
            self._store.ledger,
            on_fenced=partial(close_fenced, self.host),
            timeout_s=settings.mongo.deadline_s,
        )
        self._leaseholder = LeaseKeeper(
            ShardInfo(
                self.shard_id,
                url="",
                build=settings.build or __version__,
                region=settings.region,
                room_types=tuple(self.host.room_types),
                rooms_max=settings.capacity.rooms_max,
                load_max=settings.capacity.load_max,
            ),
            self._matchmaker,
            self.host,
            wait_saved=self._saver.wait_saved,
            isolation=self.isolation,
            now_s=time.monotonic,
        )
        keys = ticket_keys(settings)
        quota = RoomQuota(
            per_player=settings.edge.rooms_per_minute_max,
            per_address=settings.edge.rooms_per_minute_per_address_max,
            now_s=time.monotonic,
        )
        self.join_service = JoinService(
            shard_id=self.shard_id,
            region=settings.region,
            host=self.host,
            matchmaker=self._matchmaker,
            lease_keeper=self._leaseholder,
            saver=self._saver,
            transactions=self._dealing,
            quota=quota,
            keys=keys,
            now_s=self._matchmaker.clock.now_s,
        )
        self._queues = Queues(
            load_modes(settings.rooms, self.host.room_types),
            self._matchmaker,
            shard_id=self.shard_id,
            region=settings.region,
            on_match=self.metrics.observe_match,
        )
        self._queueing = QueueService(
            region=settings.region,
            queues=self._queues,
            join_service=self.join_service,
            quota=quota,
            now_s=self._matchmaker.clock.now_s,
        )
        self._backfill = BackfillService(
            region=settings.region,
            queues=self._queues,
            host=self.host,
            isolation=self.isolation,
            now_s=self._matchmaker.clock.now_s,
        )
        self.sessions = SessionRegistry(
            window_s=settings.edge.resume_window_s,
            disconnected_max=settings.edge.connections_max,
            disconnected_per_address_max=settings.edge.connections_per_address_max,
            duplicate_sessions=settings.edge.duplicate_sessions,
            counters=EdgeCounters(),
            tokens=ResumeTokens(keys.keys, keys.current, self.shard_id),
        )
        self._passing = SessionTransfer(
            shard_id=self.shard_id,
            region=settings.region,
            sessions=self.sessions,
            queue_service=self._queueing,
            matchmaker=self._matchmaker,
        )
        session_locator = SessionRecovery(
            shard_id=self.shard_id,
            host=self.host,
            matchmaker=self._matchmaker,
            worlds=self._store.worlds,
            join_service=self.join_service,
            session_transfer=self._passing,
        )
        self._ruling = OperatorPolicy(
            self._store.bans,
            self._store.tunings,
            host=self.host,
            sessions=self.sessions,
            shard_labels={"region": settings.region, "build": settings.build or __version__, "shard": self.shard_id},
            now_s=self._matchmaker.clock.now_s,
            isolation=self.isolation,
        )
        self.host.tune = self._ruling.apply_tuning
        self.edge = EdgeServer(
            settings.edge,
            self.sessions,
            EdgeServices(
                authenticator=create_authenticator(settings.auth, self._matchmaker.clock.now_s),
                join_service=self.join_service,
                queue=self._queueing,
                transactions=self._dealing,
                session_locator=session_locator,
                bans=self._ruling,
            ),
            wall_s=self._matchmaker.clock.now_s,
            pages=static_files.load(settings.listen.pages),
            isolation=self.isolation,
            on_sweep_ended=self._task_done,
        )
        self._migration = RoomMigrator(
            shard_id=self.shard_id,
            region=settings.region,
            build=settings.build or __version__,
            host=self.host,
            matchmaker=self._matchmaker,
            join_service=self.join_service,
            saver=self._saver,
            transactions=self._dealing,
            queue_service=self._queueing,
            session_transfer=self._passing,
            spawn=self.edge.spawn,
            on_moved=self._room_moved,
        )
        self.on_drain: Callable[[], None] = lambda: None
        self.on_failed: Callable[[], None] = lambda: None
        self.join_service.session_restorer = self.sessions
        self._administration = AdminService(
            lambda: self._leaseholder.shard,
            host=self.host,
            edge=self.edge,
            queue_views=QueueViews(self._queues),
            policy=self._ruling,
            matchmaker=self._matchmaker,
            health=self.health,
            load=lambda: self._tick_share,
        )
        self._admin = AdminApi(self._administration, settings.operations.token)
        self.operations = OperationsServer(self._scrape, self.health, self._admin, settings.operations.console)
        self._store.calls.observe = self.metrics.observe_mongo
        runners = (self._matchmaker.scripts, *self._queues.script_runners)
        for calls in runners:
            calls.observe = self.metrics.observe_redis
        self._redis_setup = RedisSetup(self._matchmaker.client, runners, settings.redis.deadline_s)
        self._pulse = LoopMonitor(self.metrics.observe_lag, self.metrics.observe_gc_pause)
        self._tasks: list[asyncio.Task[None]] = []
        self.refusal: ConfigError | None = None
        self._is_stopping = False
        self._tick_seconds_seen = 0.0
        self._tick_share = 0.0

    @property
    def url(self) -> str:
        """What other shards tell clients to connect to."""
        listen = self.settings.listen
        scheme = "wss" if listen.certificate else "ws"
        host = f"[{listen.host}]" if ":" in listen.host else listen.host
        return listen.url or f"{scheme}://{host}:{self.edge.port}"

    # -- life -----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Opens the ports and starts all tasks; ready as soon as the stores answer.

        Raises:
            ConfigError: a port is in use, or the certificate cannot be read.
        """
        settings = self.settings
        await self.edge.start(settings.listen.host, settings.listen.port, certificates(settings))
        try:
            await self.operations.start(settings.operations.host, settings.operations.port)
        except ConfigError:
            await self.edge.close(_goodbye("the server cannot start"), deadline_s=0)
            raise
        self._leaseholder.shard = msgspec.structs.replace(self._leaseholder.shard, url=self.url)
        self.health.block("redis", "Redis has not answered yet")
        self.health.block("mongo", "MongoDB has not answered yet")
        self.health.clear("starting")
        for name, work in (
            ("upkeep", self._upkeep()),
            ("pulse", self._pulse.run()),
            ("tick watch", self.host.monitor_ticks()),
            ("saver", self._saver.run(self.host)),
            ("write-behind", self._write_behind.run()),
            ("directory calls", self._leaseholder.run_updates()),
            ("watch mongo", self._watch_mongo()),
            ("queues", self._queues.run()),
            ("operator policy", self._ruling.run()),
        ):
            task = asyncio.create_task(work, name=name)
            task.add_done_callback(self._task_done)
            self._tasks.append(task)
        # What was made until now lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLD)
        sys.setswitchinterval(SWITCH_S)
        if not settings.listen.url and settings.listen.host in ALL_ADDRESSES:
            log.warning(
                "player_url_not_reachable",
                url=self.url,
                hint="set listen.url: other shards redirect players to this address, which leads nowhere",
            )
        log.info("shard_started", shard_id=self.shard_id, url=self.url, operations_port=self.operations.port)

    async def drain(self) -> None:
        """Move every room, with its players, to other shards, for at most `drain_timeout_s`; accept no new players.

        Rooms that could not be moved are left for `stop`. With `drain_timeout_s = 0` no room is moved.
        """
        self.health.block("draining", "the shard gives its rooms away")
        self.join_service.is_draining = True
        with suppress(MatchmakingError):
            await self._leaseholder.drain()
        if not self.settings.drain_timeout_s:
            return
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self.settings.drain_timeout_s
        left = await self._migration.migrate_all(self.settings.drain_timeout_s)
        sessions_left = await self._passing.transfer_all(max(0.0, until_s - loop.time()))
        log.info("shard_drained", rooms_left=left, sessions_left=sessions_left, **self._migration.results)

    async def stop(self, reason: str = "the server is stopping") -> bool:
        """Saves every room, tells every player, and leaves the directory; bounded by `shutdown_timeout_s`.

        A step that fails does not keep the others from being done: rooms are saved whatever Redis says.

        Returns:
            Whether all that had changed was saved.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self.settings.shutdown_timeout_s

        def left_s(share: float) -> float:
            """A share of the time that is left; a little also when there is none, so that each step is tried."""
            return max(STEP_S_MIN, (until_s - loop.time()) * share)

        self._is_stopping = True
        self.health.block("stopping", reason)
        self.join_service.is_draining = True
        with _shutdown_step("announce"), suppress(MatchmakingError):
            await self._leaseholder.drain()
        with _shutdown_step("close rooms"):
            self._saver.save_changed(self.host)
            self.host.close_all(reason)
        with _shutdown_step("close connections"):
            await self.edge.close(_goodbye(reason), deadline_s=left_s(0.2))
        is_flushed = False
        with _shutdown_step("flush storage"):
            is_flushed = await self._write_behind.flush(left_s(0.6))
        with _shutdown_step("release leases"):
            await self._leaseholder.flush(left_s(0.5))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with _shutdown_step("leave queues"):
            await self._queues.close()
        with _shutdown_step("leave directory"), suppress(MatchmakingError):
            await self._leaseholder.deregister()
        with _shutdown_step("close operations port"):
            await self.operations.stop()
        with _shutdown_step("close Redis"):
            await self._matchmaker.aclose()
        with _shutdown_step("close MongoDB"):
            await self._store.ledger.close()
            self._write_behind.close()
            self._store.close()
        log.info("shard_stopped", shard_id=self.shard_id, reason=reason, is_flushed=is_flushed)
        return is_flushed

    # -- upkeep ---------------------------------------------------------------------------------------------

    async def _upkeep(self) -> None:
        pause_s = UPKEEP_INTERVAL_S
        last_s = time.monotonic()
        while True:
            try:
                self._measure(time.monotonic() - last_s)
                last_s = time.monotonic()
                await self._redis_setup.check(last_s)
                self._backfill.update()
                heard = await self._leaseholder.sync(self._tick_share)
                if heard.has_offers:
                    await self._migration.accept()
                if heard.is_drain_requested:
                    self.on_drain()
                self.health.clear("redis")
                pause_s = UPKEEP_INTERVAL_S
            except MatchmakingError as error:
                self.health.block("redis", error.detail)
                log.warning("redis_unavailable", error=error.detail, retry_s=round(pause_s, 2))
                pause_s = min(RETRY_S_MAX, pause_s * 1.5)
            await asyncio.sleep(pause_s)

    async def _watch_mongo(self) -> None:
        pause_s, is_set_up, is_migrated = UPKEEP_INTERVAL_S, False, False
        while True:
            try:
                if not is_set_up:
                    await self._store.check_setup()
                    is_set_up = True
                await self._store.check()
                if not is_migrated:
                    await self._store.check_schema(may_migrate=self.settings.mongo.migrate)
                    is_migrated = True
                self.health.clear("mongo")
                pause_s = UPKEEP_INTERVAL_S
            except ConfigError as error:
                self._refuse(error)
                await asyncio.Event().wait()
            except (Unavailable, NotSavable) as error:
                self.health.block("mongo", error.detail)
                log.warning("mongo_unavailable", error=error.detail, retry_s=round(pause_s, 2))
                pause_s = min(RETRY_S_MAX, pause_s * 1.5)
            await asyncio.sleep(pause_s)

    def _refuse(self, error: ConfigError) -> None:
        """End the shard, which cannot run with these settings: that was found out after its start."""
        self.refusal = error
        log.critical("shard_refused", error=str(error))
        self.health.fail("settings", str(error))
        self.on_failed()

    def _measure(self, elapsed_s: float) -> None:
        tick_seconds = self.host.counters.tick_seconds
        self._tick_share = (tick_seconds - self._tick_seconds_seen) / max(elapsed_s, 1e-3)
        self._tick_seconds_seen = tick_seconds

    def _room_closed(self, simulation: RoomRuntime, reason: str) -> None:
        self._saver.save(simulation, is_last=True)
        self._saver.evict(simulation.room.room_id)
        self._dealing.evict(simulation)
        self._leaseholder.room_closed(simulation)
        self.join_service.room_closed(simulation)

    def _room_moved(self, simulation: RoomRuntime) -> None:
        room_id = simulation.room.room_id
        self._saver.evict(room_id)
        self._dealing.evict(simulation)
        self._leaseholder.room_moved(room_id)
        self.join_service.room_moved(simulation)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        """End liveness when one of the shard's own tasks ends before `stop` ends it, for whatever reason."""
        if self._is_stopping and task.cancelled():
            return
        error = None if task.cancelled() else task.exception()
        log.critical("task_failed", task=task.get_name(), exc_info=error)
        self.health.fail(task.get_name(), "its task has failed: restart this shard")
        self.on_failed()

    def _scrape(self) -> bytes:
        metrics = self.metrics
        metrics.set_gauge("ready", self.health.is_ready)
        metrics.set_gauge("tick_utilization", self._tick_share)
        collect_edge(metrics, self.edge)
        collect_rooms(metrics, self.host)
        collect_storage(metrics, self._write_behind, self._dealing, self._saver)
        collect_matchmaking(
            metrics, self._matchmaker, self._redis_setup, self._queues, self._queueing, self._leaseholder
        )
        metrics.set_totals("migrations", self._migration.results)
        metrics.set_totals("admin_calls", self._admin.results)
        metrics.set_totals("background_faults", self.isolation.faults)
        metrics.set_total("log_lines_lost", logs.writer.lines_lost)
        return metrics.render()


def matchmaker_of(redis: RedisSettings) -> Matchmaker:
    """The door to Redis; connected when it is first used.

    Raises:
        ConfigError: the URL is none of Redis's.
    """
    lease_ms = int(redis.lease_s * 1000)
    ttls = Ttls(lease_ms, lease_ms, int(redis.reservation_s * 1000))
    try:
        return Matchmaker.from_url(redis.url, namespace=redis.namespace, ttls=ttls, deadline_s=redis.deadline_s)
    except ValueError as error:
        raise ConfigError(f"redis.url: {error}") from error


async def ask_to_drain(redis: RedisSettings, shard_id: str) -> bool | None:
    """Ask a shard of the fleet to drain; see `Directory.request_drain`.

    Raises:
        MatchmakingError: Redis does not answer.
    """
    matchmaker = matchmaker_of(redis)
    try:
        return await matchmaker.directory.request_drain(shard_id)
    finally:
        await matchmaker.aclose()


def ticket_keys(settings: Settings) -> TicketKeys:
    """The keys given, or one made for this process alone."""
    tickets = settings.tickets
    if tickets.keys:
        return TicketKeys({name: key.encode() for name, key in tickets.keys.items()}, tickets.current)
    return TicketKeys({"own": secrets.token_bytes(32)}, "own")


def certificates(settings: Settings) -> TlsCertificate | None:
    """What TLS is spoken with; None for plain text, which must be asked for.

    Raises:
        ConfigError: the files cannot be read, or there are none.
    """
    listen = settings.listen
    if listen.certificate:
        return TlsCertificate(listen.certificate, listen.key)
    if not listen.plaintext:
        raise ConfigError("listen.certificate: is not set; where something else speaks TLS, set listen.plaintext")
    return None


@contextmanager
def _shutdown_step(name: str) -> Iterator[None]:
    """Contain what a step of the shutdown raises, so that the next ones are done."""
    try:
        yield
    except Exception:
        log.exception("shutdown_step_failed", step=name)


def _goodbye(reason: str) -> Goodbye:
    return Goodbye(ErrorCode.UNAVAILABLE, reason, come_back=True, retry_after_ms=1000)
