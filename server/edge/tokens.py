"""Resume tokens: `session . generation . signature . key`, signed with a key that all shards of a fleet have.

A token is good for one resume, which gives the next one, of the next generation. Because the Welcome that carries the
next one may be lost on its way, the one just used stays good until a Ping with that Welcome's generation says that it
has arrived; after that it is worth nothing. And a token alone is not enough: its bearer must authenticate as the same
player. Nothing of a token is kept anywhere, so that the shard that goes on with a session after another's end knows
those that were given out a moment before.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import NamedTuple

TOKEN_CHARACTERS_MAX = 256
GENERATION_MAX = 2**32 - 1


class Resumption(NamedTuple):
    """What a token that is good says."""

    session_id: str
    generation: int


class ResumeTokens:
    """Makes and reads them.

    Args:
        keys: by id; old ones may still be read.
        current: the id of the key that signs.
    """

    def __init__(self, keys: Mapping[str, bytes], current: str) -> None:
        self._keys = dict(keys)
        self._current = current

    def sign(self, session_id: str, generation: int) -> str:
        """The token that comes with a session's connection of this generation."""
        signature = _signature(self._keys[self._current], session_id, generation)
        return f"{session_id}.{generation}.{signature}.{self._current}"

    def read(self, token: str) -> Resumption | None:
        """What a token says, if one of the keys has signed it."""
        parts = token[: TOKEN_CHARACTERS_MAX + 1].split(".", 3)
        if len(token) > TOKEN_CHARACTERS_MAX or len(parts) != 4 or not parts[1].isdecimal() or not token.isascii():
            return None
        session_id, generation, signature, key_id = parts[0], int(parts[1]), parts[2], parts[3]
        key = self._keys.get(key_id)
        if key is None or generation > GENERATION_MAX:
            return None
        is_ours = hmac.compare_digest(signature, _signature(key, session_id, generation))
        return Resumption(session_id, generation) if is_ours else None


def _signature(key: bytes, session_id: str, generation: int) -> str:
    # The words keep it apart from whatever else is signed with the same key.
    return hmac.new(key, f"tickwire resume {session_id}.{generation}".encode(), hashlib.sha256).hexdigest()
