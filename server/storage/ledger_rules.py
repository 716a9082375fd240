"""The rules of the ledger, for every store that keeps one. Pure.

A store applies a request in this order, as one step:

    1  a transaction with the key is in the ledger     its result is returned, or the key is reused
    2  records that were only read, by player id       each must have the version that was read
    3  records that change, by player id               version, then enough holdings, then the limit of an amount
    4  the fence of the room                           must not have a newer epoch

A refusal (step 3) is written to the ledger and is final for its key; all other failures write nothing. A refusal does
not touch the fence: it changes no record, and the newer owner of the room receives it for the same key.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping

from tickwire.limits import AMOUNT_MAX
from tickwire.server.errors import KeyReused, StaleEpoch, VersionConflict
from tickwire.server.storage.ledger_documents import (
    Document,
    TransactionRequest,
    TransactionResult,
    changes_from_entries,
    create_entry,
    digest,
    is_same_transaction,
)
from tickwire.server.storage.player_record import PlayerRecord

REFUSED_DAYS = 7
"""How long a refusal is kept: a client repeats a command for minutes, never for days."""


def list_changes(request: TransactionRequest) -> dict[str, Mapping[str, int]]:
    """Return the changes of each record that a request writes, in the order of the writes."""
    changes = dict(request.changes)
    if request.profile is not None:
        changes.setdefault(request.player_id, {})
    return dict(sorted(changes.items()))


def list_read_only(request: TransactionRequest) -> list[str]:
    """Return the players whose records a request depends on and does not write, in the order of the checks."""
    return sorted(request.versions.keys() - list_changes(request).keys())


def check_version(request: TransactionRequest, record: PlayerRecord) -> None:
    """Check that a record has the version that a request depends on.

    Raises:
        VersionConflict: it has another version.
    """
    version = request.versions.get(record.player_id, record.version)
    if record.version != version:
        raise VersionConflict(f"the player record has changed since version {version}")


def find_refusal(request: TransactionRequest, record: PlayerRecord) -> str:
    """Return why a record cannot have the changes of a request, for the player; empty if it can."""
    changes = request.changes.get(record.player_id, {})
    amounts = {item: record.holdings.get(item, 0) + amount for item, amount in changes.items()}
    for item, amount in changes.items():
        if amount < 0 and amounts[item] < 0:
            return f"not enough {item}"
    for item, amount in amounts.items():
        if amount > AMOUNT_MAX:
            return f"a player can own at most {AMOUNT_MAX} {item}"
    return ""


def create_refusal(request: TransactionRequest, reason: str, now: datetime.datetime) -> Document:
    """Return the document of a refused transaction."""
    expires = now + datetime.timedelta(days=REFUSED_DAYS)
    refusal = {"refused": reason, "attempted": digest(request.changes), "expires_at": expires}
    return create_entry(request, now, []) | refusal


def result_from_entry(document: Document, request: TransactionRequest) -> TransactionResult:
    """Return the result of a request whose key is in the ledger.

    Raises:
        KeyReused: another transaction has the key.
    """
    # The transactions of a room have no session, so only their key and changes identify them.
    theirs = document["session_id"], document["command_id"]
    is_own = bool(request.session_id) and theirs == (request.session_id, request.command_id)
    if not is_own and not is_same_transaction(document, request):
        raise KeyReused(f"another transaction has the key {request.key.removeprefix('key:')!r} already")
    changes = changes_from_entries(document["entries"])
    return TransactionResult(False, document["reply"], document.get("refused", ""), is_own=is_own, changes=changes)


def create_stale_epoch(request: TransactionRequest) -> StaleEpoch:
    """Return the error for a request of a room that has a newer owner."""
    return StaleEpoch(f"{request.fence} has a newer owner; our epoch is {request.epoch}")
