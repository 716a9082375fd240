"""The table of the admin API's endpoints, from which the routes and the OpenAPI document are generated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tickwire.server.admin.views import (
    AdminOperations,
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
    RequestBody,
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
from tickwire.server.errors import Malformed

PREFIX = "/v1"
LIMIT, LIMIT_MAX = 1000, 10_000
Json = dict[str, Any]


class AdminRequest(msgspec.Struct, frozen=True):
    """A decoded request: the parameters of its path and query, and its body."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any = None

    @property
    def limit(self) -> int:
        """The most items to return.

        Raises:
            Malformed: the parameter is not a whole number from 1 to LIMIT_MAX.
        """
        text = self.query.get("limit", str(LIMIT))
        is_short = len(text) <= len(str(LIMIT_MAX))
        if not is_short or not text.isascii() or not text.isdigit() or not 0 < int(text) <= LIMIT_MAX:
            raise Malformed(f"limit: must be a whole number from 1 to {LIMIT_MAX}, not {text[:20]!r}")
        return int(text)


class Endpoint(msgspec.Struct, frozen=True):
    """One endpoint of the API.

    Args:
        method: the HTTP method.
        path: below PREFIX; {names} are parameters, as text.
        summary: for the OpenAPI document.
        response: the type of the response; bytes for a file, all others are sent as JSON.
        run: calls the operation and returns its response, or an awaitable of it.
        body: the type of the request body; None without one.
        query: the names of the query parameters.
    """

    method: str
    path: str
    summary: str
    response: Any
    run: Callable[[AdminOperations, AdminRequest], Any]
    body: type[RequestBody] | None = None
    query: tuple[str, ...] = ()


ENDPOINTS = (
    Endpoint(
        "GET", "/shard", "Describe the shard that answers", ShardDetail, lambda admin, request: admin.get_shard()
    ),
    Endpoint(
        "GET",
        "/fleet",
        "List all shards in the directory",
        list[ShardView],
        lambda admin, request: admin.list_shards(),
    ),
    Endpoint(
        "POST",
        "/fleet/{shard_id}/drain",
        "Drain a shard: it moves its rooms and players to other shards and stops; its supervisor restarts it",
        DrainRequested,
        lambda admin, request: admin.drain_shard(request.path["shard_id"]),
    ),
    Endpoint(
        "GET", "/rooms", "List the rooms of this shard", list[RoomView], lambda admin, request: admin.list_rooms()
    ),
    Endpoint(
        "GET",
        "/rooms/{room_id}",
        "Describe a room",
        RoomView,
        lambda admin, request: admin.get_room(request.path["room_id"]),
    ),
    Endpoint(
        "GET",
        "/rooms/{room_id}/state",
        "Return a room's world, at most `limit` entities per table",
        RoomStateResponse,
        lambda admin, request: admin.get_room_state(request.path["room_id"], request.limit),
        query=("limit",),
    ),
    Endpoint(
        "GET",
        "/rooms/{room_id}/bandwidth",
        "Return the bandwidth of a room by field",
        Json,
        lambda admin, request: admin.get_room_bandwidth(request.path["room_id"]),
    ),
    Endpoint(
        "GET",
        "/room-errors",
        "List the newest exceptions of the games' code, of one room or of all rooms since the start of this shard",
        list[RoomErrorView],
        lambda admin, request: admin.list_room_errors(request.query.get("room_id", "")),
        query=("room_id",),
    ),
    Endpoint(
        "POST",
        "/rooms/{room_id}/close",
        "Close a room; a durable one is saved",
        Affected,
        lambda admin, request: admin.close_room(request.path["room_id"], request.body),
        Close,
    ),
    Endpoint(
        "POST",
        "/rooms/{room_id}/broadcast",
        "Send an event to all players in a room",
        Affected,
        lambda admin, request: admin.broadcast(request.path["room_id"], request.body),
        Broadcast,
    ),
    Endpoint(
        "POST",
        "/rooms/{room_id}/record",
        "Write the last seconds of a room to a recording, or record the next `seconds`",
        RecordingView,
        lambda admin, request: admin.record_room(request.path["room_id"], request.body),
        RecordRoom,
    ),
    Endpoint(
        "GET",
        "/recordings",
        "List the recordings in the directory of this shard; those that are not complete first",
        list[RecordingView],
        lambda admin, request: admin.list_recordings(),
    ),
    Endpoint(
        "GET",
        "/recordings/{name}",
        "Download a recording",
        bytes,
        lambda admin, request: admin.read_recording(request.path["name"]),
    ),
    Endpoint(
        "GET",
        "/sessions",
        "List the sessions of this shard, of a room or of a player",
        list[SessionView],
        lambda admin, request: admin.list_sessions(
            request.query.get("room_id", ""), request.query.get("player_id", ""), request.limit
        ),
        query=("room_id", "player_id", "limit"),
    ),
    Endpoint(
        "POST",
        "/sessions/{session_id}/kick",
        "End a session; its player may open another",
        Affected,
        lambda admin, request: admin.kick_session(request.path["session_id"], request.body),
        Kick,
    ),
    Endpoint(
        "GET",
        "/queues",
        "List the modes of the matchmaking queue",
        list[str],
        lambda admin, request: admin.list_modes(),
    ),
    Endpoint(
        "GET",
        "/queues/{mode}",
        "Describe a mode's queue, across all shards",
        Json,
        lambda admin, request: admin.get_queue(request.path["mode"]),
    ),
    Endpoint(
        "GET",
        "/queues/{mode}/players/{player_id}",
        "Explain why a player waits: which rule blocks the match, and when it would match",
        Json,
        lambda admin, request: admin.explain_wait(request.path["mode"], request.path["player_id"]),
    ),
    Endpoint(
        "GET",
        "/bans",
        "List the bans in force",
        list[BanView],
        lambda admin, request: admin.list_bans(request.limit),
        query=("limit",),
    ),
    Endpoint(
        "PUT",
        "/bans/{player_id}",
        "Ban a player for a time, on all shards within a second",
        BanView,
        lambda admin, request: admin.ban_player(request.path["player_id"], request.body),
        BanPlayer,
    ),
    Endpoint(
        "DELETE",
        "/bans/{player_id}",
        "Lift a ban",
        Affected,
        lambda admin, request: admin.lift_ban(request.path["player_id"]),
    ),
    Endpoint(
        "GET",
        "/tuning",
        "List the newest tuning versions and the schemas of their values",
        Tunings,
        lambda admin, request: admin.list_tunings(),
    ),
    Endpoint(
        "PUT",
        "/tuning",
        "Add a tuning version for some or all rooms of the fleet, within a second",
        TuningView,
        lambda admin, request: admin.publish_tuning(request.body),
        Tune,
    ),
    Endpoint(
        "POST",
        "/tuning/rollback",
        "Roll back: add a version with the values of an older one",
        TuningView,
        lambda admin, request: admin.roll_back_tuning(request.body),
        RollBack,
    ),
    Endpoint(
        "PUT",
        "/log-level",
        "Set the log level of this shard",
        Affected,
        lambda admin, request: admin.set_log_level(request.body),
        LogLevel,
    ),
)
