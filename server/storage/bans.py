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

MARGIN = datetime.timedelta(seconds=10)
"""Polls overlap by this much, because the members of a replica set do not share one clock."""
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
        self._isolation = isolation

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
        return next(iter(self._read([document] if document else [])), None)

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
        if since is None:
            filters: dict[str, Any] = {"until": {"$gt": now - CLOCKS_APART}}
        else:
            filters = {"changed_at": {"$gte": since - MARGIN}}
        documents = await self._calls.read(self._bans.find(filters).to_list(None))
        changed = [at for one in documents if isinstance(at := one.get("changed_at"), datetime.datetime)]
        newest = max(changed, default=since or _BEGINNING + MARGIN)
        return self._read(documents), newest

    async def list_active(self, limit: int, *, now: datetime.datetime) -> list[Ban]:
        """Return at most `limit` bans in force at `now`, the longest first.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        cursor = self._bans.find({"until": {"$gt": now}}).sort("until", DESCENDING).limit(limit)
        return self._read(await self._calls.read(cursor.to_list(limit)))

    def _read(self, documents: list[dict[str, Any]]) -> list[Ban]:
        bans: list[Ban] = []
        for document in documents:
            with self._isolation.guard("operator documents", f"bans/{document['_id']}"):
                bans.append(Ban(document["_id"], document["until"], document.get("reason", "")))
        return bans
