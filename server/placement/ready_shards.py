"""The shards that take rooms and sessions of a shard that drains: the other ready shards of its region.

A rolling update or an eviction may find none for some seconds: the only other shard is being replaced, or Redis does
not answer. A drain waits for one as long as players would be lost otherwise, up to its deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from tickwire.matchmaking import Matchmaker, MatchmakingError, ShardStatus

log = structlog.get_logger(__name__)

RETRY_S = 0.5


class ReadyShards:
    """Finds the other ready shards of a region.

    Args:
        matchmaker: knows the fleet.
        shard_id, region: of this shard.
    """

    def __init__(self, matchmaker: Matchmaker, *, shard_id: str, region: str) -> None:
        self._matchmaker = matchmaker
        self._shard_id = shard_id
        self._region = region

    async def find(self) -> list[ShardStatus]:
        """Return the shards, the one with the fewest players first; none if Redis does not answer."""
        try:
            shards = await self._matchmaker.directory.shards()
        except MatchmakingError as error:
            log.warning("no_shards_known", error=error.detail)
            return []
        return [
            shard
            for shard in sorted(shards, key=lambda shard: shard.players)
            if shard.info.state == "ready"
            and shard.info.region == self._region
            and shard.info.shard_id != self._shard_id
        ]

    async def wait(self, is_needed: Callable[[], bool]) -> list[ShardStatus]:
        """Return the shards as soon as there is one, or an empty list once none is needed any more."""
        is_logged = False
        while True:
            shards = await self.find()
            if shards or not is_needed():
                return shards
            if not is_logged:
                is_logged = True
                log.warning("drain_delayed", reason="no other shard is ready; a second signal ends the drain")
            await asyncio.sleep(RETRY_S)
