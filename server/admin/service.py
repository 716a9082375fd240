"""Runs the requests of the admin API (server/admin/api.py) on one shard."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from tickwire.limits import PLAYER_CHARACTERS_MAX
from tickwire.matchmaking import Matchmaker, MatchmakingError, ShardInfo
from tickwire.server import __version__
from tickwire.server.admin.operator_policy import OperatorPolicy
from tickwire.server.admin.presenters import (
    to_ban_view,
    to_room_error_view,
    to_room_view,
    to_session_view,
    to_table_response,
    to_tuning_view,
)
from tickwire.server.admin.views import (
    Affected,
    BanPlayer,
    BanView,
    Broadcast,
    Close,
    DrainRequested,
    Kick,
    LogLevel,
    RecordingView,
    RecordRoom,
    RollBack,
    RoomErrorView,
    RoomStateResponse,
    RoomView,
    SessionView,
    ShardDetail,
    ShardView,
    Tune,
    Tunings,
    TuningView,
)
from tickwire.server.edge.server import EdgeServer
from tickwire.server.errors import Malformed, NotFound, Unavailable
from tickwire.server.observability import logs
from tickwire.server.observability.health import Health
from tickwire.server.placement.client_errors import to_client_error
from tickwire.server.placement.queue_views import QueueViews
from tickwire.server.recording.recording_names import trigger_of
from tickwire.server.recording.recording_service import RecordingService
from tickwire.server.rooms.containment import RoomCodeRaised
from tickwire.server.rooms.handover import MOVES_MS
from tickwire.server.rooms.host import RoomHost
from tickwire.server.rooms.runtime import RoomRuntime


class AdminContext(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a shard that the admin API shows and changes.

    Args:
        info: returns the shard's entry in the directory.
        host: the rooms of the shard.
        edge: its connections and sessions.
        queue_views: the queues of all modes.
        policy: bans and tunings.
        matchmaker: the directory of all shards.
        health: the shard's readiness.
        recordings: the recordings of the rooms.
        load: returns the share of the time that ticks take, 0 to 1.
    """

    info: Callable[[], ShardInfo]
    host: RoomHost
    edge: EdgeServer
    queue_views: QueueViews
    policy: OperatorPolicy
    matchmaker: Matchmaker
    health: Health
    recordings: RecordingService
    load: Callable[[], float]


class AdminService:
    """Implements `tickwire.server.admin.views.AdminOperations`, which describes the methods.

    Args:
        context: the parts of the shard.
    """

    def __init__(self, context: AdminContext) -> None:
        self._context = context
        self._host = context.host
        self._edge = context.edge
        self._queue_views = context.queue_views
        self._policy = context.policy
        self._matchmaker = context.matchmaker
        self._recordings = context.recordings
        self._started_s = time.monotonic()

    # -- shards ---------------------------------------------------------------------------------------------

    def get_shard(self) -> ShardDetail:
        info, counters = self._context.info(), self._host.counters
        return ShardDetail(
            shard_id=info.shard_id,
            build=info.build,
            version=__version__,
            region=info.region,
            uptime_s=time.monotonic() - self._started_s,
            is_ready=self._context.health.is_ready,
            reasons=self._context.health.reasons,
            room_types=sorted(self._host.room_types),
            rooms=len(self._host),
            sessions=len(self._edge.registry),
            sessions_disconnected=self._edge.registry.disconnected_count,
            connections=self._edge.connection_count,
            load=self._context.load(),
            ticks=counters.ticks,
            ticks_late=counters.ticks_late,
            bytes_sent=counters.bytes_sent,
            log_level=logs.level.name,
        )

    async def list_shards(self) -> list[ShardView]:
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
                is_this=one.info.shard_id == self._context.info().shard_id,
            )
            for one in shards
        ]

    async def drain_shard(self, shard_id: str) -> DrainRequested:
        try:
            is_asked = await self._matchmaker.directory.request_drain(shard_id)
        except MatchmakingError as error:
            raise to_client_error(error) from error
        if is_asked is None:
            raise NotFound(f"shard {shard_id[:100]!r} does not exist in the directory")
        return DrainRequested(int(is_asked))

    def set_log_level(self, request: LogLevel) -> Affected:
        is_change = request.level != logs.level.name
        logs.set_level(request.level)
        return Affected(int(is_change))

    # -- rooms ----------------------------------------------------------------------------------------------

    def list_rooms(self) -> list[RoomView]:
        return [to_room_view(runtime) for runtime in self._host]

    def get_room(self, room_id: str) -> RoomView:
        return to_room_view(self._find_room(room_id))

    def get_room_state(self, room_id: str, limit: int) -> RoomStateResponse:
        runtime = self._find_room(room_id)
        room = runtime.room
        return RoomStateResponse(
            to_room_view(runtime),
            [to_table_response(name, getattr(room, name), limit) for name in room.tables],
            msgspec.to_builtins(room.tuning),
        )

    def get_room_bandwidth(self, room_id: str) -> dict[str, Any]:
        report = self._host.bandwidth_report(room_id)
        if report is None:
            raise _no_room(room_id)
        return report

    def list_room_errors(self, room_id: str) -> list[RoomErrorView]:
        errors = self._host.counters.recent_errors
        return [to_room_error_view(error, errors.age_s(error)) for error in errors.list_errors(room_id)]

    def close_room(self, room_id: str, request: Close) -> Affected:
        runtime = self._find_running_room(room_id)
        count = len(runtime.seats)
        self._host.close(room_id, request.reason)
        return Affected(count)

    def broadcast(self, room_id: str, request: Broadcast) -> Affected:
        runtime = self._find_running_room(room_id)
        try:
            with runtime.hooks.contain("broadcast"):
                runtime.room.broadcast(request.name, request.payload)
        except RoomCodeRaised as error:
            raise Malformed(
                "the event cannot be sent: it is too large, or MessagePack cannot encode its payload"
            ) from error
        return Affected(len(runtime.seats))

    def record_room(self, room_id: str, request: RecordRoom) -> RecordingView:
        runtime = self._find_running_room(room_id)
        with _not_found():
            if request.seconds:
                name = self._recordings.start(runtime, request.seconds)
            else:
                name = self._recordings.write_last(runtime, request.last_s, "operator")
        return RecordingView(name, trigger_of(name))

    async def list_recordings(self) -> list[RecordingView]:
        running = [RecordingView(name, trigger_of(name), size) for name, size in self._recordings.list_running()]
        files = await self._recordings.list_files()
        return running + [RecordingView(file.name, trigger_of(file.name), file.size, True) for file in files]

    async def read_recording(self, name: str) -> bytes:
        with _not_found():
            return await self._recordings.read(name)

    def _find_running_room(self, room_id: str) -> RoomRuntime:
        runtime = self._find_room(room_id)
        if runtime.is_frozen:
            raise Unavailable("the room is moving to another shard, retry", retry_after_ms=MOVES_MS)
        return runtime

    def _find_room(self, room_id: str) -> RoomRuntime:
        runtime = self._host.get(room_id)
        if runtime is None:
            raise _no_room(room_id)
        return runtime

    # -- sessions -------------------------------------------------------------------------------------------

    def list_sessions(self, room_id: str, player_id: str, limit: int) -> list[SessionView]:
        registry = self._edge.registry
        among = registry.find_by_player(player_id) if player_id else registry
        found = (session for session in among if not room_id or session.room_id == room_id)
        return [to_session_view(session) for _, session in zip(range(limit), found, strict=False)]

    def kick_session(self, session_id: str, request: Kick) -> Affected:
        session = self._edge.registry.get(session_id)
        if session is None:
            raise NotFound(f"session {session_id[:100]!r} does not exist on this shard")
        session.kick(request.reason)
        return Affected(1)

    # -- queues ---------------------------------------------------------------------------------------------

    def list_modes(self) -> list[str]:
        return list(self._queue_views.modes)

    async def get_queue(self, mode: str) -> dict[str, Any]:
        found = await self._queue_views.view(mode)
        if found is None:
            raise NotFound(f"mode {mode[:100]!r} does not exist")
        return found

    async def explain_wait(self, mode: str, player_id: str) -> dict[str, Any]:
        found = await self._queue_views.explain(mode, player_id)
        if found is None:
            raise NotFound(f"player {player_id[:100]!r} is not in the queue of mode {mode[:100]!r}")
        return found

    # -- operator policy ------------------------------------------------------------------------------------

    async def list_bans(self, limit: int) -> list[BanView]:
        return [to_ban_view(ban) for ban in await self._policy.bans.list_active(limit)]

    async def ban_player(self, player_id: str, request: BanPlayer) -> BanView:
        if not 0 < len(player_id) <= PLAYER_CHARACTERS_MAX:
            raise Malformed(f"a player id must have 1 to {PLAYER_CHARACTERS_MAX} characters, not {len(player_id)}")
        return to_ban_view(await self._policy.bans.ban(player_id, request.duration_s, request.reason))

    async def lift_ban(self, player_id: str) -> Affected:
        return Affected(await self._policy.bans.lift(player_id))

    async def list_tunings(self) -> Tunings:
        await self._policy.poll()
        versions = [to_tuning_view(version) for version in await self._policy.tunings.list_newest()]
        schemas = {
            name: msgspec.json.schema(room.tuning_type) for name, room in sorted(self._host.room_types.items())
        }
        return Tunings(self._policy.tunings.newest, versions, schemas)

    async def publish_tuning(self, request: Tune) -> TuningView:
        tuning = await self._policy.tunings.publish(
            request.values,
            after=request.after,
            percentage=request.percentage,
            labels=request.labels,
            note=request.note,
        )
        return to_tuning_view(tuning)

    async def roll_back_tuning(self, request: RollBack) -> TuningView:
        return to_tuning_view(await self._policy.tunings.roll_back(request.to))


@contextmanager
def _not_found() -> Iterator[None]:
    """Convert the LookupError of the recordings."""
    try:
        yield
    except LookupError as error:
        raise NotFound(str(error)) from error


def _no_room(room_id: str) -> NotFound:
    return NotFound(f"room {room_id[:100]!r} does not exist on this shard")
