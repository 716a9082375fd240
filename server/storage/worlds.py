"""Saved worlds: one document a durable room, with the epoch of its owner as the fence.

A document, as mongosh shows it:

    _id      "arena/lobby"                     room type / name
    epoch    3                                 whoever writes must own this epoch
    tick     4711, saved_at                    when it was taken
    tables   { ships: { count, fields: [{name, kind, bits, low, high, step}], ids: BinData (u32 LE),
                        columns: { x: BinData (i64 LE) } } }
    state    what the room's own save() gave
    next_entity_id

Guarantees: `claim` and `save` are atomic and safe to repeat; a `save` with an older epoch than the document's
writes nothing and raises StaleEpoch; a store that does not answer in time raises Unavailable.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Awaitable
from typing import Any, TypeVar

import msgspec
from bson.errors import BSONError
from motor.motor_asyncio import AsyncIOMotorDatabase
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError, PyMongoError, WriteError

from server.errors import NotSavable, StaleEpoch, Unavailable

T = TypeVar("T")


class SavedTable(msgspec.Struct, frozen=True):
    """One table: `ids` u32 little-endian, each column i64 little-endian, quantised as `fields` say.

    Args:
        texts: a list of bytes for each text field, by name.
        channels: u16 little-endian for each entity; empty: all are in everybody's channel.
    """

    fields: list[dict[str, Any]]
    ids: bytes
    columns: dict[str, bytes]
    count: int
    texts: dict[str, list[bytes]] = {}
    channels: bytes = b""


class SavedWorld(msgspec.Struct, frozen=True):
    """A durable room between two runs."""

    name: str
    room_type: str
    tick: int
    tables: dict[str, SavedTable]
    state: dict[str, Any]
    next_entity_id: int = 1
    next_channel: int | None = None

    @property
    def key(self) -> str:
        """The document's id."""
        return world_key(self.room_type, self.name)


def world_key(room_type: str, name: str) -> str:
    """The id of a world's document. A room type holds no slash; a name may."""
    return f"{room_type}/{name}"


class Worlds:
    """The collection of saved worlds.

    Args:
        database: a Motor database.
        call_s_max: the longest that one call may take, seconds.
    """

    def __init__(self, database: AsyncIOMotorDatabase[dict[str, Any]], *, call_s_max: float) -> None:
        self._worlds = database["worlds"]
        self._call_s_max = call_s_max

    async def load(self, room_type: str, name: str) -> SavedWorld | None:
        """The world as it was last saved, or None. Does not claim it.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        document = await self._call(self._worlds.find_one({"_id": world_key(room_type, name)}))
        return _from_document(document)

    async def claim(self, room_type: str, name: str, epoch: int) -> SavedWorld | None:
        """Raises the stored epoch to ours, so that every older owner is refused from now on.

        Returns:
            The world as its last owner left it; None when it was never saved.

        Raises:
            StaleEpoch: a newer owner has claimed it, under the epoch that the error names.
            Unavailable: MongoDB does not answer.
        """
        key = world_key(room_type, name)
        try:
            document = await self._call(
                self._worlds.find_one_and_update(
                    {"_id": key, "epoch": {"$lte": epoch}},
                    {"$set": {"epoch": epoch, "room_type": room_type, "name": name}},
                    upsert=True,
                    return_document=ReturnDocument.AFTER,
                )
            )
        except DuplicateKeyError as error:  # the document is there, under an epoch that the filter refuses
            found = await self._call(self._worlds.find_one({"_id": key}, {"epoch": True}))
            newest = int((found or {}).get("epoch", 0))
            raise StaleEpoch(f"world {key} has a newer owner than epoch {epoch}", newest=newest) from error
        return _from_document(document)

    async def save(self, world: SavedWorld, epoch: int) -> None:
        """Writes the world, acknowledged by a majority.

        Raises:
            StaleEpoch: a newer owner has claimed it; nothing was written.
            NotSavable: the state is nothing that MongoDB can hold; nothing was written.
            Unavailable: MongoDB does not answer; it may or may not have been written, and may be written again.
        """
        try:
            await self._call(
                self._worlds.update_one(
                    {"_id": world.key, "epoch": {"$lte": epoch}},
                    {"$set": _to_document(world, epoch)},
                    upsert=True,
                )
            )
        except DuplicateKeyError as error:
            raise StaleEpoch(f"world {world.key} has a newer owner than epoch {epoch}") from error

    async def _call(self, call: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._call_s_max):
                return await call
        except DuplicateKeyError:
            raise
        except (BSONError, OverflowError, WriteError) as error:
            raise NotSavable(f"MongoDB cannot hold this: {error}") from error
        except (PyMongoError, TimeoutError) as error:
            raise Unavailable(f"MongoDB does not answer: {type(error).__name__}", retry_after_ms=1000) from error


def _to_document(world: SavedWorld, epoch: int) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(world, builtin_types=(bytes,))
    return document | {"epoch": epoch, "saved_at": datetime.datetime.now(datetime.UTC)}


def _from_document(document: dict[str, Any] | None) -> SavedWorld | None:
    if document is None or "tables" not in document:
        return None  # never saved, or claimed and never saved
    return msgspec.convert(document, SavedWorld)
