"""Stores worlds: one document per durable room, with the epoch of its owner as the fence. Layout: world_document.py.

Guarantees: `claim`, and each world of a `write`, is atomic and safe to repeat. A world in several parts is atomic,
too: its root document is written last and references the new parts; unreferenced parts are deleted. A write whose
epoch is older than the document's writes nothing. All methods raise Unavailable if MongoDB does not answer in time.
"""

from __future__ import annotations

import datetime
import re
import time
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import structlog
from motor.motor_asyncio import AsyncIOMotorDatabase
from pymongo import DeleteMany, ReplaceOne, ReturnDocument, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from tickwire.server.errors import Locked, NotSavable, StaleEpoch, Unavailable
from tickwire.server.storage.mongo_calls import CANNOT_HOLD, RETRY_AFTER_MS, MongoCalls
from tickwire.server.storage.stale_transactions import StaleTransactionKiller
from tickwire.server.storage.world_document import (
    Document,
    SavedWorld,
    WorldWrite,
    create_world_write,
    insert_parts,
    list_part_ids,
    world_from_document,
    world_key,
)

log = structlog.get_logger(__name__)

_DUPLICATE_KEY = 11000
_SESSION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Session ids come from clients and become part of a query, so they are checked."""

DecidedOutcome = Literal["written", "stale", "mismatch"] | NotSavable
WriteOutcome = DecidedOutcome | Unavailable
"""The outcome of writing one world. `mismatch`: the stored document differs from the one that the update assumed, so
the world must be written in full."""

LOCKED_MS_MAX = 1000
"""The longest that a claim waits for a transaction in progress, which takes some milliseconds unless its shard is
dead."""


class SavedLocation(msgspec.Struct, frozen=True):
    """The location of a session in a saved world."""

    room_type: str
    name: str
    player_id: str
    labels: dict[str, str] = {}


class WorldStore:
    """Reads and writes the collections `worlds` and `world_parts`, and the fences of durable rooms.

    Args:
        database: a Motor database.
        calls: makes the calls, each with a deadline.
        stale_transactions: ends transactions of killed shards that block a claim.
        owner: identifies this process in its claims; unique for each process.
    """

    def __init__(
        self,
        database: AsyncIOMotorDatabase[dict[str, Any]],
        calls: MongoCalls,
        stale_transactions: StaleTransactionKiller,
        owner: str,
    ) -> None:
        self._owner = owner
        self._worlds = database["worlds"]
        self._parts = database["world_parts"]
        self._fences = database["fences"]
        self._calls = calls
        self._stale_transactions = stale_transactions

    async def load(self, room_type: str, name: str) -> SavedWorld | None:
        """Return the last saved world, or None, without claiming it.

        Raises:
            NotSavable: this build cannot read the stored world.
            Unavailable: MongoDB does not answer.
        """
        for _ in range(3):  # the owner may delete a part between the two reads; the root then has new ones
            document = await self._calls.read(self._worlds.find_one({"_id": world_key(room_type, name)}))
            try:
                return await self._read(document)
            except KeyError:
                continue  # read again
        raise _not_readable(world_key(room_type, name), "a part is missing")

    async def claim(self, room_type: str, name: str, epoch: int) -> SavedWorld | None:
        """Raise the stored epoch to `epoch`, so that writes of all older owners are refused from now on.

        Returns:
            The last saved world; None if it was never saved.

        Raises:
            StaleEpoch: a newer owner, or another process with the same epoch, has claimed the world. The error has
                the newest epoch.
            NotSavable: this build cannot read the stored world.
            Unavailable: MongoDB does not answer.
        """
        key = world_key(room_type, name)
        # The fence of its transactions first: when the world is read here, no other shard can commit in it any more.
        await self._raise_epoch(self._fences, key, {"touched_at": _now()}, epoch)
        document = await self._raise_epoch(self._worlds, key, {"room_type": room_type, "name": name}, epoch)
        if "tables" in document:
            await self._stale_transactions.kill()  # they would block the first transactions here
        # Parts that older owners wrote and never referenced.
        orphans = {"world": key, "epoch": {"$lt": epoch}, "_id": {"$nin": list_part_ids(document)}}
        try:
            world = await self._read(document)
        except KeyError as error:
            raise _not_readable(key, f"part {error} is missing") from error
        await self._calls.write(self._parts.delete_many(orphans))
        return world

    async def _raise_epoch(self, collection: Any, key: str, values: Document, epoch: int) -> Document:
        values |= {"owner": self._owner}
        stages = [{"$set": {name: {"$literal": value} for name, value in values.items()} | _claim_fields(epoch)}]
        ours = {"epoch": epoch, "owner": self._owner}  # a repeated claim
        is_locked = False
        while True:
            try:
                found: Document = await self._calls.write(
                    collection.find_one_and_update(
                        {"_id": key, "$or": [{"epoch": {"$lt": epoch}}, ours]},
                        stages,
                        upsert=True,
                        return_document=ReturnDocument.AFTER,
                        maxTimeMS=LOCKED_MS_MAX,
                    )
                )
                return found
            except Locked:
                if is_locked:
                    raise
                is_locked = True
                await self._stale_transactions.kill()
            except DuplicateKeyError as error:  # the document exists, with an epoch that the filter excludes
                stored = (
                    await self._calls.read(collection.find_one({"_id": key}, {"epoch": True, "owner": True})) or {}
                )
                newest = int(stored.get("epoch", 0))
                if newest > epoch or (newest == epoch and stored.get("owner") != self._owner):
                    message = f"world {key} is owned by another shard, with epoch {newest}; ours is {epoch}"
                    raise StaleEpoch(message, newest=newest) from error
                # Otherwise another process has just created the document: try again.

    async def _read(self, document: Document | None) -> SavedWorld | None:
        ids = list_part_ids(document or {})
        if ids:
            assert document is not None
            cursor = self._parts.find({"_id": {"$in": ids}})
            found = await self._calls.read(cursor.to_list(len(ids)))
            insert_parts(document, {part["_id"]: part["data"] for part in found})
        try:
            return world_from_document(document)
        except ValueError as error:
            raise _not_readable(str((document or {}).get("_id")), str(error)) from error

    async def find_player(self, room_id: str, session_id: str) -> SavedLocation | None:
        """Return the location of a session if it was in this room at the last write, or None.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        if not _SESSION_ID.fullmatch(session_id):
            return None
        wanted = {"room_type": True, "name": True, "labels": True, f"sessions.{session_id}": True}
        document = await self._calls.read(self._worlds.find_one({"room_id": room_id}, wanted))
        session = (document or {}).get("sessions", {}).get(session_id)
        if document is None or not isinstance(session, dict):
            return None
        if "in_parts" in session:
            world = await self.load(document["room_type"], document["name"])
            session = world.sessions.get(session_id) if world is not None else None
        if session is None:
            return None
        labels = {name: label for name, label in document.get("labels", {}).items() if isinstance(label, str)}
        return SavedLocation(document["room_type"], document["name"], session["player_id"], labels)

    async def save(self, world: SavedWorld, epoch: int) -> None:
        """Write one world in full.

        Raises:
            StaleEpoch: a newer owner has claimed the world; nothing was written.
            NotSavable: MongoDB cannot hold the world; nothing was written.
            Unavailable: the outcome is unknown; the write is safe to repeat.
        """
        outcomes = await self.write([create_world_write(world, epoch, time.time_ns(), None, _now())])
        outcome = outcomes[world.key]
        if isinstance(outcome, NotSavable | Unavailable):
            raise outcome
        if outcome == "stale":
            raise StaleEpoch(f"world {world.key} has a newer owner than epoch {epoch}")

    async def write(self, writes: Sequence[WorldWrite]) -> dict[str, WriteOutcome]:
        """Write several worlds, each fenced by its epoch; return the outcome of each by key.

        Raises:
            Unavailable: MongoDB does not answer; the outcome of each world is unknown.
        """
        parts = [ReplaceOne({"_id": part["_id"]}, part, upsert=True) for write in writes for part in write.parts]
        if parts:
            failed, _ = await self._bulk(self._parts, parts)
            for outcome in failed.values():
                if isinstance(outcome, Unavailable):
                    raise outcome  # a root must not reference a part that does not exist
        failed, matched = await self._bulk(self._worlds, [_root_operation(write, self._owner) for write in writes])
        outcomes: dict[str, WriteOutcome] = {write.key: failed.get(i, "written") for i, write in enumerate(writes)}
        if matched < len(writes):
            await self._verify([write for write in writes if isinstance(outcomes[write.key], str)], outcomes)
        dropped = [part for write in writes if outcomes[write.key] == "written" for part in write.dropped]
        if dropped:
            await self._bulk(self._parts, [DeleteMany({"_id": {"$in": dropped}})])
        return outcomes

    async def _bulk(self, collection: Any, operations: Sequence[Any]) -> tuple[dict[int, WriteOutcome], int]:
        """Return the outcomes of failed operations by index, and the number of documents matched or inserted."""
        try:
            result = await self._calls.write(collection.bulk_write(operations, ordered=False))
            return {}, result.matched_count + result.upserted_count
        except BulkWriteError as error:
            failed: dict[int, WriteOutcome] = {}
            for one in error.details.get("writeErrors", ()):
                failed[one["index"]] = self._outcome_from_error(one["code"], one["errmsg"][:500])
            if error.details.get("writeConcernErrors"):
                self._calls.write_error = "a majority of MongoDB's members did not acknowledge a write"
                raise Unavailable(self._calls.write_error, retry_after_ms=RETRY_AFTER_MS) from error
            return failed, error.details["nMatched"] + error.details["nUpserted"]

    def _outcome_from_error(self, code: int, message: str) -> WriteOutcome:
        if code == _DUPLICATE_KEY:
            return "mismatch"
        if code in CANNOT_HOLD:
            return NotSavable(f"MongoDB cannot hold this: {message}")
        self._calls.write_error = f"MongoDB does not accept writes: code {code}"
        detail = f"{self._calls.write_error}: {message}"
        return Unavailable("MongoDB does not accept writes", retry_after_ms=RETRY_AFTER_MS, detail=detail)

    async def _verify(self, writes: list[WorldWrite], outcomes: dict[str, WriteOutcome]) -> None:
        """Correct the outcomes of writes whose filter (key, epoch, number) matched no document."""
        keys = {write.key: write for write in writes}
        cursor = self._worlds.find({"_id": {"$in": list(keys)}}, {"epoch": True, "save": True})
        found = {document["_id"]: document for document in await self._calls.read(cursor.to_list(len(keys)))}
        for key, write in keys.items():
            stored = found.get(key, {})
            if (stored.get("epoch"), stored.get("save")) == (write.epoch, write.number):
                outcomes[key] = "written"
            else:
                outcomes[key] = "stale" if stored.get("epoch", 0) > write.epoch else "mismatch"


def _not_readable(key: str, reason: str) -> NotSavable:
    return NotSavable("the room's stored world cannot be read", detail=f"world {key} cannot be read: {reason}")


def _root_operation(write: WorldWrite, owner: str) -> Any:
    # MongoDB may execute a call after its deadline. The number makes such a call do nothing after a newer write.
    ours = {"epoch": write.epoch, "save": {"$lt": write.number}}
    if write.is_full:
        root = write.root | {"owner": owner}  # as the claim has set it: the same process may claim again
        return ReplaceOne({"_id": write.key, "$or": [{"epoch": {"$lt": write.epoch}}, ours]}, root, upsert=True)
    return UpdateOne({"_id": write.key} | ours, write.root)


def _claim_fields(epoch: int) -> Document:
    """Return the fields of a claim: a new owner's save numbers start at 0, a repeated claim keeps its number."""
    is_new = {"$lt": [{"$ifNull": ["$epoch", -1]}, epoch]}
    return {"epoch": epoch, "save": {"$cond": [is_new, 0, {"$ifNull": ["$save", 0]}]}}


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
