"""Ends transactions that a killed shard has left open.

Documents that such a transaction has touched stay locked until MongoDB aborts it, after a minute. A shard that runs
into the lock ends the transaction instead. Ending the transaction of a live shard does no harm: that shard retries it
from the beginning.
"""

from __future__ import annotations

from typing import Any

import structlog
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.read_concern import ReadConcern

from tickwire.server.errors import Unavailable
from tickwire.server.storage.mongo_calls import MongoCalls

log = structlog.get_logger(__name__)

APP_NAME = "tickwire"
OPEN_S_MAX = 1.5
"""A transaction of a live shard takes some milliseconds."""


class StaleTransactionKiller:
    """Ends stale transactions of all shards.

    Args:
        client: a Motor client.
        calls: makes the calls, each with a deadline.
    """

    def __init__(self, client: AsyncIOMotorClient[dict[str, Any]], calls: MongoCalls) -> None:
        self._admin = client.get_database("admin", read_concern=ReadConcern("local"))
        self._calls = calls

    async def kill(self) -> int:
        """End the transactions of shards that have been open and idle for more than OPEN_S_MAX; return their number.

        Returns 0 if MongoDB does not allow it or does not answer. The locks then last for up to a minute.
        """
        try:
            return await self._kill()
        except Unavailable as error:
            log.warning("stale_transaction_kill_failed", error=error.detail)
            return 0

    async def _kill(self) -> int:
        open_us = int(OPEN_S_MAX * 1e6)
        idle = self._admin.aggregate(
            [
                {"$currentOp": {"idleSessions": True}},
                {
                    "$match": {
                        "type": "idleSession",
                        "appName": APP_NAME,
                        "transaction.timeOpenMicros": {"$gt": open_us},
                    }
                },
                {"$project": {"lsid": True}},
            ]
        )
        found = await self._calls.read(idle.to_list(None))
        if found:
            log.warning("stale_transactions_killed", count=len(found))
            await self._calls.read(self._admin.command("killSessions", [{"id": one["lsid"]["id"]} for one in found]))
        return len(found)
