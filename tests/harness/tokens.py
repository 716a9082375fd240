"""Tokens of players, signed with the secret of the tests."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from tickwire.server.config import Settings
from tickwire.server.edge.auth.authenticator import issue_token
from tickwire.server.edge.auth.settings import AuthSettings
from tickwire.server.edge.settings import EdgeSettings

SECRET = "a secret of at least thirty-two characters"
AUTH = AuthSettings(secret=SECRET)


def token_of(player_id: str, *, ttl_s: int = 600) -> str:
    """Return a valid token of a player."""
    return issue_token(AUTH, player_id, ttl_s=ttl_s, now_s=time.time())


def with_tokens(settings: Settings, *, guests: bool = True, **edge: Any) -> Settings:
    """Return settings that accept these tokens, and limits of the edge if any are given."""
    auth = AuthSettings(secret=SECRET, guests=guests)
    changed = msgspec.structs.replace(settings, auth=auth)
    return msgspec.structs.replace(changed, edge=EdgeSettings(**edge)) if edge else changed
