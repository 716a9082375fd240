"""Wakes a shard when Redis has a new notice for it, so that it reads its inbox at once.

A wake may be lost: a shard reads its inbox each second as well. Redis publishes no wakes for a user that lacks the
permission, and refuses the subscription.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from redis.asyncio import ConnectionPool, Redis, RedisCluster

from tickwire.matchmaking.presence import PARTITIONS, wake_channel
from tickwire.matchmaking.redis_client import Client
from tickwire.matchmaking.redis_errors import REDIS_ERRORS, describe_error

log = structlog.get_logger(__name__)

LISTEN_TIMEOUT_S = 5.0
"""How long the subscription waits for a message before it checks that the connection answers."""
RETRY_INTERVAL_S = 5.0


class PresenceWake:
    """A subscription to the wakes of one shard.

    Args:
        client: the client of Redis; the subscription has a connection of its own.
        namespace: the prefix of all keys.
        shard_id: the shard.
        on_wake: called with the partition that has a new notice.
    """

    def __init__(self, client: Client, namespace: str, shard_id: str, on_wake: Callable[[int], object]) -> None:
        self._client = client
        self._on_wake = on_wake
        self._partitions = {
            wake_channel(namespace, number, shard_id).encode(): number for number in range(PARTITIONS)
        }
        self._last_error = ""

    async def run(self) -> None:
        """Listen until this is cancelled; after an error, subscribe again."""
        while True:
            try:
                await self._listen()
            except REDIS_ERRORS as error:
                self._log(describe_error(error, LISTEN_TIMEOUT_S))
            await asyncio.sleep(RETRY_INTERVAL_S)

    async def _listen(self) -> None:
        redis = await _to_single(self._client)
        async with redis.pubsub() as subscription:
            try:
                async with asyncio.timeout(LISTEN_TIMEOUT_S):
                    await subscription.subscribe(*self._partitions)
                while True:
                    message = await subscription.get_message(ignore_subscribe_messages=True, timeout=LISTEN_TIMEOUT_S)
                    if message is not None and message["type"] == "message":
                        self._last_error = ""
                        self._on_wake(self._partitions[message["channel"]])
                    elif message is None:
                        async with asyncio.timeout(LISTEN_TIMEOUT_S):
                            await subscription.ping()
            finally:
                if redis is not self._client:
                    await redis.aclose()

    def _log(self, error: str) -> None:
        if error != self._last_error:
            log.info("presence_wake_unavailable", error=error, hint="notices are read once a second")
        self._last_error = error


async def _to_single(client: Client) -> Redis:
    """Return a client of one Redis: on a cluster that of a node, because every node has all messages."""
    if not isinstance(client, RedisCluster):
        return client
    await client.initialize()
    node = client.get_random_node()
    return Redis.from_pool(ConnectionPool(connection_class=node.connection_class, **node.connection_kwargs))
