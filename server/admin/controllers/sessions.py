"""The sessions of this shard, and the matchmaking queues of the fleet."""

from __future__ import annotations

from typing import Any

from litestar import Controller, get, post
from litestar.params import FromPath, FromQuery, JSONBody

from tickwire.server.admin.controllers.declarations import LIMIT, Admin, Limit
from tickwire.server.admin.views import Affected, Kick, SessionView
from tickwire.server.http.optional_body import OptionalBody

KICK = Kick()
"""The body of a request without a body."""


class SessionController(Controller):
    """Lists and ends sessions."""

    path = "/sessions"
    tags = ("sessions",)

    @get("/", summary="List the sessions of this shard, of a room or of a player", role="read")
    async def list_sessions(
        self, admin: Admin, room_id: FromQuery[str] = "", player_id: FromQuery[str] = "", limit: Limit = LIMIT
    ) -> list[SessionView]:
        """Return sessions; empty filters match all."""
        return admin.list_sessions(room_id, player_id, limit)

    @post(
        "/{session_id:str}/kick",
        summary="End a session; its player may open another",
        status_code=200,
        operation_class=OptionalBody,
        role="support",
    )
    async def kick_session(self, admin: Admin, session_id: FromPath[str], data: JSONBody[Kick] = KICK) -> Affected:
        """End a session."""
        return admin.kick_session(session_id, data)


class QueueController(Controller):
    """Describes the queues of the modes, across all shards."""

    path = "/queues"
    tags = ("queues",)

    @get("/", summary="List the modes of the matchmaking queue", role="read")
    async def list_modes(self, admin: Admin) -> list[str]:
        """Return the names of the modes."""
        return admin.list_modes()

    @get("/{mode:str}", summary="Describe a mode's queue, across all shards", role="read")
    async def get_queue(self, admin: Admin, mode: FromPath[str]) -> dict[str, Any]:
        """Return the state of a mode's queue."""
        return await admin.get_queue(mode)

    @get(
        "/{mode:str}/players/{player_id:str}",
        summary="Explain why a player waits",
        description="The answer has the rule that blocks the match, and the time when it would match.",
        role="read",
    )
    async def explain_wait(self, admin: Admin, mode: FromPath[str], player_id: FromPath[str]) -> dict[str, Any]:
        """Return the reason why a player waits."""
        return await admin.explain_wait(mode, player_id)
