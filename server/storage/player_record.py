"""Player records, and how a document of the collection `players` holds one.

    _id         the player's id
    version     3
    holdings    { gold: 95, sword: 1 }        amounts by item
    profile     { ... }                       the game's own data
    created_at, updated_at

The ledger alone writes them. A player that was never written has version 0, owns nothing and has an empty profile.

Pure.
"""

from __future__ import annotations

from typing import Any

import msgspec


class PlayerRecord(msgspec.Struct, frozen=True):
    """The stored record of one player."""

    player_id: str
    version: int = 0
    holdings: dict[str, int] = {}
    profile: dict[str, Any] = {}


def record_from_document(document: dict[str, Any]) -> PlayerRecord:
    """Return the record in a document of the collection."""
    return PlayerRecord(
        document["_id"], int(document["version"]), document.get("holdings", {}), document.get("profile", {})
    )
