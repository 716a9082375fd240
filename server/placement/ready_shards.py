"""Finds the shards that receive the rooms and sessions of a draining shard: the other ready shards of its region.

A rolling update or an eviction may leave no such shard for some seconds: the only other shard is being replaced, or
Redis does not answer. If players would be lost otherwise, a drain waits for one until its deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from tickwire.matchmaking import Matchmaker, MatchmakingError, ShardStatus

log = structlog.get_logger(__name__)

RETRY_INTERVAL_S = 0.5


class ReadyShards:
    """Finds the other ready shards of a region.

    Args:
        matchmaker: lists the shards of the fleet.
        shard_id: the id of this shard, which is left out.
        region: the region of this shard.
    """

    def __init__(self, matchmaker: Matchmaker, *, shard_id: str, region: str) -> None:
        self._matchmaker = matchmaker
        self._shard_id = shard_id
        self._region = region

    async def find(self) -> list[ShardStatus]:
        """Return the shards, ordered by their number of players; an empty list if Redis does not answer.

        Shards that have failed are left out, while the directory still has their entries.
        """
        try:
            shards = await self._matchmaker.directory.list_shards()
        except MatchmakingError as error:
            log.warning("shard_listing_failed", error=error.detail)
            return []
        own = next((shard for shard in shards if shard.info.shard_id == self._shard_id), None)
        return [
            shard
            for shard in sorted(shards, key=lambda shard: shard.players)
            if shard.info.state == "ready"
            and shard.info.region == self._region
            and shard is not own
            and not _has_failed(shard, own)
        ]

    async def wait(self, is_needed: Callable[[], bool]) -> list[ShardStatus]:
        """Wait for a ready shard.

        Args:
            is_needed: whether to keep waiting; checked twice a second.

        Returns:
            The ready shards; an empty list if `is_needed` returned False first.
        """
        is_logged = False
        while True:
            shards = await self.find()
            if shards or not is_needed():
                return shards
            if not is_logged:
                is_logged = True
                log.warning("drain_delayed", reason="no other shard is ready; a second signal ends the drain")
            await asyncio.sleep(RETRY_INTERVAL_S)


def _has_failed(shard: ShardStatus, own: ShardStatus | None) -> bool:
    """Return whether a shard has missed its heartbeats, or was replaced by this one at its address.

    If this shard has missed its own heartbeats as well, Redis did not answer for a while, and silence means nothing.
    """
    if own is None:
        return False
    return shard.info.url == own.info.url or (shard.is_silent and not own.is_silent)
