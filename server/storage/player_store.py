"""Reads player records: holdings, and the profiles that games store, under a version that increases.

    _id         the player's id
    version     3
    holdings    { gold: 95, sword: 1 }        amounts by item
    profile     { ... }                       the game's own data
    created_at, updated_at

The ledger alone writes them. A player that was never written has version 0, owns nothing and has an empty profile.
Reads return every write that was acknowledged before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from motor.motor_asyncio import AsyncIOMotorDatabase

from tickwire.server.storage.mongo_calls import MongoCalls


class PlayerRecord(msgspec.Struct, frozen=True):
    """The stored record of one player."""

    player_id: str
    version: int = 0
    holdings: dict[str, int] = {}
    profile: dict[str, Any] = {}


class PlayerStore:
    """Reads the collection `players`.

    Args:
        database: a Motor database.
        calls: makes the calls, each with a deadline.
    """

    def __init__(self, database: AsyncIOMotorDatabase[dict[str, Any]], calls: MongoCalls) -> None:
        self._players = database["players"]
        self._calls = calls

    async def load(self, player_ids: Sequence[str]) -> dict[str, PlayerRecord]:
        """Return the records of players by id, including players that were never written.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        cursor = self._players.find({"_id": {"$in": list(player_ids)}})
        found = await self._calls.read(cursor.to_list(len(player_ids)))
        return {player_id: PlayerRecord(player_id) for player_id in player_ids} | {
            document["_id"]: record_from_document(document) for document in found
        }


def record_from_document(document: dict[str, Any]) -> PlayerRecord:
    """Return the record in a document of the collection."""
    return PlayerRecord(
        document["_id"], int(document["version"]), document.get("holdings", {}), document.get("profile", {})
    )
