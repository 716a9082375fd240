"""Reads player records. Their documents: player_record.py.

Reads return every write that was acknowledged before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from motor.motor_asyncio import AsyncIOMotorDatabase

from tickwire.server.storage.mongo_calls import MongoCalls
from tickwire.server.storage.player_record import PlayerRecord, record_from_document


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
