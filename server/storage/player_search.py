"""Finds players and their transactions for support. All reads use indexes, and have a limit."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from motor.motor_asyncio import AsyncIOMotorDatabase
from pymongo import DESCENDING

from tickwire.server.storage.mongo_calls import MongoCalls

Document = dict[str, Any]
_LAST = "\U0010ffff"
"""Sorts after every text that begins as the one before it."""


class PlayerSearch:
    """Reads the collections `accounts`, `players` and `ledger`.

    Args:
        database: a Motor database.
        calls: makes the calls, each with a deadline.
    """

    def __init__(self, database: AsyncIOMotorDatabase[Document], calls: MongoCalls) -> None:
        self._accounts = database["accounts"]
        self._players = database["players"]
        self._ledger = database["ledger"]
        self._calls = calls

    async def find_accounts(self, prefixes: Sequence[str], limit: int) -> list[Document]:
        """Return the documents of accounts whose player id, or a key of an identity, begins with one of the texts.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        ranges = [{"$gte": text, "$lt": text + _LAST} for text in prefixes]
        # Without $elemMatch, one identity above and another one below the range would match.
        by_identity = [{"identities": {"$elemMatch": {"key": one}}} for one in ranges]
        filters = {"$or": [*({"_id": one} for one in ranges), *by_identity]}
        fields = {"identities.key": True, "created_at": True}
        return await self._calls.read(self._accounts.find(filters, fields).limit(limit).to_list(limit))

    async def find_players(self, prefix: str, limit: int) -> list[str]:
        """Return the ids of players with a stored record that begin with a text.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        filters = {"_id": {"$gte": prefix, "$lt": prefix + _LAST}}
        found = await self._calls.read(self._players.find(filters, {"_id": True}).limit(limit).to_list(limit))
        return [str(one["_id"]) for one in found]

    async def list_ledger(
        self, player_id: str, limit: int, after: tuple[datetime.datetime, str] | None
    ) -> list[Document]:
        """Return the documents of a player's transactions, the newest first, with the entries of the player alone.

        Args:
            player_id: the player.
            limit: the most transactions.
            after: the time and the key of the last one of the page before; None for the first page.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        filters: Document = {"entries.player_id": player_id}
        if after is not None:
            at, key = after
            filters["at"] = {"$lte": at}
            filters["$or"] = [{"at": {"$lt": at}}, {"_id": {"$lt": key}}]
        cursor = self._ledger.find(filters).sort([("at", DESCENDING), ("_id", DESCENDING)]).limit(limit)
        documents = await self._calls.read(cursor.to_list(limit))
        for document in documents:
            document["entries"] = [one for one in document["entries"] if one["player_id"] == player_id]
        return documents
