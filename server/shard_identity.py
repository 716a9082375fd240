"""The identity of a shard in its fleet. Pure."""

from __future__ import annotations

import msgspec


class ShardIdentity(msgspec.Struct, frozen=True):
    """The id of a shard, and the region and build that it has for its lifetime.

    Args:
        shard_id: unique in the fleet.
        region: where the shard runs; players are placed in their region.
        build: the version of the game and its server; rooms move to shards of another build first.
    """

    shard_id: str
    region: str
    build: str

    @property
    def labels(self) -> dict[str, str]:
        """The labels by which a tuning version may select the shard's rooms."""
        return {"region": self.region, "build": self.build, "shard": self.shard_id}
