"""The rooms of this shard: views and actions, errors of the games' code, and recordings."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Response, get, post
from litestar.params import FromPath, FromQuery, JSONBody

from tickwire.server.admin.controllers.declarations import LIMIT, Admin, Limit
from tickwire.server.admin.views import (
    Affected,
    Broadcast,
    Close,
    RecordingView,
    RecordRoom,
    RoomErrorView,
    RoomStateResponse,
    RoomView,
)
from tickwire.server.http.optional_body import OptionalBody

_BINARY = "application/octet-stream"
_AS_FILE = {"Content-Disposition": "attachment"}
"""A browser stores the response instead of showing it."""
CLOSE, LAST_SECONDS = Close(), RecordRoom()
"""The bodies of requests without a body."""


class RoomController(Controller):
    """Describes, closes and records rooms, and sends them events."""

    path = "/rooms"
    tags = ("rooms",)

    @get("/", summary="List the rooms of this shard", role="read")
    async def list_rooms(self, admin: Admin) -> list[RoomView]:
        """Return the rooms of this shard."""
        return admin.list_rooms()

    @get("/{room_id:str}", summary="Describe a room", role="read")
    async def get_room(self, admin: Admin, room_id: FromPath[str]) -> RoomView:
        """Return one room."""
        return admin.get_room(room_id)

    @get("/{room_id:str}/state", summary="Return a room's world, at most `limit` entities per table", role="read")
    async def get_room_state(self, admin: Admin, room_id: FromPath[str], limit: Limit = LIMIT) -> RoomStateResponse:
        """Return the tables of a room."""
        return admin.get_room_state(room_id, limit)

    @get("/{room_id:str}/bandwidth", summary="Return the bandwidth of a room by field", role="read")
    async def get_room_bandwidth(self, admin: Admin, room_id: FromPath[str]) -> dict[str, Any]:
        """Return the bytes that each field of a room costs."""
        return admin.get_room_bandwidth(room_id)

    @post(
        "/{room_id:str}/close",
        summary="Close a room; a durable one is saved",
        status_code=200,
        operation_class=OptionalBody,
        role="admin",
    )
    async def close_room(self, admin: Admin, room_id: FromPath[str], data: JSONBody[Close] = CLOSE) -> Affected:
        """Close a room."""
        return admin.close_room(room_id, data)

    @post(
        "/{room_id:str}/broadcast", summary="Send an event to all players in a room", status_code=200, role="support"
    )
    async def broadcast(self, admin: Admin, room_id: FromPath[str], data: JSONBody[Broadcast]) -> Affected:
        """Send an event to the players of a room."""
        return admin.broadcast(room_id, data)

    @post(
        "/{room_id:str}/record",
        summary="Write the last seconds of a room to a recording, or record the next `seconds`",
        status_code=200,
        operation_class=OptionalBody,
        role="support",
    )
    async def record_room(
        self, admin: Admin, room_id: FromPath[str], data: JSONBody[RecordRoom] = LAST_SECONDS
    ) -> RecordingView:
        """Start to record a room, or to write its last seconds."""
        return admin.record_room(room_id, data)


class RoomErrorController(Controller):
    """Lists the exceptions of the games' code."""

    tags = ("rooms",)

    @get(
        "/room-errors",
        summary="List the newest exceptions of the games' code",
        description="Those of one room, or of all rooms since the start of this shard.",
        role="read",
    )
    async def list_room_errors(self, admin: Admin, room_id: FromQuery[str] = "") -> list[RoomErrorView]:
        """Return the newest exceptions."""
        return admin.list_room_errors(room_id)


class RecordingController(Controller):
    """Lists and downloads recordings."""

    path = "/recordings"
    tags = ("recordings",)

    @get("/", summary="List the recordings of this shard; those that are not complete first", role="read")
    async def list_recordings(self, admin: Admin) -> list[RecordingView]:
        """Return the recordings in the directory of this shard."""
        return await admin.list_recordings()

    @get("/{name:str}", summary="Download a recording", media_type=_BINARY, role="read")
    async def read_recording(self, admin: Admin, name: FromPath[str]) -> Response[bytes]:
        """Return the contents of a complete recording."""
        return Response(await admin.read_recording(name), media_type=_BINARY, headers=_AS_FILE)
