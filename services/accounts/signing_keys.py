"""The keys that sign access tokens: one a rotation period, Ed25519, with an encrypted private part. Pure.

    created_at          in the period before, so that every process knows the key before it is used
    use_from            the begin of its period; a later time if it was created in its period
    use_until           the end of its period
    expires_at          the last token that it has signed has expired; the key is deleted

A key belongs to a period and to the secret that encrypts it, which is its id: processes with one secret make one key,
and processes with different secrets, while the secret is replaced, never depend on each other.
"""

from __future__ import annotations

import base64
import datetime
import secrets
from collections.abc import Iterable
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tickwire.services.accounts.account_secrets import AccountSecrets

PUBLICATION_S = 180.0
"""A key is published for this time before its first use. Every process reads the keys at least every 60 s."""
MARGIN_S = 600.0
"""Keys are published for this time after their last token has expired, for clocks that differ and for the leeway."""
_PURPOSE = "signing keys"
_NONCE_BYTES = 12


class SigningKey(msgspec.Struct, frozen=True):
    """A key, with its private part encrypted.

    Args:
        key_id: the `kid` of its tokens.
        period: the number of its rotation period.
        secret_id: the secret that encrypts the private part.
        public: the public part, 32 bytes (RFC 8032).
        sealed: a nonce of 12 bytes, and the private part encrypted with AES-256-GCM.
        use_from, use_until, expires_at: UTC; see the module.
    """

    key_id: str
    period: int
    secret_id: str
    public: bytes
    sealed: bytes
    use_from: datetime.datetime
    use_until: datetime.datetime
    expires_at: datetime.datetime

    def __repr__(self) -> str:
        return f"SigningKey({self.key_id!r}, use_from={self.use_from})"


class Rotation(msgspec.Struct, frozen=True):
    """How often keys change.

    Args:
        period_s: a key signs for this time, seconds.
        token_s: the longest life of an access token, seconds.
    """

    period_s: float
    token_s: float

    def period_at(self, now: datetime.datetime) -> int:
        """Return the number of the period at a time."""
        return int(now.timestamp() // self.period_s)

    def begin_of(self, period: int) -> datetime.datetime:
        """Return the time at which a period begins."""
        return datetime.datetime.fromtimestamp(period * self.period_s, datetime.UTC)


def name_key(period: int, secret_id: str, rotation: Rotation) -> str:
    """Return the id of the key of a period. The length of periods may change, so it is a part of the id."""
    return f"{int(rotation.period_s)}-{period}-{secret_id}"


def create_signing_key(
    period: int, rotation: Rotation, account_secrets: AccountSecrets, *, now: datetime.datetime, is_urgent: bool
) -> SigningKey:
    """Create the key of a period, encrypted with the current secret.

    Args:
        period: the number of the period.
        rotation: how often keys change.
        account_secrets: encrypts the private part.
        now: UTC.
        is_urgent: no other key is in use, so that this one is used at once.
    """
    private = Ed25519PrivateKey.generate()
    key_id = name_key(period, account_secrets.current_id, rotation)
    nonce = secrets.token_bytes(_NONCE_BYTES)
    cipher = AESGCM(account_secrets.current_key(_PURPOSE))
    begin, end = rotation.begin_of(period), rotation.begin_of(period + 1)
    published = now + datetime.timedelta(seconds=0 if is_urgent else PUBLICATION_S)
    return SigningKey(
        key_id=key_id,
        period=period,
        secret_id=account_secrets.current_id,
        public=private.public_key().public_bytes_raw(),
        sealed=nonce + cipher.encrypt(nonce, private.private_bytes_raw(), key_id.encode()),
        use_from=max(begin, published),
        use_until=end,
        expires_at=end + datetime.timedelta(seconds=rotation.token_s + MARGIN_S),
    )


def open_signing_key(key: SigningKey, account_secrets: AccountSecrets) -> Ed25519PrivateKey | None:
    """Return the private part; None if this process lacks the secret, or the key was changed."""
    cipher_key = account_secrets.find_key(key.secret_id, _PURPOSE)
    if cipher_key is None:
        return None
    nonce, sealed = key.sealed[:_NONCE_BYTES], key.sealed[_NONCE_BYTES:]
    try:
        private = AESGCM(cipher_key).decrypt(nonce, sealed, key.key_id.encode())
    except (InvalidTag, ValueError):
        return None
    opened = Ed25519PrivateKey.from_private_bytes(private)
    return opened if opened.public_key().public_bytes_raw() == key.public else None


def select_signing_key(keys: Iterable[SigningKey], now: datetime.datetime) -> SigningKey | None:
    """Return the key to sign with: the newest that is in use.

    If none is in use, as after the first start or with a secret that all keys lack, the next one is used before its
    time: processes that do not know it yet read the keys again when they see its id.
    """
    valid = [key for key in keys if now < key.use_until]
    in_use = [key for key in valid if key.use_from <= now]
    if in_use:
        return max(in_use, key=lambda key: (key.use_from, key.key_id))
    return min(valid, key=lambda key: (key.use_from, key.key_id), default=None)


def to_jwk(key: SigningKey) -> dict[str, Any]:
    """Return the public part as a JSON Web Key (RFC 8037)."""
    return {
        "kty": "OKP",
        "crv": "Ed25519",
        "alg": "EdDSA",
        "use": "sig",
        "kid": key.key_id,
        "x": base64.urlsafe_b64encode(key.public).rstrip(b"=").decode(),
    }
