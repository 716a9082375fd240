"""Resume tokens: `session id . secret`, of which only a hash is kept.

A token is good for one resume, which gives the next one. Because the Welcome that carries the next one may be lost on
its way, the one just used stays good until a Ping with that Welcome's generation says that it has arrived; after that
it is worth nothing. And a token alone is not enough: its bearer must authenticate as the same player.
"""

from __future__ import annotations

import hashlib
import secrets

SECRET_BYTES = 24
TOKEN_CHARACTERS_MAX = 128


def new_token(session_id: str) -> str:
    """A resume token for a session."""
    return f"{session_id}.{secrets.token_urlsafe(SECRET_BYTES)}"


def session_id_of(token: str) -> str:
    """The session that a token, if it is one, is for."""
    return token[:TOKEN_CHARACTERS_MAX].partition(".")[0]


def digest_of(token: str) -> bytes:
    """What is kept of a token. Its secret is random and long, so that one round of a fast hash is enough."""
    return hashlib.sha256(token[:TOKEN_CHARACTERS_MAX].encode()).digest()
