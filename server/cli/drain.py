"""`tickwire drain`: requests a drain through the directory, so that it works from any machine that reaches Redis."""

from __future__ import annotations

from tickwire.server.assembly import create_matchmaker
from tickwire.server.config import RedisSettings


async def request_drain(redis: RedisSettings, shard_id: str) -> bool | None:
    """Request that a shard of the fleet drains; see `Directory.request_drain`.

    Args:
        redis: the settings of the fleet's Redis.
        shard_id: the shard.

    Returns:
        False if it is draining already; None if the directory does not list it.

    Raises:
        ConfigError: the URL is not a URL of Redis.
        MatchmakingError: Redis does not answer.
    """
    matchmaker = create_matchmaker(redis)
    try:
        return await matchmaker.directory.request_drain(shard_id)
    finally:
        await matchmaker.aclose()
