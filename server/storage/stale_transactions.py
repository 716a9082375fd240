"""Transactions that were left behind: a shard that is killed in one cannot end it, and what it has touched stays
locked for everybody until MongoDB gives it up, after a minute. Whoever they are in the way of ends them.

Ending one of a shard that lives does no harm: it is made again from the beginning.
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
"""Ours take some milliseconds."""


class StaleTransactionKiller:
    """Ends them.

    Args:
        client: of MongoDB.
        calls: the door.
    """

    def __init__(self, client: AsyncIOMotorClient[dict[str, Any]], calls: MongoCalls) -> None:
        self._admin = client.get_database("admin", read_concern=ReadConcern("local"))
        self._calls = calls

    async def end(self) -> int:
        """Ends transactions of shards that have been open, and still, for longer than OPEN_S_MAX; gives how many.

        Where MongoDB does not let us look, or does not answer, it is 0: what is in the way then stays there for a
        minute, and nothing else depends on it.
        """
        try:
            return await self._end()
        except Unavailable as error:
            log.warning("abandoned_transactions_not_ended", error=error.detail)
            return 0

    async def _end(self) -> int:
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
            log.warning("transactions_abandoned", count=len(found))
            await self._calls.read(self._admin.command("killSessions", [{"id": one["lsid"]["id"]} for one in found]))
        return len(found)
