"""The stores that the transactions of rooms need. MongoDB implements them, and the ledger in memory of the test kit.

tests/contract/test_ledger.py holds both to the same rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tickwire.server.storage import LedgerReply, PlayerRecord, TransactionRequest, TransactionResult


class TransactionLedger(Protocol):
    """Commits transactions, each once. The order of its checks is in server/storage/ledger_rules.py."""

    async def commit(self, request: TransactionRequest) -> TransactionResult:
        """Commit a transaction, or return the outcome that an earlier call with the same key decided.

        Raises:
            StaleEpoch: a newer owner has the room; nothing was committed.
            VersionConflict: a record that the decision was based on has changed; nothing was committed, and a request
                with these versions never will be.
            KeyReused: another transaction has this key; nothing was committed.
            NotSavable: the store cannot hold the request; nothing was committed.
            Unavailable: the store does not answer; the outcome is unknown, and the call is safe to repeat.
        """
        ...

    async def list_replies(self, session_ids: Sequence[str]) -> list[LedgerReply]:
        """Return the last replies to some sessions, at most REPLIES_MAX for each, each session's oldest first.

        Raises:
            Unavailable: the store does not answer.
        """
        ...


class PlayerRecordReader(Protocol):
    """Reads the records that the ledger writes."""

    async def load(self, player_ids: Sequence[str]) -> dict[str, PlayerRecord]:
        """Return the records of players by id, including players that were never written.

        Raises:
            Unavailable: the store does not answer.
        """
        ...
