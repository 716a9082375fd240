"""Bans of the whole fleet: the collection `bans`, which shards poll.

    _id          the player's id
    until        UTC; a time in the past means that the ban was lifted
    reason       shown to the player
    changed_at   MongoDB's time of the last change; shards poll by it

Guarantees: a ban replaces the player's ban before it. A ban that was acknowledged is in the answer of every later
poll.
"""

from __future__ import annotations

import datetime
from typing import Any

import msgspec
from motor.motor_asyncio import AsyncIOMotorDatabase
from pymongo import DESCENDING

from tickwire.server.fault_isolation import FaultIsolation
from tickwire.server.storage.mongo_calls import MongoCalls
from tickwire.server.storage.polled_collection import PolledCollection

CLOCKS_APART = datetime.timedelta(days=1)
"""The largest error of a shard's clock before its first answer from Redis. The first poll reads bans that ended up to
this long ago, too."""
_BEGINNING = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class Ban(msgspec.Struct, frozen=True):
    """A player who may not play.

    Args:
        until: UTC; a time in the past means that the ban was lifted.
    """

    player_id: str
    until: datetime.datetime
    reason: str = ""


class BanStore:
    """Reads and writes the collection `bans`.

    Args:
        database: a Motor database.
        calls: makes the calls, each with a deadline.
        isolation: guards the reading of each document, so that an invalid one does not hide the others.
    """

    def __init__(
        self, database: AsyncIOMotorDatabase[dict[str, Any]], calls: MongoCalls, isolation: FaultIsolation
    ) -> None:
        self._bans = database["bans"]
        self._calls = calls
        self._polled = PolledCollection(self._bans, calls, isolation, _from_document)

    async def save(self, ban: Ban) -> None:
        """Write a ban in place of the player's ban before it. Idempotent.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        change = {
            "$set": {"until": ban.until, "reason": ban.reason},
            "$currentDate": {"changed_at": True},
        }
        await self._calls.write(self._bans.update_one({"_id": ban.player_id}, change, upsert=True))

    async def lift(self, ban: Ban) -> int:
        """End a ban at `ban.until` if it would last longer; return how many were ended. Idempotent.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        filters = {"_id": ban.player_id, "until": {"$gt": ban.until}}
        change = {"$set": {"until": ban.until}, "$currentDate": {"changed_at": True}}
        result = await self._calls.write(self._bans.update_one(filters, change))
        return int(result.modified_count)

    async def find(self, player_id: str) -> Ban | None:
        """Return the last ban of a player, which may have ended, or None.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        document = await self._calls.read(self._bans.find_one({"_id": player_id}))
        return next(iter(self._polled.decode_all([document] if document else [])), None)

    async def list_changed(
        self, since: datetime.datetime | None, *, now: datetime.datetime
    ) -> tuple[list[Ban], datetime.datetime | None]:
        """Return the bans that have changed, and the value of `since` for the next call.

        Args:
            since: the second value that the last call returned; None on the first call, which returns all bans in
                force.
            now: by the caller's clock; the first call also returns bans that ended less than CLOCKS_APART before it.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        return await self._polled.list_changed(since, first={"until": {"$gt": now - CLOCKS_APART}})

    async def list_active(self, limit: int, *, now: datetime.datetime) -> list[Ban]:
        """Return at most `limit` bans in force at `now`, the longest first.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        cursor = self._bans.find({"until": {"$gt": now}}).sort("until", DESCENDING).limit(limit)
        return self._polled.decode_all(await self._calls.read(cursor.to_list(limit)))


def _from_document(document: dict[str, Any]) -> Ban:
    return Ban(document["_id"], document["until"], document.get("reason", ""))
