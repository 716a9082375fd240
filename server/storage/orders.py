"""What operators have ordered, for the whole fleet: who is banned, and how rooms are tuned.

    bans      _id: the player; until, reason, at; changed_at
    tunings   _id: the version, which counts up; values, percentage, labels, note, at

Guarantees: a ban replaces the one before. A tuning's version is given out once: of two who make the next one at the
same time, one has it and the other is told. Both are read from when they are acknowledged, by whoever asks for what
has changed.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from motor.motor_asyncio import AsyncIOMotorDatabase
from pymongo import DESCENDING
from pymongo.errors import DuplicateKeyError

from tickwire.server.errors import VersionConflict
from tickwire.server.fault_isolation import FaultIsolation
from tickwire.server.storage.mongo_calls import MongoCalls

MARGIN = datetime.timedelta(seconds=10)
"""What has changed is asked for from so long before: members of a replica set do not have one clock."""
CLOCKS_APART = datetime.timedelta(days=1)
"""How wrong the clock of a shard may be that has not heard of Redis yet: of bans, it reads so many more."""
T = TypeVar("T")
_BEGINNING = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class Ban(msgspec.Struct, frozen=True):
    """A player who may not play.

    Args:
        until: UTC; in the past: the ban was lifted.
    """

    player_id: str
    until: datetime.datetime
    reason: str = ""


class TuningVersion(msgspec.Struct, frozen=True):
    """One version of what rooms are tuned by.

    Args:
        values: by room type, the fields that are not as the game declares them.
        percentage: of the rooms that have it, 0 to 100.
        labels: a room has all of them, or not this version.
        note: why.
        at: UTC.
    """

    version: int
    values: dict[str, dict[str, Any]]
    percentage: float = 100.0
    labels: dict[str, str] = {}
    note: str = ""
    at: datetime.datetime = _BEGINNING


class OperatorStore:
    """The collections `bans` and `tunings`.

    Args:
        database: a Motor database.
        calls: the door.

    Attributes:
        isolation: guards the reading of each document: one that is not as it should be hides no other.
    """

    def __init__(self, database: AsyncIOMotorDatabase[dict[str, Any]], calls: MongoCalls) -> None:
        self.isolation = FaultIsolation()
        self._bans = database["bans"]
        self._tunings = database["tunings"]
        self._calls = calls

    # -- bans -----------------------------------------------------------------------------------------------

    async def ban(self, ban: Ban) -> None:
        """A player may not play until then. Idempotent.

        Raises:
            Unavailable: MongoDB does not answer. So do all others here.
        """
        change = {
            "$set": {"until": ban.until, "reason": ban.reason},
            "$currentDate": {"changed_at": True},
        }
        await self._calls.write(self._bans.update_one({"_id": ban.player_id}, change, upsert=True))

    async def lift_ban(self, ban: Ban) -> int:
        """End a ban at `ban.until` if it would last longer; return how many were ended. Idempotent.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        wanted = {"_id": ban.player_id, "until": {"$gt": ban.until}}
        change = {"$set": {"until": ban.until}, "$currentDate": {"changed_at": True}}
        done = await self._calls.write(self._bans.update_one(wanted, change))
        return int(done.modified_count)

    async def bans_changed(
        self, since: datetime.datetime | None, *, now: datetime.datetime
    ) -> tuple[list[Ban], datetime.datetime | None]:
        """Who was banned, or is no more, since then; and what to ask with the next time.

        Args:
            since: None: all who are banned.
            now: by the caller's clock; bans that ended less than CLOCKS_APART before it are returned too.
        """
        if since is None:
            wanted: dict[str, Any] = {"until": {"$gt": now - CLOCKS_APART}}
        else:
            wanted = {"changed_at": {"$gte": since - MARGIN}}
        documents = await self._calls.read(self._bans.find(wanted).to_list(None))
        changed = [at for one in documents if isinstance(at := one.get("changed_at"), datetime.datetime)]
        newest = max(changed, default=since or _BEGINNING + MARGIN)
        return self._each("bans", documents, _ban), newest

    async def bans(self, limit: int, *, now: datetime.datetime) -> list[Ban]:
        """Who is banned now, those first who are for longest."""
        cursor = self._bans.find({"until": {"$gt": now}}).sort("until", DESCENDING).limit(limit)
        return self._each("bans", await self._calls.read(cursor.to_list(limit)), _ban)

    # -- tunings --------------------------------------------------------------------------------------------

    async def newest_tuning(self) -> int:
        """The newest version; 0 when there is none."""
        found = await self._calls.read(self._tunings.find_one({}, {"_id": 1}, sort=[("_id", DESCENDING)]))
        return int(found["_id"]) if found else 0

    async def tunings(self, limit: int | None = None) -> list[TuningVersion]:
        """Return the newest versions, the newest first; all of them without a limit."""
        cursor = self._tunings.find().sort("_id", DESCENDING).limit(limit or 0)
        return self._each("tunings", await self._calls.read(cursor.to_list(limit)), _tuning)

    def _each(self, collection: str, documents: list[dict[str, Any]], read: Callable[[dict[str, Any]], T]) -> list[T]:
        made: list[T] = []
        for document in documents:
            with self.isolation.guard("operator documents", f"{collection}/{document['_id']}"):
                made.append(read(document))
        return made

    async def tuning(self, version: int) -> TuningVersion | None:
        """One version."""
        found = await self._calls.read(self._tunings.find_one({"_id": version}))
        return _tuning(found) if found else None

    async def tune(self, tuning: TuningVersion) -> None:
        """A version that follows the newest.

        Raises:
            VersionConflict: somebody else has made it.
            NotSavable: a value is nothing that MongoDB can hold.
        """
        document = {name: getattr(tuning, name) for name in tuning.__struct_fields__ if name != "version"}
        try:
            await self._calls.write(self._tunings.insert_one({"_id": tuning.version, **document}))
        except DuplicateKeyError:
            raise VersionConflict(f"version {tuning.version} has been made by somebody else") from None


def _ban(document: dict[str, Any]) -> Ban:
    return Ban(document["_id"], document["until"], document.get("reason", ""))


def _tuning(document: dict[str, Any]) -> TuningVersion:
    return msgspec.convert({"values": {}} | document | {"version": document["_id"]}, TuningVersion)
