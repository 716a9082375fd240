"""The documents of the ledger, and the transactions that they record.

    _id          "SESSION/7"                  the idempotency key
    at           when it was written
    player_id, session_id, command_id         whose command it was; empty and 0 for a transaction of the room
    fence, epoch                              the room, and the epoch of its owner
    entries      [ { player_id, item, amount }, ... ]
    reply        BinData (msgpack)            the reply to the command
    refused      "not enough gold"            instead of entries: the reason of a refusal, which is final for its key
    attempted    BinData                      only if refused: a digest of the changes that it would have made
    expires_at                                only if refused: deleted after a week

Pure.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tickwire.server.storage.player_record import PlayerRecord

Document = dict[str, Any]


class TransactionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction to commit.

    Args:
        key: the idempotency key.
        player_id: the player whose command it is; empty for a transaction that a room has started.
        session_id: the session that sent the command; empty for a transaction of a room, too.
        command_id: the command's number in its session.
        fence: the id of the room's fence.
        epoch: the epoch of the room's owner.
        changes: amounts by player and item; an amount below 0 is taken from the player.
        reply: the reply to the command, msgpack.
        versions: the versions of the player records that the decision was based on; all must still be the newest.
        profile: replaces the profile of `player_id`, whose version must be in `versions`; None leaves it.
    """

    key: str
    player_id: str
    session_id: str
    command_id: int
    fence: str
    epoch: int
    changes: Mapping[str, Mapping[str, int]] = {}
    reply: bytes = b""
    versions: Mapping[str, int] = {}
    profile: Document | None = None


class TransactionResult(msgspec.Struct, frozen=True):
    """The outcome of a transaction.

    Args:
        is_new: whether this call decided it; otherwise an earlier call did.
        reply: the reply to the command, msgpack.
        refused: why it was refused; empty if it was committed.
        players: the changed records, if `is_new`.
        is_own: whether it was decided for this command; otherwise for another one with the same key and changes.
        changes: the committed changes, if not `is_new`.
    """

    is_new: bool
    reply: bytes = b""
    refused: str = ""
    players: Mapping[str, PlayerRecord] = {}
    is_own: bool = True
    changes: Mapping[str, Mapping[str, int]] = {}


class LedgerReply(msgspec.Struct, frozen=True):
    """The stored reply to one command; it may not have reached the client."""

    session_id: str
    command_id: int
    reply: bytes
    refused: str


def entries_from_changes(changes: Mapping[str, Mapping[str, int]]) -> list[Document]:
    """Return the entries of a transaction, from amounts by player and item."""
    return [
        {"player_id": player_id, "item": item, "amount": amount}
        for player_id, items in changes.items()
        for item, amount in items.items()
    ]


def changes_from_entries(entries: Sequence[Document]) -> dict[str, dict[str, int]]:
    """Return the amounts by player and item, from the entries of a transaction."""
    changes: dict[str, dict[str, int]] = {}
    for entry in entries:
        changes.setdefault(entry["player_id"], {})[entry["item"]] = int(entry["amount"])
    return changes


def is_same_transaction(document: Document, request: TransactionRequest) -> bool:
    """Return whether an entry has the changes of a request, and the request no other player's profile."""
    if request.profile is not None and document["player_id"] != request.player_id:
        return False
    if document.get("refused"):  # older builds wrote no digest
        return bool(document.get("attempted", digest(request.changes)) == digest(request.changes))
    return changes_from_entries(document["entries"]) == request.changes


def digest(changes: Mapping[str, Mapping[str, int]]) -> bytes:
    """Return a digest of changes, so that a refusal contains no data of other players."""
    ordered = sorted((player_id, sorted(items.items())) for player_id, items in changes.items())
    return hashlib.blake2b(msgspec.msgpack.encode(ordered), digest_size=16).digest()


def create_entry(request: TransactionRequest, now: datetime.datetime, entries: list[Document]) -> Document:
    """Return the document of a transaction."""
    return {
        "_id": request.key,
        "at": now,
        "player_id": request.player_id,
        "session_id": request.session_id,
        "command_id": request.command_id,
        "fence": request.fence,
        "epoch": request.epoch,
        "entries": entries,
        "reply": request.reply,
    }
