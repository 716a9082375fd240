"""The connection to MongoDB: one client a shard, every call with a deadline, writes acknowledged by a majority."""

from __future__ import annotations

import asyncio
from typing import Any

from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import PyMongoError

from server.errors import Unavailable
from server.storage.worlds import Worlds

CALL_S_MAX = 5.0


class Store:
    """A shard's MongoDB.

    Args:
        url: a MongoDB connection string.
        database: the database's name.
        call_s_max: the longest that one call may take, seconds.
    """

    def __init__(self, url: str, database: str, *, call_s_max: float = CALL_S_MAX) -> None:
        timeout_ms = int(call_s_max * 1000)
        self._client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(
            url,
            serverSelectionTimeoutMS=timeout_ms,
            connectTimeoutMS=timeout_ms,
            socketTimeoutMS=timeout_ms,
            # A majority, so that what was acknowledged survives a fail-over; the deadline keeps it from hanging.
            w="majority",
            wTimeoutMS=timeout_ms,
            retryWrites=True,
            appname="tickwire",
        )
        self._call_s_max = call_s_max
        self.worlds = Worlds(self._client[database], call_s_max=call_s_max)

    async def ping(self) -> None:
        """Returns when MongoDB has a primary that answers.

        Raises:
            Unavailable: it does not within the deadline.
        """
        try:
            async with asyncio.timeout(self._call_s_max):
                await self._client.admin.command("ping")
        except (PyMongoError, TimeoutError) as error:
            raise Unavailable(f"MongoDB does not answer: {type(error).__name__}") from error

    def close(self) -> None:
        """Closes all connections."""
        self._client.close()
