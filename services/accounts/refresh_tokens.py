"""Refresh tokens: opaque, rotated at each use, and stored as hashes only. Pure.

A login begins a family. Each use of its token returns a successor:

    current --used--> previous, and the successor is current
    previous, used again within REPEAT_S    the same successor: the client has lost the answer
    any other used token                    reuse: the token was copied, so the family ends

The successor is derived from its predecessor and a secret of the server, so that a repetition, or another process at
the same time, returns the same one, although no token is stored.
"""

from __future__ import annotations

import base64
import datetime
import enum
import hashlib
import hmac
import re
import secrets

import msgspec

from tickwire.server.errors import InvalidToken

REPEAT_S = 60.0
TOKEN_BYTES = 32
_FORM = re.compile(r"[A-Za-z0-9_-]{43}")  # 32 bytes in base64url


class EndReason(enum.StrEnum):
    """Why a family has ended."""

    LOGOUT = "logout"
    REUSED = "reused"
    TOO_MANY = "too_many"


class RefreshFamily(msgspec.Struct, frozen=True):
    """The chain of refresh tokens of one login. Times are UTC, by MongoDB's clock.

    Args:
        family_id: unguessable.
        player_id: the player who has logged in.
        provider: the provider of the identity.
        created_at: the login.
        used_at: the last rotation.
        expires_at: it is not usable from then on; each rotation moves it.
        current: the hash of the newest token.
        previous: the hash of the token before it; empty before the first rotation.
        secret_id: the secret that the newest token was derived with.
        ended_at: when it was ended; None while it is not.
        end_reason: why it was ended.
        is_revoked: whether the access tokens of an ended family were revoked.
        seen_at: when it was read.
    """

    family_id: str
    player_id: str
    provider: str
    created_at: datetime.datetime
    used_at: datetime.datetime
    expires_at: datetime.datetime
    current: bytes
    previous: bytes
    secret_id: str
    ended_at: datetime.datetime | None
    end_reason: str
    is_revoked: bool
    seen_at: datetime.datetime


class RefreshDecision(enum.Enum):
    """The outcome of a refresh with a token of a family."""

    ROTATE = enum.auto()
    REPEAT = enum.auto()
    REUSED = enum.auto()
    ENDED = enum.auto()
    EXPIRED = enum.auto()


def decide(family: RefreshFamily, token_hash: bytes) -> RefreshDecision:
    """Decide about a token that belongs to a family, at the time at which the family was read."""
    if family.ended_at is not None:
        return RefreshDecision.ENDED
    if family.seen_at >= family.expires_at:
        return RefreshDecision.EXPIRED
    if token_hash == family.current:
        return RefreshDecision.ROTATE
    if token_hash == family.previous and (family.seen_at - family.used_at).total_seconds() <= REPEAT_S:
        return RefreshDecision.REPEAT
    return RefreshDecision.REUSED


def create_refresh_token() -> str:
    """Return a new random token."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def create_family_id() -> str:
    """Return a new random id of a family."""
    return "f-" + secrets.token_urlsafe(16)


def derive_successor(token: str, key: bytes) -> str:
    """Return the successor of a token, of 256 bits.

    Args:
        token: the predecessor.
        key: derived from a secret of the server.
    """
    digest = hmac.digest(key, token.encode(), "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def hash_refresh_token(token: str) -> bytes:
    """Return the stored form of a token. Its 256 random bits need no slow hash.

    Raises:
        InvalidToken: it does not have the form of a refresh token.
    """
    if not _FORM.fullmatch(token):
        raise InvalidToken("the refresh token is malformed", reason="malformed")
    return hashlib.sha256(token.encode()).digest()
