"""The shard that answers, and the shards of the fleet."""

from __future__ import annotations

from litestar import Controller, get, post, put
from litestar.params import FromPath, JSONBody

from tickwire.server.admin.controllers.declarations import Admin
from tickwire.server.admin.views import Affected, DrainRequested, LogLevel, ShardDetail, ShardView


class ShardController(Controller):
    """Describes shards, drains them, and sets their log level."""

    tags = ("shards",)

    @get("/shard", summary="Describe the shard that answers", role="read")
    async def get_shard(self, admin: Admin) -> ShardDetail:
        """Return this shard."""
        return admin.get_shard()

    @get("/fleet", summary="List all shards in the directory", role="read")
    async def list_shards(self, admin: Admin) -> list[ShardView]:
        """Return the shards of the fleet."""
        return await admin.list_shards()

    @post(
        "/fleet/{shard_id:str}/drain",
        summary="Drain a shard",
        description="It moves its rooms and players to other shards and stops; its supervisor restarts it.",
        status_code=200,
        role="admin",
    )
    async def drain_shard(self, admin: Admin, shard_id: FromPath[str]) -> DrainRequested:
        """Request the drain of a shard."""
        return await admin.drain_shard(shard_id)

    @put("/log-level", summary="Set the log level of this shard", role="admin")
    async def set_log_level(self, admin: Admin, data: JSONBody[LogLevel]) -> Affected:
        """Set the log level of this shard."""
        return admin.set_log_level(data)
