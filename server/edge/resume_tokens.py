"""Resume tokens: `session . generation . shard . signature . key`, signed with a key that all shards of a fleet have.

The shard is the one that issued the token: a session that is not in a room is found through it.

A token is valid for one resume, which issues the next token, of the next generation. The Welcome that carries it may
be lost, so the token just used stays valid until a Ping with that Welcome's generation arrives; after that it is
invalid. A token alone is not enough: its bearer must authenticate as the same player. Tokens are not stored, so a
shard that takes over the sessions of a lost shard accepts the tokens that were issued just before the loss.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import NamedTuple

TOKEN_CHARACTERS_MAX = 256
GENERATION_MAX = 2**32 - 1


class ResumeClaim(NamedTuple):
    """The contents of a token with a valid signature."""

    session_id: str
    generation: int
    shard_id: str = ""


class ResumeTokens:
    """Signs and verifies resume tokens.

    Args:
        keys: the keys by id; tokens with an older key are still accepted.
        current: the id of the key that signs.
        shard_id: this shard.
    """

    def __init__(self, keys: Mapping[str, bytes], current: str, shard_id: str = "") -> None:
        self.shard_id = shard_id
        self._shard = base64.urlsafe_b64encode(shard_id.encode()).decode().rstrip("=")
        self._keys = dict(keys)
        self._current = current

    def sign(self, session_id: str, generation: int) -> str:
        """Return the token that is issued to the connection of this generation."""
        claims = f"{session_id}.{generation}.{self._shard}"
        return f"{claims}.{_signature(self._keys[self._current], claims)}.{self._current}"

    def read(self, token: str) -> ResumeClaim | None:
        """Return the contents of a token, or None if it is malformed or not signed by one of the keys."""
        parts = token[: TOKEN_CHARACTERS_MAX + 1].split(".", 4)
        if len(token) > TOKEN_CHARACTERS_MAX or len(parts) != 5 or not parts[1].isdecimal() or not token.isascii():
            return None
        session_id, generation, shard, signature, key_id = parts
        key = self._keys.get(key_id)
        if key is None or int(generation) > GENERATION_MAX:
            return None
        is_ours = hmac.compare_digest(signature, _signature(key, f"{session_id}.{generation}.{shard}"))
        return ResumeClaim(session_id, int(generation), _decode_shard_id(shard)) if is_ours else None


def _signature(key: bytes, claims: str) -> str:
    # The prefix separates these signatures from other uses of the same key.
    return hmac.new(key, f"tickwire resume {claims}".encode(), hashlib.sha256).hexdigest()


def _decode_shard_id(shard: str) -> str:
    return base64.urlsafe_b64decode(shard + "=" * (-len(shard) % 4)).decode()
