"""The collections that hold data of players, for exports and deletions. Pure.

A test compares this list with the collections of the database, so that a new one is not forgotten. The ledger, the
worlds and the players have rules of their own: export_import.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

Document = dict[str, Any]


class PlayerCollection(msgspec.Struct, frozen=True):
    """A collection with documents of players.

    Args:
        name: its name.
        find: returns the filter for the documents of some players.
        hidden: fields that no export contains: secrets, their hashes, and data of operators.
        kept: why a deletion leaves its documents; empty if it deletes them.
    """

    name: str
    find: Callable[[Sequence[str]], Document]
    hidden: Sequence[str] = ()
    kept: str = ""


def _by(field: str) -> Callable[[Sequence[str]], Document]:
    return lambda player_ids: {field: {"$in": list(player_ids)}}


def _accounts(player_ids: Sequence[str]) -> Document:
    return {"$or": [_by("_id")(player_ids), _by("merged_into")(player_ids)]}


PLAYER_COLLECTIONS: tuple[PlayerCollection, ...] = (
    PlayerCollection(
        "accounts",
        _accounts,
        hidden=("identities.secret", "identities.password", "merge_proof"),
        kept="the service of accounts deletes them last, so that a crash leaves the mark of the deletion",
    ),
    PlayerCollection("bans", _by("_id")),
    PlayerCollection("refresh_families", _by("player_id"), hidden=("current", "previous", "secret_id")),
    PlayerCollection("revocations", _by("player_id"), kept="they refuse tokens that were issued before; they expire"),
    PlayerCollection("idempotent_requests", _by("caller"), hidden=("digest", "token")),
    PlayerCollection("quarantine", _by("value.player_id")),
    PlayerCollection(
        "audit",
        _by("target.player_id"),
        hidden=("operator", "role", "note"),
        kept="the operators' trail shows who has deleted the player",
    ),
)
WITHOUT_PLAYERS = frozenset(
    (
        *("schema", "probes", "fences", "tunings", "signing_keys"),
        *("worlds", "world_parts", "players", "ledger"),  # export_import.py
        *("refresh_tokens", "login_attempts"),  # by digests alone; they are deleted by family and by identity
    )
)
"""Collections with no data of players, or with rules of their own."""
