"""A ledger in memory with the rules of the real one: once for each key, no amount below 0, refusals are final.

tests/property/test_ledger.py and tests/e2e/test_room_transactions.py use the real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tickwire.server.errors import KeyReused, Unavailable
from tickwire.server.storage import PlayerRecord, TransactionRequest, TransactionResult


class MemoryLedger:
    """A ledger and a player store.

    Attributes:
        holdings: by player and item.
        losses: one entry for each of the next commits: "" succeeds, "before" fails before it, "after" loses its
            result.
        errors: raised by the next commits.
        is_down: whether all commits fail.
        may_go: commits wait for it.
    """

    def __init__(self) -> None:
        self.holdings: dict[str, dict[str, int]] = {}
        self.losses: list[str] = []
        self.errors: list[Exception] = []
        self.is_down = False
        self.may_go: asyncio.Event | None = None
        self._entries: dict[str, tuple[TransactionRequest, str]] = {}

    async def load(self, player_ids: Sequence[str]) -> dict[str, PlayerRecord]:
        """Return the records of players."""
        return {player_id: self._record(player_id) for player_id in player_ids}

    async def commit(self, request: TransactionRequest) -> TransactionResult:
        """Commit a transaction, as `Ledger.commit` does."""
        await asyncio.sleep(0)
        if self.may_go is not None:
            await self.may_go.wait()
        if self.errors:
            raise self.errors.pop(0)
        loss = self.losses.pop(0) if self.losses else ""
        if self.is_down or loss == "before":
            raise Unavailable("the call was lost", retry_after_ms=1)
        result = self._commit(request)
        if loss:
            raise Unavailable("the answer was lost", retry_after_ms=1)
        return result

    def _commit(self, request: TransactionRequest) -> TransactionResult:
        known = self._entries.get(request.key)
        if known is not None:
            before, refused = known
            if before.changes != request.changes:
                raise KeyReused(f"another transaction has the key {request.key!r} already")
            return TransactionResult(False, before.reply, refused, is_own=False, changes=before.changes)
        refused = ""
        for player_id, items in request.changes.items():
            for item, amount in items.items():
                if self.holdings.get(player_id, {}).get(item, 0) + amount < 0:
                    refused = f"not enough {item}"
        self._entries[request.key] = request, refused
        if refused:
            return TransactionResult(True, b"", refused)
        for player_id, items in request.changes.items():
            held = self.holdings.setdefault(player_id, {})
            for item, amount in items.items():
                held[item] = held.get(item, 0) + amount
        return TransactionResult(True, request.reply, "", {one: self._record(one) for one in request.changes})

    def _record(self, player_id: str) -> PlayerRecord:
        return PlayerRecord(player_id, 1, dict(self.holdings.get(player_id, {})), {})
