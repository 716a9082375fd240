"""A transaction in the ledger, as tests read it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tickwire.server.storage.ledger_documents import Document, changes_from_entries


class LedgerEntry(msgspec.Struct, frozen=True):
    """A transaction that the ledger has decided.

    Args:
        key: the idempotency key that the game has set; SESSION/NUMBER for a command without one.
        player_id: the player whose command it was; empty for a transaction of a room.
        changes: the committed amounts by player and item.
        reply: the payload of the Reply; None if the transaction was refused.
        refused: why it was refused; empty if it was committed.
    """

    key: str
    player_id: str
    changes: Mapping[str, Mapping[str, int]]
    reply: Any
    refused: str


def entry_from_document(document: Document) -> LedgerEntry:
    """Return the entry in a document of the ledger."""
    refused, reply = document.get("refused", ""), document["reply"]
    return LedgerEntry(
        document["_id"].removeprefix("key:"),
        document["player_id"],
        changes_from_entries(document["entries"]),
        msgspec.msgpack.decode(reply) if reply and not refused else None,
        refused,
    )
