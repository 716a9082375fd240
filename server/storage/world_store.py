"""Saved worlds: one document a durable room, with the epoch of its owner as the fence. Its layout: documents.py.

Guarantees: `claim` is atomic and safe to repeat, and so is each world of a `write`; a world is written as a whole or
not at all, also one in parts: its head points at new parts, and parts that nothing points at are dropped. A write
with an older epoch than the document's writes nothing. A store that does not answer in time raises Unavailable.
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
    parts_named,
    put_parts,
    save_of,
    world_key,
    world_of,
)

log = structlog.get_logger(__name__)

_DUPLICATE_KEY = 11000
_SESSION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""It becomes part of a query, and a client says it."""

Written = Literal["written", "stale", "unknown"] | NotSavable
Fate = Written | Unavailable
"""What became of a world: `unknown`: the document is not what it was taken for, so all of it must be written."""


LOCKED_MS_MAX = 1000
"""A claim waits so long for a deal that is under way; it takes some milliseconds, unless its shard is dead."""


class SavedLocation(msgspec.Struct, frozen=True):
    """Where a session was when its world was saved."""

    room_type: str
    name: str
    player_id: str
    labels: dict[str, str] = {}


class WorldStore:
    """The collections `worlds` and `world_parts`, and the fences of durable rooms.

    Args:
        database: a Motor database.
        calls: the door.
        abandoned: ends what an owner that was killed has left in the way of a claim.
        owner: of what is claimed here; another for each process.
    """

    def __init__(
        self,
        database: AsyncIOMotorDatabase[dict[str, Any]],
        calls: MongoCalls,
        abandoned: StaleTransactionKiller,
        owner: str,
    ) -> None:
        self._owner = owner
        self._worlds = database["worlds"]
        self._parts = database["world_parts"]
        self._fences = database["fences"]
        self._calls = calls
        self._abandoned = abandoned

    async def load(self, room_type: str, name: str) -> SavedWorld | None:
        """The world as it was last saved, or None. Does not claim it.

        Raises:
            NotSavable: what is stored cannot be read by this build.
            Unavailable: MongoDB does not answer.
        """
        for _ in range(3):  # its owner may drop a part between the two reads: then the head points elsewhere by now
            document = await self._calls.read(self._worlds.find_one({"_id": world_key(room_type, name)}))
            try:
                return await self._read(document)
            except KeyError:
                continue  # read again
        raise _not_readable(world_key(room_type, name), "it lacks a part")

    async def claim(self, room_type: str, name: str, epoch: int) -> SavedWorld | None:
        """Raises the stored epoch to ours, so that every older owner is refused from now on.

        Returns:
            The world as its last owner left it; None when it was never saved.

        Raises:
            StaleEpoch: a newer owner has claimed it, or another owner under the same epoch, which the error names.
            NotSavable: what is stored cannot be read by this build.
            Unavailable: MongoDB does not answer.
        """
        key = world_key(room_type, name)
        # The fence of its deals first: once the world can be read here, nothing more is earned in it elsewhere.
        await self._raise(self._fences, key, {"touched_at": _now()}, epoch)
        document = await self._raise(self._worlds, key, {"room_type": room_type, "name": name}, epoch)
        if "tables" in document:
            await self._abandoned.end()  # or the first deals here would wait for those that were under way elsewhere
        # What older owners had begun and never pointed at.
        orphans = {"world": key, "epoch": {"$lt": epoch}, "_id": {"$nin": parts_named(document)}}
        try:
            world = await self._read(document)
        except KeyError as error:
            raise _not_readable(key, f"it lacks the part {error}") from error
        await self._calls.write(self._parts.delete_many(orphans))
        return world

    async def _raise(self, collection: Any, key: str, values: Document, epoch: int) -> Document:
        values |= {"owner": self._owner}
        stages = [{"$set": {name: {"$literal": value} for name, value in values.items()} | _owned(epoch)}]
        ours = {"epoch": epoch, "owner": self._owner}  # this claim again
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
                await self._abandoned.end()
            except DuplicateKeyError as error:  # it is there, under an epoch that the filter refuses
                there = (
                    await self._calls.read(collection.find_one({"_id": key}, {"epoch": True, "owner": True})) or {}
                )
                newest = int(there.get("epoch", 0))
                if newest > epoch or (newest == epoch and there.get("owner") != self._owner):
                    text = f"world {key} has a newer owner than epoch {epoch}, or another one"
                    raise StaleEpoch(text, newest=newest) from error
                # Or was not there, and somebody has just made it: now it is.

    async def _read(self, document: Document | None) -> SavedWorld | None:
        ids = parts_named(document or {})
        if ids:
            assert document is not None
            cursor = self._parts.find({"_id": {"$in": ids}})
            found = await self._calls.read(cursor.to_list(len(ids)))
            put_parts(document, {part["_id"]: part["data"] for part in found})
        try:
            return world_of(document)
        except ValueError as error:
            raise _not_readable(str((document or {}).get("_id")), str(error)) from error

    async def find_player(self, room_id: str, session_id: str) -> SavedLocation | None:
        """Where a session was, if it was in this room when that was saved; else None.

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
        """Writes all of one world.

        Raises:
            StaleEpoch: a newer owner has claimed it; nothing was written.
            NotSavable: it is nothing that MongoDB can hold; nothing was written.
            Unavailable: it may or may not have been written, and may be written again.
        """
        made = await self.write([save_of(world, epoch, time.time_ns(), None, _now())])
        fate = made[world.key]
        if isinstance(fate, NotSavable | Unavailable):
            raise fate
        if fate == "stale":
            raise StaleEpoch(f"world {world.key} has a newer owner than epoch {epoch}")

    async def write(self, saves: Sequence[WorldWrite]) -> dict[str, Fate]:
        """Writes many worlds at once, each fenced by its epoch; gives what became of each, by key.

        Raises:
            Unavailable: MongoDB does not answer; any of them may or may not have been written.
        """
        parts = [ReplaceOne({"_id": part["_id"]}, part, upsert=True) for save in saves for part in save.parts]
        if parts:
            failed, _ = await self._bulk(self._parts, parts)
            for fate in failed.values():
                if isinstance(fate, Unavailable):
                    raise fate  # no head may point at a part that is not there
        failed, matched = await self._bulk(self._worlds, [_head_of(save) for save in saves])
        fates: dict[str, Fate] = {save.key: failed.get(at, "written") for at, save in enumerate(saves)}
        if matched < len(saves):
            await self._check([save for save in saves if isinstance(fates[save.key], str)], fates)
        dropped = [part for save in saves if fates[save.key] == "written" for part in save.dropped]
        if dropped:
            await self._bulk(self._parts, [DeleteMany({"_id": {"$in": dropped}})])
        return fates

    async def _bulk(self, collection: Any, operations: Sequence[Any]) -> tuple[dict[int, Fate], int]:
        """Which of many operations have failed, and how; and how many found their document, or made it."""
        try:
            result = await self._calls.write(collection.bulk_write(operations, ordered=False))
            return {}, result.matched_count + result.upserted_count
        except BulkWriteError as error:
            failed: dict[int, Fate] = {}
            for one in error.details.get("writeErrors", ()):
                failed[one["index"]] = self._fate_of(one["code"], one["errmsg"][:500])
            if error.details.get("writeConcernErrors"):
                self._calls.writes_fail = "no majority of MongoDB's members has acknowledged a write"
                raise Unavailable(self._calls.writes_fail, retry_after_ms=RETRY_AFTER_MS) from error
            return failed, error.details["nMatched"] + error.details["nUpserted"]

    def _fate_of(self, code: int, words: str) -> Fate:
        if code == _DUPLICATE_KEY:
            return "unknown"
        if code in CANNOT_HOLD:
            return NotSavable(f"MongoDB cannot hold this: {words}")
        self._calls.writes_fail = f"MongoDB does not take writes: code {code}"
        detail = f"{self._calls.writes_fail}: {words}"
        return Unavailable("MongoDB does not take writes", retry_after_ms=RETRY_AFTER_MS, detail=detail)

    async def _check(self, saves: list[WorldWrite], fates: dict[str, Fate]) -> None:
        """A write finds its document by key, epoch and number, or changes nothing: says which have not."""
        keys = {save.key: save for save in saves}
        cursor = self._worlds.find({"_id": {"$in": list(keys)}}, {"epoch": True, "save": True})
        found = {document["_id"]: document for document in await self._calls.read(cursor.to_list(len(keys)))}
        for key, save in keys.items():
            there = found.get(key, {})
            if (there.get("epoch"), there.get("save")) == (save.epoch, save.number):
                fates[key] = "written"
            else:
                fates[key] = "stale" if there.get("epoch", 0) > save.epoch else "unknown"


def _not_readable(key: str, reason: str) -> NotSavable:
    return NotSavable("the room's stored world cannot be read", detail=f"world {key} cannot be read: {reason}")


def _head_of(save: WorldWrite) -> Any:
    # A call that was given up may be carried out later, when MongoDB is back: behind the next it must do nothing.
    ours = {"epoch": save.epoch, "save": {"$lt": save.number}}
    if save.is_whole:
        return ReplaceOne({"_id": save.key, "$or": [{"epoch": {"$lt": save.epoch}}, ours]}, save.head, upsert=True)
    return UpdateOne({"_id": save.key} | ours, save.head)


def _owned(epoch: int) -> Document:
    """A new owner's saves are counted anew; one that claims again goes on where it was."""
    is_new = {"$lt": [{"$ifNull": ["$epoch", -1]}, epoch]}
    return {"epoch": epoch, "save": {"$cond": [is_new, 0, {"$ifNull": ["$save", 0]}]}}


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
