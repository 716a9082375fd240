"""The lifetime of the token that a session's player has authenticated with.

    received --renewal time--> expiring --expiry and grace--> expired
       ^----------- a token that expires later -----------------|

Pure: the caller passes the time, on the fleet's clock.
"""

from __future__ import annotations

import enum
from typing import Literal

import msgspec

from tickwire.server.edge.auth.authenticator import Identity

EXPIRY_MS_MAX = 2**32 - 1


class TokenPolicy(msgspec.Struct, frozen=True):
    """The server's policy for tokens of running sessions.

    Args:
        renewal_s: how long before its end a client is informed. Of a token that lives shorter than twice this time:
            half of its remaining time, so that a client is not informed of a token that it has just received.
        on_expired: whether a session continues after its token's end, or its connection is closed.
        grace_s: the time after the token's end until the policy applies; includes the tolerated clock difference.
    """

    renewal_s: float = 60.0
    on_expired: Literal["keep", "end"] = "keep"
    grace_s: float = 40.0


class TokenState(enum.Enum):
    """The states of a token."""

    VALID = "valid"
    EXPIRING = "expiring"
    EXPIRED = "expired"


class SessionToken:
    """The token of one session.

    Args:
        expires_at_s: its end, UTC, seconds since 1970; 0 if it has none.
        issued_at_s: when it was issued, UTC, seconds since 1970; 0 if that is unknown.
        received_at_s: when the session received it, UTC, seconds since 1970.
        family_id: the login that it belongs to, if it is a token of the accounts.

    Attributes:
        expires_at_s, issued_at_s, family_id: as passed.
        reported: the state that the client knows, or that the policy was applied to.
    """

    __slots__ = ("expires_at_s", "family_id", "issued_at_s", "received_at_s", "reported")

    def __init__(self, expires_at_s: float, issued_at_s: float, received_at_s: float, family_id: str = "") -> None:
        self.expires_at_s = expires_at_s
        self.family_id = family_id
        self.issued_at_s = issued_at_s
        self.received_at_s = received_at_s
        self.reported = TokenState.VALID

    def state(self, policy: TokenPolicy, now_s: float) -> TokenState:
        """Return the state of the token."""
        left_s = self.expires_at_s - now_s
        if not self.expires_at_s or left_s > policy.renewal_s:
            return TokenState.VALID
        if left_s <= -policy.grace_s:
            return TokenState.EXPIRED
        half_s = (self.expires_at_s - self.received_at_s) / 2
        return TokenState.EXPIRING if left_s <= half_s else TokenState.VALID

    def expires_in_ms(self, now_s: float) -> int:
        """Return the time until the end, at least 1 until then; 0 after it, and for a token without an end."""
        left_ms = (self.expires_at_s - now_s) * 1000
        if not self.expires_at_s or left_ms <= 0:
            return 0
        return max(1, int(left_ms)) if left_ms < EXPIRY_MS_MAX else EXPIRY_MS_MAX


def renew_token(held: SessionToken | None, identity: Identity, now_s: float) -> SessionToken | None:
    """Return the token of a session that has authenticated again: the one that expires later.

    Args:
        held: the session's token; None for a guest.
        identity: the player of the new token.
        now_s: UTC, seconds since 1970.
    """
    if identity.is_guest:
        return held
    if held is not None and _lifetime(held.expires_at_s) >= _lifetime(identity.expires_at_s):
        return held
    return SessionToken(identity.expires_at_s, identity.issued_at_s, now_s, identity.family_id)


def _lifetime(expires_at_s: float) -> float:
    return expires_at_s or float("inf")
