"""Players as they are stored: what they own, and what games keep of them, under a version that grows.

    _id         the player's id
    version     3
    holdings    { gold: 95, sword: 1 }        written by the ledger alone
    profile     { ... }                       the game's
    created_at, updated_at

Guarantees: `update` is atomic and changes nothing when the version is not the one that was read. A player who was
never written has version 0, owns nothing and has an empty profile. What was acknowledged is read from then on.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import msgspec
from motor.motor_asyncio import AsyncIOMotorDatabase
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from tickwire.server.errors import VersionConflict
from tickwire.server.storage.mongo_calls import MongoCalls


class PlayerRecord(msgspec.Struct, frozen=True):
    """A player."""

    player_id: str
    version: int = 0
    holdings: dict[str, int] = {}
    profile: dict[str, Any] = {}


class PlayerStore:
    """The collection `players`.

    Args:
        database: a Motor database.
        calls: the door.
    """

    def __init__(self, database: AsyncIOMotorDatabase[dict[str, Any]], calls: MongoCalls) -> None:
        self._players = database["players"]
        self._calls = calls

    async def load(self, player_ids: Sequence[str]) -> dict[str, PlayerRecord]:
        """Some players, by id; those who were never written, too.

        Raises:
            Unavailable: MongoDB does not answer. So do all others here.
        """
        cursor = self._players.find({"_id": {"$in": list(player_ids)}})
        found = await self._calls.read(cursor.to_list(len(player_ids)))
        return {player_id: PlayerRecord(player_id) for player_id in player_ids} | {
            document["_id"]: record_of(document) for document in found
        }

    async def update(self, player_id: str, version: int, profile: dict[str, Any]) -> PlayerRecord:
        """Replaces a player's profile, if nobody has changed the player since it was read.

        Args:
            version: as it was read; 0: was never written.

        Raises:
            VersionConflict: somebody has.
            NotSavable: the profile is nothing that MongoDB can hold.
        """
        now = datetime.datetime.now(datetime.UTC)
        change = {"$set": {"profile": profile, "updated_at": now}, "$inc": {"version": 1}}
        if version == 0:
            change["$setOnInsert"] = {"created_at": now, "holdings": {}}
        try:
            document = await self._calls.write(
                self._players.find_one_and_update(
                    {"_id": player_id, "version": version},
                    change,
                    upsert=version == 0,
                    return_document=ReturnDocument.AFTER,
                )
            )
        except DuplicateKeyError:
            document = None
        if document is None:
            raise VersionConflict(f"the player has been changed since version {version}")
        return record_of(document)


def record_of(document: dict[str, Any]) -> PlayerRecord:
    """A player from its document."""
    return PlayerRecord(
        document["_id"], int(document["version"]), document.get("holdings", {}), document.get("profile", {})
    )
