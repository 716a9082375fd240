"""Checks the setup of Redis: the user's permissions before its first use, and once a minute the eviction policy.

A Redis that evicts keys deletes the names and leases of rooms when its memory is full. Shards restore their own
entries within a second, but until then a name may get a second room. The shard logs a warning and stays ready.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from tickwire.matchmaking.redis_checks import check_permissions, find_eviction_policy
from tickwire.matchmaking.redis_client import Client
from tickwire.matchmaking.scripts import Scripts

log = structlog.get_logger(__name__)

EVICTION_CHECK_INTERVAL_S = 60.0


class RedisSetup:
    """Checks one Redis.

    Args:
        client: the matchmaker's client.
        runners: the script runners, one for each hash slot that the shard uses.
        timeout_s: the longest time that one check may take.

    Attributes:
        may_evict: whether Redis evicts keys when its memory is full; None if that is unknown.
    """

    def __init__(self, client: Client, runners: Sequence[Scripts], timeout_s: float) -> None:
        self.may_evict: bool | None = None
        self._client = client
        self._runners = runners
        self._timeout_s = timeout_s
        self._is_permitted = False
        self._policy: str | None = ""
        self._next_check_s = 0.0

    async def check(self, now_s: float) -> None:
        """Run the checks that are due. Call it before Redis is used, and regularly afterwards.

        Args:
            now_s: a monotonic clock.

        Raises:
            MatchmakerUnavailable: the user lacks a permission, or Redis does not answer.
        """
        if not self._is_permitted:
            for runner in self._runners:
                await check_permissions(runner)
            self._is_permitted = True
        if now_s >= self._next_check_s:
            self._next_check_s = now_s + EVICTION_CHECK_INTERVAL_S
            await self._check_eviction()

    async def _check_eviction(self) -> None:
        policy = await find_eviction_policy(self._client, self._timeout_s)
        self.may_evict = None if policy is None else bool(policy)
        if policy == self._policy:
            return
        self._policy = policy
        if policy:
            log.warning("redis_evicts_keys", policy=policy, required="noeviction")
        elif policy is None:
            log.info("redis_eviction_unknown", reason="the user may not run INFO")
