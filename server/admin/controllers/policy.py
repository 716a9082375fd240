"""Bans and tuning versions, which reach all shards within a second."""

from __future__ import annotations

from litestar import Controller, delete, get, post, put
from litestar.params import FromPath, JSONBody

from tickwire.server.admin.controllers.declarations import LIMIT, Admin, Limit
from tickwire.server.admin.views import Affected, BanPlayer, BanView, RollBack, Tune, Tunings, TuningView


class BanController(Controller):
    """Bans players, and lifts bans."""

    path = "/bans"
    tags = ("players",)

    @get("/", summary="List the bans in force", role="read")
    async def list_bans(self, admin: Admin, limit: Limit = LIMIT) -> list[BanView]:
        """Return the bans in force."""
        return await admin.list_bans(limit)

    @put("/{player_id:str}", summary="Ban a player for a time, on all shards within a second", role="support")
    async def ban_player(self, admin: Admin, player_id: FromPath[str], data: JSONBody[BanPlayer]) -> BanView:
        """Ban a player."""
        return await admin.ban_player(player_id, data)

    @delete("/{player_id:str}", summary="Lift a ban", status_code=200, role="support")
    async def lift_ban(self, admin: Admin, player_id: FromPath[str]) -> Affected:
        """Lift a ban."""
        return await admin.lift_ban(player_id)


class TuningController(Controller):
    """Publishes tuning versions, and rolls them back."""

    path = "/tuning"
    tags = ("tuning",)

    @get("/", summary="List the newest tuning versions and the schemas of their values", role="read")
    async def list_tunings(self, admin: Admin) -> Tunings:
        """Return the tuning versions."""
        return await admin.list_tunings()

    @put("/", summary="Add a tuning version for some or all rooms of the fleet, within a second", role="admin")
    async def publish_tuning(self, admin: Admin, data: JSONBody[Tune]) -> TuningView:
        """Add a tuning version."""
        return await admin.publish_tuning(data)

    @post(
        "/rollback",
        summary="Roll back: add a version with the values of an older one",
        status_code=200,
        role="admin",
    )
    async def roll_back_tuning(self, admin: Admin, data: JSONBody[RollBack]) -> TuningView:
        """Add a tuning version with the values of an earlier one."""
        return await admin.roll_back_tuning(data)
