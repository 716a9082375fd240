"""The text from which a client resumes its session after a restart of the program, and whose session it is. Pure.

`attempt` and `command_id` must increase over the life of a session, but the text is not saved with each of them. The
text therefore has numbers that are reached later.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

VERSION = 1
ATTEMPTS_AHEAD = 16
COMMANDS_AHEAD = 1024


class StoredSession(msgspec.Struct, frozen=True):
    """A session that can be resumed.

    Args:
        version: of this text.
        url: the address of the session's shard.
        initial_url: the address that the client connected to first.
        player: the player's id, from the token; empty for a guest.
        resume_token: of the session.
        last_event: the newest event that was received.
        attempt: at least the number of the last Hello.
        command_id: at least the id of the last command.
    """

    version: int
    url: str
    initial_url: str
    player: str
    resume_token: str
    last_event: int
    attempt: int
    command_id: int

    def to_text(self) -> str:
        """Return the text to save."""
        return msgspec.json.encode(self).decode()


def stored_session_from(text: str, initial_url: str) -> StoredSession | None:
    """Decode a saved text; None if it is invalid, or of a client with another initial address."""
    try:
        stored = msgspec.json.decode(text, type=StoredSession)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    is_downgrade = initial_url.startswith("wss:") and not stored.url.startswith("wss:")
    if stored.version != VERSION or stored.initial_url != initial_url or not stored.resume_token or is_downgrade:
        return None
    return stored


def player_from_token(token: str) -> str:
    """Return the claim `sub` of a JSON Web Token, without verification; empty without one.

    It only prevents that a player continues the session of another one on the same device. The server verifies.
    """
    parts = token.split(".")
    if len(parts) != 3:
        return ""
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (msgspec.DecodeError, binascii.Error, ValueError, RecursionError):
        return ""
    player = claims.get("sub", "") if isinstance(claims, dict) else ""
    return player if isinstance(player, str) else ""
