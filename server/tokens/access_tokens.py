"""Access tokens of Tickwire's own accounts: short JSON Web Tokens that any process verifies without a call.

    alg EdDSA (Ed25519), kid                    the fleet's signing key
    iss, aud                                    setting accounts.issuer, "tickwire"
    sub, fam                                    the player, the refresh family
    iat, exp                                    seconds since 1970, in milliseconds resolution
    jti                                         random

A token has no other header parameter: one that selects a key by a URL, or brings its own, is refused.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tickwire.server.errors import InvalidToken
from tickwire.server.tokens.claims import ClaimRules, check_claims, read_text
from tickwire.server.tokens.jwks import JwksCache
from tickwire.server.tokens.jws import read_header, verify_signature

ALGORITHM = "EdDSA"
AUDIENCE = "tickwire"
FAMILY_CHARACTERS_MAX = 64
_HEADER = frozenset(("alg", "kid", "typ"))


class AccessToken(msgspec.Struct, frozen=True):
    """The content of an access token.

    Args:
        player_id: the player.
        family_id: the refresh family that it belongs to; all tokens of one login share it.
        issued_at_s, expires_at_s: UTC, seconds since 1970.
    """

    player_id: str
    family_id: str
    issued_at_s: float
    expires_at_s: float


def sign_access_token(token: AccessToken, issuer: str, key_id: str, key: Ed25519PrivateKey) -> str:
    """Return the signed token."""
    claims: dict[str, Any] = {
        "iss": issuer,
        "aud": AUDIENCE,
        "sub": token.player_id,
        "fam": token.family_id,
        "iat": round(token.issued_at_s, 3),
        "exp": round(token.expires_at_s, 3),
        "jti": secrets.token_urlsafe(12),
    }
    return jwt.encode(claims, key, algorithm=ALGORITHM, headers={"kid": key_id})


class AccessTokenDecoder:
    """Verifies the signature and the claims of access tokens.

    Args:
        keys: the public keys of the fleet.
        issuer: the required `iss`.
        leeway_s: the largest difference of clocks that is accepted.
        now_s: the clock: UTC, seconds since 1970.
    """

    def __init__(self, keys: JwksCache, *, issuer: str, leeway_s: float, now_s: Callable[[], float]) -> None:
        self.issuer = issuer
        self._keys = keys
        self._rules = ClaimRules((issuer,), (AUDIENCE,), leeway_s=leeway_s)
        self._now_s = now_s

    async def decode(self, token: str) -> AccessToken:
        """Return the content of a valid token. Whether it was revoked is not checked.

        Raises:
            InvalidToken: the token is not valid.
            Unavailable: the keys have not been read yet, and cannot be read now.
        """
        header = read_header(token)
        if header.algorithm != ALGORITHM:
            raise InvalidToken("the token is signed with another algorithm than EdDSA", reason="algorithm")
        if header.key_id is None or not header.names <= _HEADER:
            raise InvalidToken("the header of the token must have alg, kid and typ only", reason="header")
        claims = verify_signature(token, await self._keys.find(header.key_id, ALGORITHM), ALGORITHM)
        times = check_claims(claims, self._rules, self._now_s())
        return AccessToken(
            read_text(claims, "sub", what="the player id"),
            read_text(claims, "fam", what="the family", characters_max=FAMILY_CHARACTERS_MAX),
            times.issued_at_s,
            times.expires_at_s,
        )
