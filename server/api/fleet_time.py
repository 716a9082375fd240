"""Keeps the fleet's clock in a process of the role `api`, which sends no heartbeats that would return the time."""

from __future__ import annotations

import asyncio
import time

import structlog
from redis.exceptions import RedisError

from tickwire.matchmaking.clock import FleetClock
from tickwire.matchmaking.redis_connection import RedisConnection

log = structlog.get_logger(__name__)

SYNC_S = 5.0
DEADLINE_S = 2.0


class FleetTime:
    """The clock of Redis, read every few seconds.

    While Redis does not answer, the clock continues from its last answer. Before the first one it is this machine's.

    Args:
        redis: the Redis of the fleet.
    """

    def __init__(self, redis: RedisConnection) -> None:
        self._redis = redis
        self.clock = FleetClock(time.monotonic, time.time)

    def now_s(self) -> float:
        """Return UTC by the clock of Redis, seconds since 1970."""
        return self.clock.now_s()

    async def run(self) -> None:
        """Read the time until cancelled."""
        while True:
            try:
                await self.sync()
            except (RedisError, OSError, TimeoutError) as error:
                log.warning("fleet_time_unavailable", error=str(error) or type(error).__name__)
            await asyncio.sleep(SYNC_S)

    async def sync(self) -> None:
        """Read the time once.

        Raises:
            RedisError, OSError, TimeoutError: Redis does not answer.
        """
        async with asyncio.timeout(DEADLINE_S):
            answer = await self._redis.client.time()
        if isinstance(answer, dict):  # of a cluster: the answer of each node
            answer = next(iter(answer.values()))
        seconds, microseconds = answer
        self.clock.sync(int(seconds) * 1000 + int(microseconds) // 1000)
