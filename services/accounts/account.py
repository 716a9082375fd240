"""Accounts, and how a document of the collection `accounts` holds one. Pure.

    _id            "p-..."                     the player's id
    version        3                           increased by each change
    created_at
    identities     [ { key, provider, subject, linked_at, secret?, password? }, ... ]
    absorbing      [ "p-..." ]                 accounts that are being merged into this one
    merged_from    [ "p-..." ]                 accounts that were merged into this one
    merging_into   "p-..."                     only while it is being merged
    merged_into    "p-..."                     only after it was merged; then it has no identities
    merge_proof    BinData                     SHA-256 of the refresh token that allowed the merge
    deleting_since                             only while it is being deleted
    pending_since                              when the merge or deletion began; absent if none is pending

    active ──begin──> merging ──finish──> merged          active ──begin──> deleting ──> (no document)
       ^─────cancel──────┘

An identity is in at most one account, and an account that is merged has none. An account that is merging is in the
`absorbing` of its target, and absorbs none itself, so that pending merges form no chain and no circle.
"""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Mapping
from typing import Any

import msgspec

from tickwire.services.accounts.identities import identity_key

Document = dict[str, Any]
PLAYER_ID_PREFIX = "p-"


class LinkedIdentity(msgspec.Struct, frozen=True):
    """An identity of an account.

    Args:
        provider: "device", "email", "oidc-NAME", "steam" or "apple".
        subject: the player's id at the provider.
        linked_at: UTC.
        secret: of a device: the SHA-256 of its secret.
        password: of an e-mail address: the argon2id hash of the password.
    """

    provider: str
    subject: str
    linked_at: datetime.datetime
    secret: bytes = b""
    password: str = ""

    @property
    def key(self) -> str:
        """The key, which no other account has."""
        return identity_key(self.provider, self.subject)

    def __repr__(self) -> str:
        return f"LinkedIdentity({self.provider!r})"


class PlayerAccount(msgspec.Struct, frozen=True):
    """An account; see the documentation of the module for its states."""

    player_id: str
    version: int
    created_at: datetime.datetime
    identities: tuple[LinkedIdentity, ...] = ()
    absorbing: tuple[str, ...] = ()
    merged_from: tuple[str, ...] = ()
    merging_into: str = ""
    merged_into: str = ""
    merge_proof: bytes = b""
    is_deleting: bool = False

    @property
    def is_active(self) -> bool:
        """Whether the account is neither merged nor deleted, nor about to be."""
        return not (self.merging_into or self.merged_into or self.is_deleting)

    @property
    def is_pending(self) -> bool:
        """Whether a merge or a deletion has begun and must be finished before other changes."""
        return bool(self.merging_into or self.absorbing or self.is_deleting)

    def find_identity(self, key: str) -> LinkedIdentity | None:
        """Return the identity with a key, or None."""
        return next((identity for identity in self.identities if identity.key == key), None)


def create_player_id() -> str:
    """Return a new random player id."""
    return PLAYER_ID_PREFIX + secrets.token_urlsafe(16)


def document_from_identity(identity: LinkedIdentity) -> Document:
    """Return the document of an identity."""
    document: Document = {
        "key": identity.key,
        "provider": identity.provider,
        "subject": identity.subject,
        "linked_at": identity.linked_at,
    }
    if identity.secret:
        document["secret"] = identity.secret
    if identity.password:
        document["password"] = identity.password
    return document


def create_account_document(player_id: str, identity: LinkedIdentity) -> Document:
    """Return the document of a new account with one identity."""
    return {
        "_id": player_id,
        "version": 1,
        "created_at": identity.linked_at,
        "identities": [document_from_identity(identity)],
        "absorbing": [],
        "merged_from": [],
    }


def account_from_document(document: Mapping[str, Any]) -> PlayerAccount:
    """Return the account in a document of the collection."""
    return PlayerAccount(
        document["_id"],
        int(document["version"]),
        document["created_at"],
        tuple(_identity_from_document(one) for one in document["identities"]),
        tuple(document.get("absorbing", ())),
        tuple(document.get("merged_from", ())),
        document.get("merging_into", ""),
        document.get("merged_into", ""),
        document.get("merge_proof", b""),
        "deleting_since" in document,
    )


def _identity_from_document(document: Mapping[str, Any]) -> LinkedIdentity:
    return LinkedIdentity(
        document["provider"],
        document["subject"],
        document["linked_at"],
        document.get("secret", b""),
        document.get("password", ""),
    )
