"""The secrets of the accounts, from which all keys are derived, by the id of a secret.

The current secret encrypts and derives new data. The previous ones read data that was made with them, so that the
secret can be replaced without a logout: docs/accounts.md has the steps. The id of a secret is derived from it, so it
needs no setting and reveals nothing. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
_ID_BYTES = 6


class AccountSecrets:
    """Derives keys from the secrets of the settings.

    Args:
        current: the secret for new data.
        previous: secrets of earlier data.

    Attributes:
        current_id: the id of the current secret.
    """

    def __init__(self, current: str, previous: Iterable[str] = ()) -> None:
        secrets = [current.encode(), *(secret.encode() for secret in previous)]
        ids = [_derive(secret, "id", _ID_BYTES).hex() for secret in secrets]
        self.current_id = ids[0]
        self._secrets = dict(zip(ids, secrets, strict=True))
        self._derived: dict[tuple[str, str], bytes] = {}

    def __repr__(self) -> str:
        return f"AccountSecrets(current_id={self.current_id!r})"

    def find_key(self, secret_id: str, purpose: str) -> bytes | None:
        """Return the key of 32 bytes that a secret yields for a purpose; None if this process lacks the secret."""
        secret = self._secrets.get(secret_id)
        if secret is None:
            return None
        if (key := self._derived.get((secret_id, purpose))) is None:
            key = self._derived[secret_id, purpose] = _derive(secret, purpose, KEY_BYTES)
        return key

    def current_key(self, purpose: str) -> bytes:
        """Return the key that the current secret yields for a purpose."""
        key = self.find_key(self.current_id, purpose)
        assert key is not None, "the current secret is one of the secrets"
        return key


def _derive(secret: bytes, purpose: str, length: int) -> bytes:
    info = b"tickwire accounts: " + purpose.encode()
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(secret)
