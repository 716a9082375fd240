"""Tuning versions of the whole fleet: the collection `tunings`, which shards poll.

    _id          the version; versions count up from 1
    values       by room type and field
    percentage, labels    which rooms have this version
    note, at     why and when it was made

Guarantees: a version is written once and never changes. Of two callers that add the same version, one succeeds and
the other receives VersionConflict. A version that was acknowledged is in the answer of every later poll.
"""

from __future__ import annotations

import datetime
from typing import Any

import msgspec
from motor.motor_asyncio import AsyncIOMotorDatabase
from pymongo import DESCENDING
from pymongo.errors import DuplicateKeyError

from tickwire.server.errors import VersionConflict
from tickwire.server.fault_isolation import FaultIsolation
from tickwire.server.storage.mongo_calls import MongoCalls

_BEGINNING = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class TuningVersion(msgspec.Struct, frozen=True):
    """One version of the rooms' tuning values.

    Args:
        values: by room type, the fields whose values differ from those that the game declares.
        percentage: the share of rooms that have this version, 0 to 100.
        labels: only rooms that have all of these labels have this version.
        note: why it was made.
        at: when it was made, UTC.
    """

    version: int
    values: dict[str, dict[str, Any]]
    percentage: float = 100.0
    labels: dict[str, str] = {}
    note: str = ""
    at: datetime.datetime = _BEGINNING


class TuningStore:
    """Reads and writes the collection `tunings`.

    Args:
        database: a Motor database.
        calls: makes the calls, each with a deadline.
        isolation: guards the reading of each document, so that an invalid one does not hide the others.
    """

    def __init__(
        self, database: AsyncIOMotorDatabase[dict[str, Any]], calls: MongoCalls, isolation: FaultIsolation
    ) -> None:
        self._tunings = database["tunings"]
        self._calls = calls
        self._isolation = isolation

    async def get_newest_version(self) -> int:
        """Return the number of the newest version, or 0 before the first.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        document = await self._calls.read(self._tunings.find_one({}, {"_id": 1}, sort=[("_id", DESCENDING)]))
        return int(document["_id"]) if document else 0

    async def list_newest(self, limit: int | None = None) -> list[TuningVersion]:
        """Return the newest versions, the newest first; all of them without a limit.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        cursor = self._tunings.find().sort("_id", DESCENDING).limit(limit or 0)
        versions: list[TuningVersion] = []
        for document in await self._calls.read(cursor.to_list(limit)):
            with self._isolation.guard("operator documents", f"tunings/{document['_id']}"):
                versions.append(_version_from_document(document))
        return versions

    async def get(self, version: int) -> TuningVersion | None:
        """Return the version with this number, or None.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        document = await self._calls.read(self._tunings.find_one({"_id": version}))
        return _version_from_document(document) if document else None

    async def add(self, tuning: TuningVersion) -> None:
        """Write a new version.

        Raises:
            VersionConflict: a version with this number exists.
            NotSavable: MongoDB cannot hold a value.
            Unavailable: MongoDB does not answer.
        """
        document = {name: getattr(tuning, name) for name in tuning.__struct_fields__ if name != "version"}
        try:
            await self._calls.write(self._tunings.insert_one({"_id": tuning.version, **document}))
        except DuplicateKeyError:
            message = f"tuning version {tuning.version} exists already: another operator has made it"
            raise VersionConflict(message) from None


def _version_from_document(document: dict[str, Any]) -> TuningVersion:
    return msgspec.convert({"values": {}} | document | {"version": document["_id"]}, TuningVersion)
