"""Checks the setup of a Redis: the permissions of the user, and that Redis evicts no keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from redis.asyncio import RedisCluster

from tickwire.matchmaking.errors import MatchmakerUnavailable
from tickwire.matchmaking.loop_timeout import LoopTimeout
from tickwire.matchmaking.redis_client import Client
from tickwire.matchmaking.redis_errors import REDIS_ERRORS
from tickwire.matchmaking.scripts import Scripts


class _Missing(msgspec.Struct, frozen=True):
    commands: Sequence[str]
    keys: Sequence[str]


async def check_permissions(scripts: Scripts) -> None:
    """Check that the user of Redis may run all commands that the scripts run.

    Raises:
        MatchmakerUnavailable: a permission is missing, which `detail` names; or Redis does not answer.
    """
    missing = await scripts.run("check/permissions", {}, _Missing)
    rules = [f"+{name}" for name in dict.fromkeys(missing.commands)] + [f"~{pattern}" for pattern in missing.keys]
    if rules:
        detail = f"{scripts.address or 'Redis'}: the user lacks permissions: {' '.join(rules)}"
        raise MatchmakerUnavailable("Redis does not answer", detail=detail)


async def find_eviction_policy(client: Client, deadline_s: float) -> str | None:
    """Return the policy by which Redis deletes keys when its memory is full.

    Returns:
        Empty if Redis deletes no keys, as the matchmaker requires. None if the policy is unknown, because the user
        may not run INFO or Redis does not answer.
    """
    try:
        async with LoopTimeout(deadline_s):
            nodes = await _memory_of_nodes(client)
    except REDIS_ERRORS:
        return None
    for memory in nodes:
        policy = str(memory.get("maxmemory_policy", ""))
        if not policy:
            return None
        if policy != "noeviction" and memory.get("maxmemory", 0):
            return policy
    return ""


async def _memory_of_nodes(client: Client) -> Sequence[dict[str, Any]]:
    if isinstance(client, RedisCluster):
        found = await client.info("memory", target_nodes=RedisCluster.PRIMARIES)
        return list(found.values())
    return [await client.info("memory")]
