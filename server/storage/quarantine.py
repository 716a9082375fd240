"""Stores parts of saved worlds that could not be read, until an operator deletes them.

    _id         world, path and a digest of the value, so that each part is stored once
    world       "market/home"
    epoch, at   the owner's epoch and the time when the part was moved here
    path        "state.offers[3]"
    value       as it was saved
    error       why it does not fit its declaration

Guarantees: parts that `add` has acknowledged are stored. `add` is safe to repeat.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Sequence
from typing import Any

import bson
import msgspec
from bson.errors import BSONError
from motor.motor_asyncio import AsyncIOMotorDatabase

from tickwire.server.errors import NotSavable
from tickwire.server.storage.mongo_calls import MongoCalls


class QuarantinedPart(msgspec.Struct, frozen=True):
    """A part of a world that does not fit its declaration."""

    path: str
    value: Any
    error: str


class Quarantine:
    """Writes the collection `quarantine`.

    Args:
        database: a Motor database.
        calls: makes the calls, each with a deadline.
    """

    def __init__(self, database: AsyncIOMotorDatabase[dict[str, Any]], calls: MongoCalls) -> None:
        self._parts = database["quarantine"]
        self._calls = calls

    async def add(self, world: str, epoch: int, parts: Sequence[QuarantinedPart]) -> None:
        """Store parts of a world.

        Raises:
            NotSavable: MongoDB cannot hold a value; the caller must then leave the world as it is.
            Unavailable: MongoDB does not answer.
        """
        now = datetime.datetime.now(datetime.UTC)
        for part in parts:
            document = {"world": world, "epoch": epoch, "at": now, **msgspec.structs.asdict(part)}
            key = f"{world}#{part.path}#{_digest(part.value)}"
            await self._calls.write(self._parts.update_one({"_id": key}, {"$setOnInsert": document}, upsert=True))


def _digest(value: Any) -> str:
    try:
        return hashlib.blake2b(bson.encode({"": value}), digest_size=8).hexdigest()
    except (BSONError, OverflowError, RecursionError) as error:
        raise NotSavable("MongoDB cannot hold a part of the world", detail=f"the quarantine: {error}") from error
