"""The audit trail of operators: the collection `audit`, one document for each request that could change something.

    at         the fleet's clock, UTC
    operator   the name of the operator
    role       the operator's role at that time
    action     the endpoint: PUT /bans/{player_id}
    target     the parameters of its path: { player_id: "ann" }
    request    the beginning of the request's body
    note       the header X-Operator
    result     the status of the response

Documents are never changed, and expire after AUDIT_KEPT_DAYS. The deletion of a player does not delete them: they are
the proof of who has deleted what.
"""

from __future__ import annotations

import datetime
from typing import Any

import msgspec
from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorDatabase
from pymongo import DESCENDING, IndexModel

from tickwire.server.storage.mongo_calls import MongoCalls

AUDIT_KEPT_DAYS = 730
Position = tuple[datetime.datetime, str]
"""The time and the id of an entry; the list is ordered by both, the newest first."""


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One request of an operator.

    Args:
        id: the id of the entry; empty before it is stored.
        at: UTC.
        operator, role: the operator.
        action: the method and the path of the endpoint.
        target: the parameters of the path.
        request: the beginning of the request's body.
        note: the operator's note.
        result: the status of the response.
    """

    id: str = ""
    at: datetime.datetime
    operator: str
    role: str
    action: str
    target: dict[str, str] = {}
    request: str = ""
    note: str = ""
    result: int


class AuditFilter(msgspec.Struct, frozen=True):
    """Selects entries; empty texts select all."""

    operator: str = ""
    action: str = ""
    player_id: str = ""


class AuditStore:
    """Reads and writes the collection `audit`.

    Args:
        database: a Motor database.
        calls: makes the calls, each with a deadline.
    """

    def __init__(self, database: AsyncIOMotorDatabase[dict[str, Any]], calls: MongoCalls) -> None:
        self._audit = database["audit"]
        self._calls = calls

    async def add(self, entry: AuditEntry) -> None:
        """Write an entry.

        Raises:
            Unavailable: MongoDB does not answer.
            NotSavable: MongoDB cannot hold the entry.
        """
        document = msgspec.structs.asdict(entry)
        del document["id"]
        # Keys of `target` are names of parameters, which MongoDB can hold; values are any text.
        await self._calls.write(self._audit.insert_one(document))

    async def list_entries(self, filters: AuditFilter, limit: int, after: Position | None) -> list[AuditEntry]:
        """Return at most `limit` entries, the newest first.

        Args:
            filters: selects entries.
            limit: the most entries.
            after: the position of the last entry of the page before; None for the first page.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        selected: dict[str, Any] = {}
        for name, value in (
            ("operator", filters.operator),
            ("action", filters.action),
            ("target.player_id", filters.player_id),
        ):
            if value:
                selected[name] = value
        if after is not None:
            at, entry_id = after
            selected["$or"] = [{"at": {"$lt": at}}, {"at": at, "_id": {"$lt": ObjectId(entry_id)}}]
        cursor = self._audit.find(selected).sort([("at", DESCENDING), ("_id", DESCENDING)]).limit(limit)
        return [_entry_from_document(one) for one in await self._calls.read(cursor.to_list(limit))]


def _entry_from_document(document: dict[str, Any]) -> AuditEntry:
    document["id"] = str(document.pop("_id"))
    return msgspec.convert(document, AuditEntry)


async def create_audit_collection(database: AsyncIOMotorDatabase[dict[str, Any]]) -> None:
    """Create the indexes of the collection: a step of the schema."""
    await database["audit"].create_indexes(
        [
            IndexModel([("at", -1), ("_id", -1)]),
            IndexModel([("target.player_id", 1), ("at", -1), ("_id", -1)]),
            IndexModel([("operator", 1), ("at", -1), ("_id", -1)]),
            IndexModel("at", expireAfterSeconds=AUDIT_KEPT_DAYS * 24 * 3600),
        ]
    )
