"""Signed tokens of clients that have logged in to an account before (OWASP: device cookies). Pure.

    1.KEY_ID.CLIENT_ID.EXPIRES.SIGNATURE      the signature is an HMAC-SHA256 over the parts before it and the account

A token proves nothing but an earlier login: its holder has a budget of failed logins of its own, and still needs the
password. A token of another account is not valid.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from typing import Annotated, Protocol

from msgspec import Meta

VALID_S = 400 * 24 * 3600
"""As long as browsers keep cookies at most (RFC 6265bis)."""
TOKEN_CHARACTERS_MAX = 256
_VERSION = "1"
PURPOSE = "known client"
_TOKEN = re.compile(r"1\.([0-9A-Za-z_-]{1,64})\.([0-9A-Za-z_-]{22})\.([0-9]{1,12})\.([0-9A-Za-z_-]{43})")

KnownClient = Annotated[str, Meta(max_length=TOKEN_CHARACTERS_MAX)]


class KeySource(Protocol):
    """Derives keys from the secrets of the fleet, which have ids."""

    current_id: str

    def find_key(self, secret_id: str, purpose: str) -> bytes | None:
        """Return the key for a purpose, or None if the secret is unknown."""

    def current_key(self, purpose: str) -> bytes:
        """Return the key of the current secret for a purpose."""


class KnownClients:
    """Signs and verifies tokens of known clients.

    Args:
        keys: the keys of the fleet.
        now_s: the time, UTC, seconds since 1970.
    """

    def __init__(self, keys: KeySource, now_s: Callable[[], float]) -> None:
        self._keys = keys
        self._now_s = now_s

    def issue(self, account_key: str) -> str:
        """Return a token of a new client for the account with an identity."""
        client_id = secrets.token_urlsafe(16)
        head = f"{_VERSION}.{self._keys.current_id}.{client_id}.{int(self._now_s()) + VALID_S}"
        return f"{head}.{_sign(self._keys.current_key(PURPOSE), head, account_key)}"

    def verify(self, token: str, account_key: str) -> str:
        """Return the id of the client, or "" if the token is not valid for the account."""
        found = _TOKEN.fullmatch(token)
        key = self._keys.find_key(found[1], PURPOSE) if found else None
        if found is None or key is None or int(found[3]) <= self._now_s():
            return ""
        expected = _sign(key, token.rpartition(".")[0], account_key)
        return found[2] if hmac.compare_digest(expected, found[4]) else ""


def _sign(key: bytes, head: str, account_key: str) -> str:
    signed = hmac.new(key, f"{head}\n{account_key}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(signed).rstrip(b"=").decode()
