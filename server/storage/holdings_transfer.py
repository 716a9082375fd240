"""Moves all holdings of one player to another one, as a part of a MongoDB transaction.

The move is an entry of the ledger with a key of its own, so that it happens once, whichever process repeats it. A
transaction of a room for one of the players at the same time conflicts with the move: the driver retries one of the
two, which then reads the other's result. So holdings add up, and the sums of the ledger stay equal to the holdings.
"""

from __future__ import annotations

import datetime
from typing import Any

from motor.motor_asyncio import AsyncIOMotorDatabase

from tickwire.limits import AMOUNT_MAX
from tickwire.server.errors import Conflict
from tickwire.server.storage.ledger_documents import (
    Document,
    TransactionRequest,
    create_entry,
    entries_from_changes,
)

MERGE_FENCE = "merge"
"""The `fence` of an entry that no room has written."""


class HoldingsTransfer:
    """Writes the collections `ledger` and `players`.

    Args:
        database: a Motor database.
    """

    def __init__(self, database: AsyncIOMotorDatabase[Document]) -> None:
        self._ledger = database["ledger"]
        self._players = database["players"]

    async def check(self, source: str, target: str, session: Any = None) -> None:
        """Check that `target` can hold all that `source` holds.

        Raises:
            Conflict: an amount would be too large.
        """
        self._check(await self._holdings(source, session), await self._holdings(target, session))

    async def move(self, key: str, source: str, target: str, session: Any) -> dict[str, int]:
        """Move all holdings, unless the ledger has the key; return the moved amounts by item.

        Args:
            key: the key of the ledger entry.
            source: the player whose holdings move.
            target: the player who receives them.
            session: the driver's session with the transaction.

        Raises:
            Conflict: an amount would be too large; the transaction must be aborted.
        """
        if await self._ledger.find_one({"_id": key}, {"_id": True}, session=session) is not None:
            return {}
        moved = await self._holdings(source, session)
        self._check(moved, await self._holdings(target, session))
        now = datetime.datetime.now(datetime.UTC)
        changes = {source: {item: -amount for item, amount in moved.items()}, target: moved}
        request = TransactionRequest(
            key=key, player_id=target, session_id="", command_id=0, fence=MERGE_FENCE, epoch=0, changes=changes
        )
        await self._ledger.insert_one(create_entry(request, now, entries_from_changes(changes)), session=session)
        for player_id, items in changes.items() if moved else ():
            change = {
                "$inc": {"version": 1} | {f"holdings.{item}": amount for item, amount in items.items()},
                "$set": {"updated_at": now},
                "$setOnInsert": {"created_at": now},
            }
            await self._players.update_one({"_id": player_id}, change, upsert=True, session=session)
        return moved

    async def _holdings(self, player_id: str, session: Any) -> dict[str, int]:
        document = await self._players.find_one({"_id": player_id}, {"holdings": True}, session=session)
        holdings = (document or {}).get("holdings", {})
        return {item: int(amount) for item, amount in holdings.items() if amount}

    def _check(self, moved: dict[str, int], held: dict[str, int]) -> None:
        for item, amount in moved.items():
            if held.get(item, 0) + amount > AMOUNT_MAX:
                raise Conflict(f"a player can own at most {AMOUNT_MAX} {item}")
