"""A shard, as operators see it and order it about. Answers the admin API (server/admin/api.py)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from tickwire.limits import PLAYER_CHARACTERS_MAX
from tickwire.matchmaking import Matchmaker, MatchmakingError, ShardInfo
from tickwire.schemas.messages import FieldKind
from tickwire.server import __version__
from tickwire.server.admin.operator_policy import OperatorPolicy
from tickwire.server.admin.views import (
    Affected,
    BanOrder,
    BanView,
    Broadcast,
    Close,
    DrainRequested,
    Kick,
    LogLevel,
    RollBack,
    RoomStateResponse,
    RoomView,
    SessionView,
    ShardDetail,
    ShardView,
    TableResponse,
    Tune,
    Tunings,
    TuningView,
)
from tickwire.server.edge.server import EdgeServer
from tickwire.server.edge.session import Session
from tickwire.server.errors import Malformed, Unavailable
from tickwire.server.observability import logs
from tickwire.server.observability.health import Health
from tickwire.server.placement.client_errors import to_client_error
from tickwire.server.placement.queue_views import QueueViews
from tickwire.server.replication.table import Table
from tickwire.server.rooms.containment import RoomCodeRaised
from tickwire.server.rooms.host import RoomHost
from tickwire.server.rooms.runtime import MOVES_MS, RoomRuntime
from tickwire.server.storage import Ban, TuningVersion


class AdminService:
    """Implements `tickwire.server.admin.views.Administration`; see there.

    Args:
        info: of the shard, as it registers.
        host, listener, queue_views, ruling: parts of it.
        matchmaker: knows the others.
        health: of the shard.
        load: gives the share of the time that ticks take.
    """

    def __init__(
        self,
        info: Callable[[], ShardInfo],
        *,
        host: RoomHost,
        listener: EdgeServer,
        queue_views: QueueViews,
        ruling: OperatorPolicy,
        matchmaker: Matchmaker,
        health: Health,
        load: Callable[[], float],
    ) -> None:
        self._info = info
        self._host = host
        self._listener = listener
        self._queue_views = queue_views
        self._ruling = ruling
        self._matchmaker = matchmaker
        self._health = health
        self._load = load
        self._started_s = time.monotonic()

    # -- shards ---------------------------------------------------------------------------------------------

    def shard(self) -> ShardDetail:
        info, counters = self._info(), self._host.counters
        return ShardDetail(
            shard_id=info.shard_id,
            build=info.build,
            version=__version__,
            region=info.region,
            uptime_s=time.monotonic() - self._started_s,
            is_ready=self._health.is_ready,
            reasons=self._health.reasons,
            room_types=sorted(self._host.room_types),
            rooms=len(self._host),
            sessions=len(self._listener.registry),
            sessions_away=self._listener.registry.away_count,
            connections=self._listener.connection_count,
            load=self._load(),
            ticks=counters.ticks,
            ticks_late=counters.ticks_late,
            bytes_sent=counters.bytes_sent,
            log_level=logs.level.name,
        )

    async def fleet(self) -> list[ShardView]:
        try:
            shards = await self._matchmaker.directory.list_shards()
        except MatchmakingError as error:
            raise to_client_error(error) from error
        return [
            ShardView(
                shard_id=one.info.shard_id,
                url=one.info.url,
                region=one.info.region,
                build=one.info.build,
                state=one.info.state,
                rooms=one.rooms,
                rooms_max=one.info.rooms_max,
                players=one.players,
                load=one.load,
                load_max=one.info.load_max,
                is_this=one.info.shard_id == self._info().shard_id,
            )
            for one in shards
        ]

    async def drain(self, shard_id: str) -> DrainRequested:
        try:
            is_asked = await self._matchmaker.directory.request_drain(shard_id)
        except MatchmakingError as error:
            raise to_client_error(error) from error
        if is_asked is None:
            raise LookupError(f"there is no shard {shard_id[:100]} in the directory")
        return DrainRequested(int(is_asked))

    def set_log_level(self, order: LogLevel) -> Affected:
        is_change = order.level != logs.level.name
        logs.set_level(order.level)
        return Affected(int(is_change))

    # -- rooms ----------------------------------------------------------------------------------------------

    def rooms(self) -> list[RoomView]:
        return [_room_view(simulation) for simulation in self._host]

    def room(self, room_id: str) -> RoomView:
        return _room_view(self._found(room_id))

    def state(self, room_id: str, limit: int) -> RoomStateResponse:
        simulation = self._found(room_id)
        room = simulation.room
        return RoomStateResponse(
            _room_view(simulation),
            [_table_state(name, getattr(room, name), limit) for name in room.tables],
            msgspec.to_builtins(room.tuning),
        )

    def bytes_of(self, room_id: str) -> dict[str, Any]:
        report = self._host.bytes_of(room_id)
        if report is None:
            raise LookupError("there is no such room on this shard")
        return report

    def close_room(self, room_id: str, order: Close) -> Affected:
        simulation = self._at_rest(room_id)
        count = len(simulation.seats)
        self._host.close(room_id, order.reason)
        return Affected(count)

    def broadcast(self, room_id: str, order: Broadcast) -> Affected:
        simulation = self._at_rest(room_id)
        try:
            with simulation.contained("broadcast"):
                simulation.room.broadcast(order.name, order.payload)
        except RoomCodeRaised as error:
            raise Malformed("the event could not be sent: it is too large, or no event can hold it") from error
        return Affected(len(simulation.seats))

    def _at_rest(self, room_id: str) -> RoomRuntime:
        simulation = self._found(room_id)
        if simulation.is_frozen:
            raise Unavailable("the room is moving to another shard", retry_after_ms=MOVES_MS)
        return simulation

    def _found(self, room_id: str) -> RoomRuntime:
        simulation = self._host.get(room_id)
        if simulation is None:
            raise LookupError("there is no such room on this shard")
        return simulation

    # -- sessions -------------------------------------------------------------------------------------------

    def sessions(self, room_id: str, player_id: str, limit: int) -> list[SessionView]:
        registry = self._listener.registry
        among = registry.of_player(player_id) if player_id else registry
        found = (session for session in among if not room_id or session.room_id == room_id)
        return [_session_view(session) for _, session in zip(range(limit), found, strict=False)]

    def kick(self, session_id: str, order: Kick) -> Affected:
        session = self._listener.registry.get(session_id)
        if session is None:
            raise LookupError("there is no such session on this shard")
        session.kick(order.reason)
        return Affected(1)

    # -- queues ---------------------------------------------------------------------------------------------

    def modes(self) -> list[str]:
        return list(self._queue_views.modes)

    async def queue(self, mode: str) -> dict[str, Any]:
        found = await self._queue_views.view(mode)
        if found is None:
            raise LookupError("there is no such mode")
        return found

    async def explain(self, mode: str, player_id: str) -> dict[str, Any]:
        found = await self._queue_views.explain(mode, player_id)
        if found is None:
            raise LookupError("the player does not wait in this queue")
        return found

    # -- orders ---------------------------------------------------------------------------------------------

    async def bans(self, limit: int) -> list[BanView]:
        return [_ban_view(ban) for ban in await self._ruling.bans(limit)]

    async def ban(self, player_id: str, order: BanOrder) -> BanView:
        if not 0 < len(player_id) <= PLAYER_CHARACTERS_MAX:
            raise Malformed(f"a player's id has 1 to {PLAYER_CHARACTERS_MAX} characters")
        return _ban_view(await self._ruling.ban(player_id, order.duration_s, order.reason))

    async def lift_ban(self, player_id: str) -> Affected:
        return Affected(await self._ruling.lift_ban(player_id))

    async def tunings(self) -> Tunings:
        await self._ruling.ask()
        versions = [_tuning_view(version) for version in await self._ruling.history()]
        schemas = {name: msgspec.json.schema(room.tunes) for name, room in sorted(self._host.room_types.items())}
        return Tunings(self._ruling.newest, versions, schemas)

    async def tune(self, order: Tune) -> TuningView:
        tuning = await self._ruling.tune(
            order.values, after=order.after, percentage=order.percentage, labels=order.labels, note=order.note
        )
        return _tuning_view(tuning)

    async def roll_back(self, order: RollBack) -> TuningView:
        return _tuning_view(await self._ruling.roll_back(order.to))


def _room_view(simulation: RoomRuntime) -> RoomView:
    room = simulation.room
    return RoomView(
        room_id=room.room_id,
        room_type=room.room_type,
        name=room.name,
        mode=room.mode,
        access=room.access,
        labels=dict(room.labels),
        epoch=simulation.epoch,
        tick=room.tick,
        tick_rate_hz=room.tick_rate_hz,
        players=len(simulation.seats),
        seats=room.seats,
        entities=sum(len(table) for table in room.all_tables()),
        is_durable=simulation.is_durable,
        tuning_version=room.tuning_version,
    )


def _table_state(name: str, table: Table, limit: int) -> TableResponse:
    rows = [row for row, _ in zip(table, range(limit), strict=False)]
    fields = type(table).describe(name).fields
    return TableResponse(
        name,
        len(table),
        [row.id for row in rows],
        {field.name: [_plain(getattr(row, field.name)) for row in rows] for field in fields},
        [msgspec.to_builtins(field) | {"kind": FieldKind(field.kind).name.lower()} for field in fields],
    )


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return value.item() if hasattr(value, "item") else value


def _session_view(session: Session) -> SessionView:
    wire = session.wire
    return SessionView(
        session_id=session.session_id,
        player_id=session.player_id,
        is_guest=session.is_guest,
        state=session.state.value,
        room_id=session.room_id,
        is_connected=wire is not None,
        connections=session.generation,
        address=wire.address if wire is not None else "",
        rtt_ms=wire.rtt_ms if wire is not None else 0.0,
        backlog_bytes=wire.backlog_bytes if wire is not None else 0,
        unacknowledged_events=len(session.outbox),
        schema_version=session.schema_version,
        history=session.history.entries,
    )


def _ban_view(ban: Ban) -> BanView:
    return BanView(ban.player_id, ban.until, ban.reason)


def _tuning_view(tuning: TuningVersion) -> TuningView:
    return msgspec.convert(msgspec.to_builtins(tuning), TuningView)
