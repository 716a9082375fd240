"""What the admin API answers, and who answers: plain structs and one interface.

So that operators' tools and the parts of a shard know nothing of each other.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Protocol

import msgspec

Level = Literal["debug", "info", "warning", "error"]
Reason = Annotated[str, msgspec.Meta(max_length=120, description="told to the players")]
Version = Annotated[int, msgspec.Meta(ge=0, le=2**31)]
BAN_S_MAX = 10 * 365 * 24 * 3600


class Response(msgspec.Struct, frozen=True):
    """An answer."""


class RequestBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an operator asks for."""


class ShardView(Response, frozen=True):
    """The shard that answers, or one of the fleet."""

    shard_id: str
    url: str
    region: str
    build: str
    state: str
    rooms: int
    rooms_max: int
    players: int
    load: Annotated[float, msgspec.Meta(description="share of the time that ticks take")]
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
    sessions_away: int
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


class TableResponse(Response, frozen=True):
    """A table: one list a field, in the game's units; all of the same length."""

    name: str
    entities: int
    ids: Sequence[int]
    columns: dict[str, Sequence[Any]]
    fields: Sequence[dict[str, Any]]


class RoomStateResponse(Response, frozen=True):
    """A room's world."""

    room: RoomView
    tables: Sequence[TableResponse]
    tuning: dict[str, Any]


class SessionView(Response, frozen=True):
    """A session of this shard.

    Args:
        backlog_bytes: that its connection has not taken yet.
        unacknowledged_events: that are kept for it.
        history: what happened to it on this shard, the oldest first; the last 32 entries.
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
    """A player who may not play."""

    player_id: str
    until: datetime.datetime
    reason: str


class TuningView(Response, frozen=True):
    """One version of what rooms are tuned by."""

    version: int
    values: dict[str, dict[str, Any]]
    percentage: float
    labels: dict[str, str]
    note: str
    at: datetime.datetime


class Tunings(Response, frozen=True):
    """The newest versions, the newest first, and what may be set, by room type: a JSON schema each."""

    newest: int
    versions: Sequence[TuningView]
    schemas: dict[str, dict[str, Any]]


class Affected(Response, frozen=True):
    """How many things it was done to; 0 when everything was so already."""

    count: int


class DrainRequested(Affected, frozen=True):
    """Whether the shard was asked to drain by this call, and what happens to its process."""

    note: str = (
        "the shard ends when its rooms have moved; Kubernetes, or what else supervises its process, starts it again. "
        "To take it out of service, lower the group's replicas: the highest number drains and ends"
    )


class Kick(RequestBody, frozen=True):
    """Ends a session."""

    reason: Reason = "an operator has ended the session"


class Close(RequestBody, frozen=True):
    """Ends a room: it is saved, if it is durable, and its players are told."""

    reason: Reason = "an operator has closed the room"


class BanOrder(RequestBody, frozen=True):
    """Keeps a player out."""

    duration_s: Annotated[float, msgspec.Meta(gt=0, le=BAN_S_MAX)]
    reason: Reason = ""


class Broadcast(RequestBody, frozen=True):
    """An event to all who play in a room."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    payload: Any = None


class LogLevel(RequestBody, frozen=True):
    """The least level that is written."""

    level: Level


class Tune(RequestBody, frozen=True):
    """The next version of the tuning.

    Args:
        after: the version that it follows: the newest that its author has seen.
    """

    after: Version
    values: dict[str, dict[str, Any]]
    percentage: Annotated[float, msgspec.Meta(gt=0, le=100)] = 100.0
    labels: dict[str, str] = {}
    note: Annotated[str, msgspec.Meta(max_length=500)] = ""


class RollBack(RequestBody, frozen=True):
    """Makes an older version the newest again; 0: as the games declare it."""

    to: Version


class Administration(Protocol):
    """A shard, for operators. What is not there raises LookupError, what cannot be a TickwireError; in a sentence."""

    def shard(self) -> ShardDetail: ...
    async def fleet(self) -> list[ShardView]: ...
    async def drain(self, shard_id: str) -> DrainRequested: ...
    def rooms(self) -> list[RoomView]: ...
    def room(self, room_id: str) -> RoomView: ...
    def state(self, room_id: str, limit: int) -> RoomStateResponse: ...
    def bytes_of(self, room_id: str) -> dict[str, Any]: ...
    def close_room(self, room_id: str, order: Close) -> Affected: ...
    def broadcast(self, room_id: str, order: Broadcast) -> Affected: ...
    def sessions(self, room_id: str, player_id: str, limit: int) -> list[SessionView]: ...
    def kick(self, session_id: str, order: Kick) -> Affected: ...
    def modes(self) -> list[str]: ...
    async def queue(self, mode: str) -> dict[str, Any]: ...
    async def explain(self, mode: str, player_id: str) -> dict[str, Any]: ...
    async def bans(self, limit: int) -> list[BanView]: ...
    async def ban(self, player_id: str, order: BanOrder) -> BanView: ...
    async def lift_ban(self, player_id: str) -> Affected: ...
    async def tunings(self) -> Tunings: ...
    async def tune(self, order: Tune) -> TuningView: ...
    async def roll_back(self, order: RollBack) -> TuningView: ...
    def set_log_level(self, order: LogLevel) -> Affected: ...
