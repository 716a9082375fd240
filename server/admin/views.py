"""The types of the admin API: its request bodies, its responses, and the interface that runs its requests.

They keep the API independent of the parts of a shard.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Protocol

import msgspec

Level = Literal["debug", "info", "warning", "error"]
Reason = Annotated[str, msgspec.Meta(max_length=120, description="sent to the players")]
Version = Annotated[int, msgspec.Meta(ge=0, le=2**31)]
BAN_S_MAX = 10 * 365 * 24 * 3600
LAST_S_MAX = 600.0
"""More than a room may keep."""
RECORD_S_MAX = 3600.0


class Response(msgspec.Struct, frozen=True):
    """Base of all responses."""


class RequestBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all request bodies."""


class ShardView(Response, frozen=True):
    """A shard of the fleet, as the directory lists it."""

    shard_id: str
    url: str
    region: str
    build: str
    state: str
    rooms: int
    rooms_max: int
    players: int
    load: Annotated[float, msgspec.Meta(description="share of the time that ticks take, 0 to 1")]
    load_max: float
    is_this: bool = False


class ShardDetail(Response, frozen=True):
    """The shard that answers."""

    shard_id: str
    build: str
    version: str
    region: str
    uptime_s: float
    is_ready: bool
    reasons: dict[str, str]
    room_types: Sequence[str]
    rooms: int
    sessions: int
    sessions_disconnected: int
    connections: int
    load: float
    ticks: int
    ticks_late: int
    bytes_sent: int
    log_level: str


class RoomView(Response, frozen=True):
    """A room of this shard."""

    room_id: str
    room_type: str
    name: str
    mode: str
    access: str
    labels: dict[str, str]
    epoch: int
    tick: int
    tick_rate_hz: float
    players: int
    seats: int
    entities: int
    is_durable: bool
    tuning_version: int


class RoomErrorView(Response, frozen=True):
    """An exception of a room's code, with its repetitions.

    Args:
        room_id, room_type: the room, which may have ended.
        tick: the tick of the newest exception.
        hook: the hook, or the method that a timer has called.
        player_id: the player among the arguments; empty without one.
        arguments: the arguments of the newest call as short text, without secrets.
        error: the type and text of the exception.
        frames: the lines of the game's code, the innermost last.
        consequence: the effect on the room or the call.
        count: how often it was raised.
        age_s: how long ago it was raised last.
        recording: the recording of the seconds before it; empty without one.
    """

    room_id: str
    room_type: str
    tick: int
    hook: str
    player_id: str
    arguments: Sequence[str]
    error: str
    frames: Sequence[str]
    consequence: str
    count: int
    age_s: float
    recording: str = ""


class RecordingView(Response, frozen=True):
    """A recording of a room.

    Args:
        name: the name of the file; it has the time, the room, the last tick and the trigger.
        trigger: failure, report or operator.
        size: the bytes of the file, or those so far.
        is_complete: whether the file can be downloaded; otherwise the recording runs, or is being written.
    """

    name: str
    trigger: str
    size: int = 0
    is_complete: bool = False


class TableResponse(Response, frozen=True):
    """The entities of a table: one list per field, in the game's units, all of the same length."""

    name: str
    entities: int
    ids: Sequence[int]
    columns: dict[str, Sequence[Any]]
    fields: Sequence[dict[str, Any]]


class RoomStateResponse(Response, frozen=True):
    """The world of a room."""

    room: RoomView
    tables: Sequence[TableResponse]
    tuning: dict[str, Any]


class SessionView(Response, frozen=True):
    """A session of this shard.

    Args:
        connections: how many connections the session has had.
        rtt_ms: the round-trip time, 0 if unknown or disconnected.
        backlog_bytes: bytes that its connection has not sent yet.
        unacknowledged_events: events that are kept until the client acknowledges them.
        history: the last 32 events of the session on this shard, the oldest first.
    """

    session_id: str
    player_id: str
    is_guest: bool
    state: str
    room_id: str
    is_connected: bool
    connections: int
    address: str
    rtt_ms: float
    backlog_bytes: int
    unacknowledged_events: int
    schema_version: int
    history: list[str]


class BanView(Response, frozen=True):
    """A ban of a player."""

    player_id: str
    until: datetime.datetime
    reason: str


class TuningView(Response, frozen=True):
    """One tuning version."""

    version: int
    values: dict[str, dict[str, Any]]
    percentage: float
    labels: dict[str, str]
    note: str
    at: datetime.datetime


class Tunings(Response, frozen=True):
    """The newest tuning versions, newest first, and a JSON schema of the tuning values by room type."""

    newest: int
    versions: Sequence[TuningView]
    schemas: dict[str, dict[str, Any]]


class Affected(Response, frozen=True):
    """The number of items that a request has changed; 0 if it changed nothing."""

    count: int


class DrainRequested(Affected, frozen=True):
    """The response to a drain request: `count` is 0 if the shard was draining already."""

    note: str = (
        "the shard stops when its rooms have moved, and its supervisor, such as Kubernetes, restarts it. "
        "To take it out of service, lower the replicas of its group: the one with the highest number drains and stops"
    )


class Kick(RequestBody, frozen=True):
    """End a session."""

    reason: Reason = "an operator has ended the session"


class Close(RequestBody, frozen=True):
    """Close a room: a durable room is saved, and its players receive the reason."""

    reason: Reason = "an operator has closed the room"


class RecordRoom(RequestBody, frozen=True):
    """Record a room: the last seconds that it keeps, or the next seconds.

    Args:
        last_s: the last seconds to write; a little more is written, as a recording begins with a keyframe.
        seconds: how long to record from now on; 0 to write the last seconds.
    """

    last_s: Annotated[float, msgspec.Meta(gt=0, le=LAST_S_MAX)] = 10.0
    seconds: Annotated[float, msgspec.Meta(ge=0, le=RECORD_S_MAX)] = 0.0


class BanPlayer(RequestBody, frozen=True):
    """Ban a player."""

    duration_s: Annotated[float, msgspec.Meta(gt=0, le=BAN_S_MAX)]
    reason: Reason = ""


class Broadcast(RequestBody, frozen=True):
    """Send an event to all players in a room."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    payload: Any = None


class LogLevel(RequestBody, frozen=True):
    """Set the lowest level that is logged."""

    level: Level


class Tune(RequestBody, frozen=True):
    """Add a tuning version.

    Args:
        after: the newest version that the operator has seen; the request fails if there is a newer one.
        values: by room type and field.
        percentage: the share of the rooms that receive the version.
        labels: only rooms with all of these labels receive the version.
    """

    after: Version
    values: dict[str, dict[str, Any]]
    percentage: Annotated[float, msgspec.Meta(gt=0, le=100)] = 100.0
    labels: dict[str, str] = {}
    note: Annotated[str, msgspec.Meta(max_length=500)] = ""


class RollBack(RequestBody, frozen=True):
    """Add a tuning version with the values of version `to`; version 0 has the values that the games declare."""

    to: Version


class AdminOperations(Protocol):
    """Runs the requests of the admin API on a shard.

    Methods raise NotFound if the named item does not exist, and another TickwireError if the request cannot be
    fulfilled. The message is a sentence for the operator.
    """

    def get_shard(self) -> ShardDetail:
        """Return this shard."""

    async def list_shards(self) -> list[ShardView]:
        """Return the shards of the fleet."""

    async def drain_shard(self, shard_id: str) -> DrainRequested:
        """Request the drain of a shard."""

    def list_rooms(self) -> list[RoomView]:
        """Return the rooms of this shard."""

    def get_room(self, room_id: str) -> RoomView:
        """Return one room."""

    def get_room_state(self, room_id: str, limit: int) -> RoomStateResponse:
        """Return the tables of a room, with at most `limit` rows each."""

    def get_room_bandwidth(self, room_id: str) -> dict[str, Any]:
        """Return the bytes that each field of a room costs."""

    def list_room_errors(self, room_id: str) -> list[RoomErrorView]:
        """Return the newest exceptions of the code of a room, or of all rooms; the newest first."""
        ...

    def close_room(self, room_id: str, request: Close) -> Affected:
        """Close a room."""

    def record_room(self, room_id: str, request: RecordRoom) -> RecordingView:
        """Start to record a room, or to write its last seconds."""

    async def list_recordings(self) -> list[RecordingView]:
        """Return the recordings of this shard, those that are not complete first."""

    async def read_recording(self, name: str) -> bytes:
        """Return the contents of a complete recording."""

    def broadcast(self, room_id: str, request: Broadcast) -> Affected:
        """Send an event to the players of a room."""

    def list_sessions(self, room_id: str, player_id: str, limit: int) -> list[SessionView]:
        """Return at most `limit` sessions of this shard; empty filters match all."""

    def kick_session(self, session_id: str, request: Kick) -> Affected:
        """End a session."""

    def list_modes(self) -> list[str]:
        """Return the names of the matchmaking modes."""

    async def get_queue(self, mode: str) -> dict[str, Any]:
        """Return the state of a mode's queue."""

    async def explain_wait(self, mode: str, player_id: str) -> dict[str, Any]:
        """Return the reason why a player waits."""

    async def list_bans(self, limit: int) -> list[BanView]:
        """Return at most `limit` bans."""

    async def ban_player(self, player_id: str, request: BanPlayer) -> BanView:
        """Ban a player."""

    async def lift_ban(self, player_id: str) -> Affected:
        """Lift a ban."""

    async def list_tunings(self) -> Tunings:
        """Return the tuning versions."""

    async def publish_tuning(self, request: Tune) -> TuningView:
        """Add a tuning version."""

    async def roll_back_tuning(self, request: RollBack) -> TuningView:
        """Add a tuning version with the values of an earlier one."""

    def set_log_level(self, request: LogLevel) -> Affected:
        """Set the log level of this shard."""
