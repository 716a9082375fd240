"""Creates the ids and the codes of rooms."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable

CODE_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""Without I, O, 0 and 1, because players read codes aloud and type them. Ten of these 32 letters carry 50 bits."""
CODE_CHARACTERS = 10
ID_BYTES = 9


class RoomIds:
    """Creates ids that no other room has, and codes that cannot be guessed.

    Args:
        random_bytes: returns random bytes; seeded ones in a test, so that its rooms have the same ids each time.
    """

    def __init__(self, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._random_bytes = random_bytes

    def create_id(self) -> str:
        """Return a new id of a room or a match."""
        return base64.urlsafe_b64encode(self._random_bytes(ID_BYTES)).decode()

    def create_code(self) -> str:
        """Return a new code of a private room."""
        return "".join(CODE_LETTERS[byte % len(CODE_LETTERS)] for byte in self._random_bytes(CODE_CHARACTERS))
