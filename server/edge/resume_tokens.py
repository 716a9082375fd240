"""Resume tokens: `session . generation . shard . signature . key`, signed with a key that all shards of a fleet have.

The shard is the one that has issued the token: a session that is in no room is found through it.

A token is good for one resume, which gives the next one, of the next generation. Because the Welcome that carries the
next one may be lost on its way, the one just used stays good until a Ping with that Welcome's generation says that it
has arrived; after that it is worth nothing. And a token alone is not enough: its bearer must authenticate as the same
player. Nothing of a token is kept anywhere, so that the shard that goes on with a session after another's end knows
those that were given out a moment before.
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
    """What a token that is good says."""

    session_id: str
    generation: int
    shard_id: str = ""


class ResumeTokens:
    """Makes and reads them.

    Args:
        keys: by id; old ones may still be read.
        current: the id of the key that signs.
        shard_id: this shard.
    """

    def __init__(self, keys: Mapping[str, bytes], current: str, shard_id: str = "") -> None:
        self.shard_id = shard_id
        self._shard = base64.urlsafe_b64encode(shard_id.encode()).decode().rstrip("=")
        self._keys = dict(keys)
        self._current = current

    def sign(self, session_id: str, generation: int) -> str:
        """The token that comes with a session's connection of this generation."""
        claims = f"{session_id}.{generation}.{self._shard}"
        return f"{claims}.{_signature(self._keys[self._current], claims)}.{self._current}"

    def read(self, token: str) -> ResumeClaim | None:
        """What a token says, if one of the keys has signed it."""
        parts = token[: TOKEN_CHARACTERS_MAX + 1].split(".", 4)
        if len(token) > TOKEN_CHARACTERS_MAX or len(parts) != 5 or not parts[1].isdecimal() or not token.isascii():
            return None
        session_id, generation, shard, signature, key_id = parts
        key = self._keys.get(key_id)
        if key is None or int(generation) > GENERATION_MAX:
            return None
        is_ours = hmac.compare_digest(signature, _signature(key, f"{session_id}.{generation}.{shard}"))
        return ResumeClaim(session_id, int(generation), _shard_id(shard)) if is_ours else None


def _signature(key: bytes, claims: str) -> str:
    # The words keep it apart from whatever else is signed with the same key.
    return hmac.new(key, f"tickwire resume {claims}".encode(), hashlib.sha256).hexdigest()


def _shard_id(shard: str) -> str:
    return base64.urlsafe_b64decode(shard + "=" * (-len(shard) % 4)).decode()
