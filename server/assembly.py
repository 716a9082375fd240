"""Wires the parts of a shard: creates each part and passes it to the parts that depend on it.

No part is changed after its construction. Three references lead to parts that are created later: the room host
reports closed rooms to placement and persistence, and applies the tuning of the operator policy; the session registry
restores sessions with the context of the edge server. All are functions that look the parts up when they are called,
which is never before `build` returns.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import msgspec

from tickwire.matchmaking import Matchmaker, ShardInfo, TicketKeys, Ttls
from tickwire.matchmaking.loop_timeout import LoopTimeout
from tickwire.matchmaking.presence_wake import PresenceWake
from tickwire.matchmaking.queue import Queues
from tickwire.matchmaking.redis_connection import RedisConnection
from tickwire.server import __version__
from tickwire.server.admin.api import AdminApi
from tickwire.server.admin.ban_enforcer import BanEnforcer
from tickwire.server.admin.collectors import (
    collect_directory,
    collect_edge,
    collect_presence,
    collect_queues,
    collect_recordings,
    collect_redis,
    collect_rooms,
    collect_storage,
)
from tickwire.server.admin.http_server import OperationsServer
from tickwire.server.admin.operator_policy import OperatorPolicy
from tickwire.server.admin.operator_tokens import OperatorTokens
from tickwire.server.admin.operators import Operators
from tickwire.server.admin.player_service import AccountChanges, PlayerContext, PlayerService
from tickwire.server.admin.revocation_enforcer import RevocationEnforcer
from tickwire.server.admin.service import AdminContext, AdminService
from tickwire.server.admin.tuning_service import TuningService
from tickwire.server.config import Operations, RedisSettings, Settings
from tickwire.server.edge import static_files
from tickwire.server.edge.auth.authenticator import AccountAuthentication, create_authenticator
from tickwire.server.edge.certificates import TlsCertificate
from tickwire.server.edge.counters import EdgeCounters
from tickwire.server.edge.resume_tokens import ResumeTokens
from tickwire.server.edge.server import EdgeEnvironment, EdgeServer, EdgeServices
from tickwire.server.edge.session_registry import SessionRegistry
from tickwire.server.edge.session_token import TokenPolicy
from tickwire.server.errors import ConfigError
from tickwire.server.fault_isolation import FaultIsolation
from tickwire.server.game_modules import load_modes, load_room_types
from tickwire.server.migration.handoff_steps import HandoffSteps
from tickwire.server.migration.migrating_players import MigratingPlayers
from tickwire.server.migration.migration_context import MigrationContext
from tickwire.server.migration.room_receiver import RoomReceiver
from tickwire.server.migration.room_sender import RoomSender
from tickwire.server.migration.session_recovery import SessionRecovery
from tickwire.server.migration.session_transfer import SessionTransfer
from tickwire.server.observability import logs
from tickwire.server.observability.health import Health
from tickwire.server.observability.loop_monitor import LoopMonitor
from tickwire.server.observability.metrics import Metrics
from tickwire.server.persistence.room_transactions import RoomTransactionService
from tickwire.server.persistence.saver import RoomSaver, close_fenced_room
from tickwire.server.persistence.transactions import TransactionService
from tickwire.server.placement.backfill import BackfillService
from tickwire.server.placement.directory_publisher import DirectoryPublisher
from tickwire.server.placement.hosted_rooms import HostedRooms
from tickwire.server.placement.join_service import JoinService
from tickwire.server.placement.lease_keeper import LeaseKeeper
from tickwire.server.placement.queue_service import QueueService
from tickwire.server.placement.queue_views import QueueViews
from tickwire.server.placement.ready_shards import ReadyShards
from tickwire.server.placement.redis_setup import RedisSetup
from tickwire.server.placement.room_quota import RoomQuota
from tickwire.server.placement.skill_lookup import SkillLookups
from tickwire.server.placement.ticket_service import TicketService
from tickwire.server.presence.presence_keeper import PresenceKeeper
from tickwire.server.presence.presence_settings import PresenceSettings
from tickwire.server.recording.player_reports import PlayerReports
from tickwire.server.recording.recording_service import RecordingEnvironment, RecordingService
from tickwire.server.rooms.host import HostCallbacks, RoomHost
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.shard_identity import ShardIdentity
from tickwire.server.storage import CallSettings, MongoStore, WriteBehind
from tickwire.server.tick_load import TickLoad
from tickwire.server.tokens.access_tokens import AccessTokenDecoder
from tickwire.services.accounts.account_parts import create_pending_operations
from tickwire.services.accounts.account_store import AccountStore
from tickwire.services.accounts.token_parts import TokenDatabase, create_token_decoder, create_token_parts


class Parts(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The parts of one shard. `tickwire.server.shard.Shard` starts and stops them; tests reach them through it."""

    shard_id: str
    health: Health
    metrics: Metrics
    isolation: FaultIsolation
    tick_load: TickLoad
    loop_monitor: LoopMonitor
    matchmaker: Matchmaker
    redis_setup: RedisSetup
    store: MongoStore
    write_behind: WriteBehind
    saver: RoomSaver
    transactions: TransactionService
    room_transactions: RoomTransactionService
    host: RoomHost
    recordings: RecordingService
    reports: PlayerReports
    directory_publisher: DirectoryPublisher
    lease_keeper: LeaseKeeper
    hosted_rooms: HostedRooms
    join_service: JoinService
    queues: Queues
    queue_service: QueueService
    backfill: BackfillService
    sessions: SessionRegistry
    presence: PresenceKeeper
    presence_wake: PresenceWake
    edge: EdgeServer
    session_transfer: SessionTransfer
    session_recovery: SessionRecovery
    room_sender: RoomSender
    room_receiver: RoomReceiver
    operator_policy: OperatorPolicy
    admin_service: AdminService
    operations: OperationsServer


def build(settings: Settings, *, shard_id: str, on_task_ended: Callable[[asyncio.Task[None]], None]) -> Parts:
    """Create all parts of a shard; nothing is started or connected.

    Args:
        settings: all of them.
        shard_id: unique in the fleet.
        on_task_ended: receives a background task of a part when it ends.

    Raises:
        ConfigError: a setting cannot be used, or the modules of the game cannot be imported.
    """
    # The host calls these parts and is created before them; see the module's docstring.
    saver: RoomSaver
    transactions: TransactionService
    room_transactions: RoomTransactionService
    lease_keeper: LeaseKeeper
    tickets: TicketService
    operator_policy: OperatorPolicy
    edge: EdgeServer

    def room_closed(runtime: RoomRuntime, reason: str) -> None:
        saver.save(runtime, is_last=True)
        saver.evict(runtime)
        transactions.evict(runtime)
        lease_keeper.room_closed(runtime)
        tickets.room_closed(runtime)

    def room_moved(runtime: RoomRuntime) -> None:
        saver.evict(runtime)
        transactions.evict(runtime)
        lease_keeper.room_moved(runtime.room.room_id)
        tickets.room_moved(runtime)

    def commit(runtime: RoomRuntime) -> None:
        room_transactions.commit(runtime)

    def spawn(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        return edge.spawn(work, name)

    def tune(room: Room) -> None:
        operator_policy.tunings.apply(room)

    identity = ShardIdentity(shard_id, settings.region, settings.build or __version__)
    health, metrics, isolation = Health(), Metrics(__version__), FaultIsolation()
    redis = create_redis_connection(settings.redis, observe=metrics.observe_redis)
    matchmaker = create_matchmaker(settings.redis, redis)
    fleet_now_s = matchmaker.clock.now_s
    recordings = RecordingService(
        settings.recordings,
        RecordingEnvironment(
            now_s=time.monotonic,
            wall_s=fleet_now_s,
            until_due_s=lambda: -host.tick_scheduler.overdue_s(),
            spawn=spawn,
        ),
    )
    host = RoomHost(
        load_room_types(settings.rooms),
        HostCallbacks(
            on_closed=room_closed,
            tune=tune,
            observe_tick=metrics.observe_tick,
            commit=commit,
            observer=recordings,
        ),
    )
    reports = PlayerReports(recordings, host.get, time.monotonic)
    tick_load = TickLoad(lambda: host.counters.tick_seconds)

    store = MongoStore(
        settings.mongo.url,
        settings.mongo.database,
        calls=CallSettings(settings.mongo.deadline_s, LoopTimeout, metrics.observe_mongo),
        isolation=isolation,
    )
    on_fenced = partial(close_fenced_room, host)
    write_behind = WriteBehind(store.worlds, on_fenced=on_fenced, now_s=time.monotonic)
    saver = RoomSaver(store.worlds, write_behind, store.quarantine, isolation)
    transactions = TransactionService(
        store.players, store.ledger, on_fenced=on_fenced, timeout_s=settings.mongo.deadline_s
    )
    room_transactions = RoomTransactionService(transactions, time.monotonic)

    keys = create_ticket_keys(settings)
    sessions = SessionRegistry(
        settings.edge,
        EdgeCounters(),
        ResumeTokens(keys.keys, keys.current, shard_id),
        get_context=lambda: edge.context,
    )
    presence = PresenceKeeper(
        matchmaker.presence,
        create_presence_settings(settings, shard_id),
        time.monotonic,
        isolation,
    )
    quota = RoomQuota(
        per_player=settings.edge.rooms_per_minute_max,
        per_address=settings.edge.rooms_per_minute_per_address_max,
        now_s=time.monotonic,
    )
    publisher = DirectoryPublisher(matchmaker.leases, shard_id, isolation=isolation, now_s=time.monotonic)
    lease_keeper = LeaseKeeper(
        create_shard_info(identity, settings, host), matchmaker, host, publisher, wait_saved=saver.wait_saved
    )
    tickets = TicketService(shard_id, keys, reservation_s=matchmaker.ttls.reservation_ms / 1000, now_s=fleet_now_s)
    hosted_rooms = HostedRooms(host, lease_keeper, saver, transactions, sessions)
    join_service = JoinService(identity, matchmaker, hosted_rooms, tickets, quota)
    queues = Queues(
        load_modes(settings.rooms, host.room_types),
        matchmaker,
        shard_id=shard_id,
        region=identity.region,
        on_match=metrics.observe_match,
    )
    queue_service = QueueService(
        queues=queues,
        join_service=join_service,
        quota=quota,
        skills=SkillLookups(store.players),
        now_s=fleet_now_s,
    )
    backfill = BackfillService(
        region=identity.region, queues=queues, host=host, isolation=isolation, now_s=fleet_now_s
    )

    ready_shards = ReadyShards(matchmaker, shard_id=shard_id, region=identity.region)
    session_transfer = SessionTransfer(shard_id, sessions, queue_service, matchmaker.session_handoffs, ready_shards)
    session_recovery = SessionRecovery(
        matchmaker.directory, hosted_rooms, store.worlds, join_service, session_transfer
    )
    operator_policy = OperatorPolicy(
        BanEnforcer(store.bans, sessions, fleet_now_s, isolation),
        RevocationEnforcer(store.revocations, sessions, fleet_now_s, isolation),
        TuningService(store.tunings, host, identity.labels, fleet_now_s, isolation),
    )
    authenticator = create_authenticator(
        settings.auth,
        fleet_now_s,
        AccountAuthentication(
            create_account_decoder(settings, store, fleet_now_s), operator_policy.revocations.check
        ),
    )
    edge = EdgeServer(
        settings.edge,
        sessions,
        EdgeServices(
            authenticator=authenticator,
            join_service=join_service,
            queue=queue_service,
            transactions=transactions,
            session_locator=session_recovery,
            bans=operator_policy.bans,
            reports=reports,
            token_policy=TokenPolicy(
                settings.auth.token_renewal_s,
                settings.auth.on_token_expired,
                settings.auth.leeway_s + settings.auth.token_grace_s,
            ),
            presence=presence,
        ),
        EdgeEnvironment(
            wall_s=fleet_now_s,
            isolation=isolation,
            on_sweep_ended=on_task_ended,
            pages=static_files.load(settings.listen.pages),
        ),
    )
    migration = MigrationContext(identity, host, HandoffSteps(matchmaker, shard_id), edge.spawn)
    players = MigratingPlayers(shard_id, matchmaker.session_handoffs, sessions, queue_service, session_transfer)
    room_sender = RoomSender(migration, ready_shards, transactions, players, on_moved=room_moved)
    room_receiver = RoomReceiver(migration, join_service, hosted_rooms, saver, players)

    redis_setup = RedisSetup(
        redis.client,
        (matchmaker.scripts, *queues.script_runners, *matchmaker.presence.script_runners),
        settings.redis.deadline_s,
    )
    admin_service = AdminService(
        AdminContext(
            info=lambda: lease_keeper.shard,
            host=host,
            edge=edge,
            queue_views=QueueViews(queues),
            policy=operator_policy,
            matchmaker=matchmaker,
            health=health,
            recordings=recordings,
            load=lambda: tick_load.share,
        )
    )
    player_service = PlayerService(
        PlayerContext(
            shard_id=shard_id,
            store=store,
            accounts=AccountStore(store),
            changes=create_account_changes(settings, store, fleet_now_s),
            presence=matchmaker.presence,
            sessions=sessions,
            now_s=fleet_now_s,
        )
    )
    operators = create_operators(settings.operations, fleet_now_s)
    admin = AdminApi(admin_service, operators, player_service, store.audit, fleet_now_s)

    def scrape() -> bytes:
        metrics.set_gauge("ready", health.is_ready)
        metrics.set_gauge("tick_utilization", tick_load.share)
        collect_edge(metrics, edge)
        metrics.set_totals("token_refusals", authenticator.refusals)
        collect_rooms(metrics, host)
        collect_recordings(metrics, recordings, reports)
        collect_storage(metrics, write_behind, transactions, saver)
        metrics.set_gauge("room_transactions_pending", room_transactions.pending)
        metrics.set_total("room_transactions_abandoned", room_transactions.abandoned)
        collect_presence(metrics, presence)
        collect_redis(metrics, matchmaker, redis_setup, queues)
        collect_directory(metrics, lease_keeper)
        collect_queues(metrics, queues, queue_service)
        metrics.set_totals("migrations", room_sender.results + room_receiver.results)
        metrics.set_totals("admin_calls", admin.results)
        metrics.set_totals("background_faults", isolation.faults)
        metrics.set_total("log_lines_lost", logs.writer.lines_lost)
        return metrics.render()

    return Parts(
        shard_id=shard_id,
        health=health,
        metrics=metrics,
        isolation=isolation,
        tick_load=tick_load,
        loop_monitor=LoopMonitor(metrics.observe_lag, metrics.observe_gc_pause),
        matchmaker=matchmaker,
        redis_setup=redis_setup,
        store=store,
        write_behind=write_behind,
        saver=saver,
        transactions=transactions,
        room_transactions=room_transactions,
        host=host,
        recordings=recordings,
        reports=reports,
        directory_publisher=publisher,
        lease_keeper=lease_keeper,
        hosted_rooms=hosted_rooms,
        join_service=join_service,
        queues=queues,
        queue_service=queue_service,
        backfill=backfill,
        sessions=sessions,
        presence=presence,
        presence_wake=PresenceWake(redis.client, settings.redis.namespace, shard_id, presence.wake),
        edge=edge,
        session_transfer=session_transfer,
        session_recovery=session_recovery,
        room_sender=room_sender,
        room_receiver=room_receiver,
        operator_policy=operator_policy,
        admin_service=admin_service,
        operations=OperationsServer(scrape, health, admin, settings.operations.console),
    )


def create_account_decoder(
    settings: Settings, store: MongoStore, now_s: Callable[[], float]
) -> AccessTokenDecoder | None:
    """Create the verification of access tokens by the public keys in MongoDB; None if the settings accept none."""
    if not settings.auth.accounts:
        return None
    stored = TokenDatabase(store.database, store.calls, store.revocations)
    return create_token_decoder(stored, settings.accounts, leeway_s=settings.auth.leeway_s, now_s=now_s)


def create_operators(settings: Operations, now_s: Callable[[], float]) -> Operators:
    """Return the operators that the settings name.

    Args:
        settings: the section `operations`.
        now_s: the clock: UTC, seconds since 1970.
    """
    tokens = OperatorTokens(settings.oidc, now_s) if settings.oidc_issuer else None
    return Operators(settings.token, settings.operators, tokens)


def create_account_changes(
    settings: Settings, store: MongoStore, now_s: Callable[[], float]
) -> AccountChanges | None:
    """Create the parts with which operators change accounts; None if `accounts.secret` is not set."""
    if not settings.accounts.secret:
        return None
    stored = TokenDatabase(store.database, store.calls, store.revocations)
    tokens = create_token_parts(stored, settings.accounts, now_s).service
    return AccountChanges(create_pending_operations(store, tokens), tokens)


def create_shard_info(identity: ShardIdentity, settings: Settings, host: RoomHost) -> ShardInfo:
    """Return the shard's entry in the directory; its URL is known once its port is open."""
    return ShardInfo(
        identity.shard_id,
        url="",
        build=identity.build,
        region=identity.region,
        room_types=tuple(host.room_types),
        rooms_max=settings.capacity.rooms_max,
        load_max=settings.capacity.load_max,
    )


def create_presence_settings(settings: Settings, shard_id: str) -> PresenceSettings:
    """Return the settings of presence: records are renewed rarely, because the shard's own key is what expires.

    With `allow`, the end of a player's newest session leaves the record of an older one to its next renewal.
    """
    policy, lease_s = settings.edge.duplicate_sessions, settings.redis.lease_s
    return PresenceSettings(shard_id, policy, renewal_interval_s=lease_s / 2 if policy == "allow" else lease_s * 2)


def create_matchmaker(redis: RedisSettings, connection: RedisConnection | None = None) -> Matchmaker:
    """Create the matchmaker of a fleet; it connects when it is first used.

    Args:
        redis: the settings of its Redis.
        connection: closed with the matchmaker; by default a new one.

    Raises:
        ConfigError: the URL is not a URL of Redis.
    """
    lease_ms = int(redis.lease_s * 1000)
    ttls = Ttls(lease_ms, lease_ms, int(redis.reservation_s * 1000))
    return Matchmaker(connection or create_redis_connection(redis), namespace=redis.namespace, ttls=ttls)


def create_redis_connection(
    redis: RedisSettings, *, observe: Callable[[float], object] = lambda seconds: None
) -> RedisConnection:
    """Create a connection to the Redis of the settings; it connects when it is first used.

    Args:
        redis: the settings.
        observe: receives the duration of each round trip, seconds.

    Raises:
        ConfigError: the URL is not a URL of Redis.
    """
    try:
        return RedisConnection.from_url(redis.url, deadline_s=redis.deadline_s, observe=observe)
    except ValueError as error:
        raise ConfigError(f"redis.url: {error}") from error


def create_ticket_keys(settings: Settings) -> TicketKeys:
    """Return the keys of the settings; without any, a random key that is valid for this process alone."""
    tickets = settings.tickets
    if tickets.keys:
        return TicketKeys({name: key.encode() for name, key in tickets.keys.items()}, tickets.current)
    return TicketKeys({"own": secrets.token_bytes(32)}, "own")


def load_certificate(settings: Settings) -> TlsCertificate | None:
    """Load the TLS certificate; return None if `listen.plaintext` is set instead.

    Raises:
        ConfigError: the files cannot be read, or neither is set.
    """
    listen = settings.listen
    if listen.certificate:
        return TlsCertificate(listen.certificate, listen.key)
    if not listen.plaintext:
        raise ConfigError("listen.certificate: is not set; where something else speaks TLS, set listen.plaintext")
    return None
