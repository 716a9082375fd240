"""Authenticates players: by JSON Web Tokens (RFC 7519, with PyJWT), or as guests.

    no token   a guest, if guests are allowed
    HS256      verified with `auth.secret`, which this server shares with the issuer of the tokens
    others     verified with the public keys of a JWKS, found by the token's key id; see jwks.py

The server decides which algorithm a key is used with, never the token, so a public key is never used as a secret.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Protocol

import jwt
import msgspec

from tickwire.limits import PLAYER_CHARACTERS_MAX
from tickwire.server.edge.auth.jwks import JwksCache, create_jwks_cache
from tickwire.server.edge.auth.settings import AuthSettings
from tickwire.server.errors import ConfigError, Unauthorized

TOKEN_CHARACTERS_MAX = 4096
GUEST_PREFIX = "guest-"
SECRET_ALGORITHM = "HS256"  # noqa: S105 - an algorithm's name


class Identity(msgspec.Struct, frozen=True):
    """An authenticated player.

    Args:
        player_id: identifies the player across sessions; the id of a guest is random and unguessable.
        is_guest: whether the player has no account.
    """

    player_id: str
    is_guest: bool


class Authenticator(Protocol):
    """Authenticates players by their tokens."""

    async def authenticate(self, token: str) -> Identity:
        """Return the player that a token identifies.

        Raises:
            Unauthorized: the token is invalid. The message says why, for a developer, and never contains the token.
            Unavailable: the token cannot be verified now.
        """
        ...


class GuestAuthenticator:
    """Authenticates every player without a token as a guest with a new id."""

    async def authenticate(self, token: str) -> Identity:
        """See `Authenticator.authenticate`."""
        if token:
            raise Unauthorized("this server accepts no tokens; connect as a guest without one")
        return Identity(GUEST_PREFIX + secrets.token_urlsafe(12), is_guest=True)


class JwtAuthenticator:
    """Authenticates players by JSON Web Tokens.

    Args:
        settings: which tokens are valid.
        keys: the public keys by key id; None if only the secret is used.
        now_s: the clock: UTC, seconds since 1970.
    """

    def __init__(self, settings: AuthSettings, keys: JwksCache | None, now_s: Callable[[], float]) -> None:
        self._settings = settings
        self._keys = keys
        self._now_s = now_s

    async def authenticate(self, token: str) -> Identity:
        """See `Authenticator.authenticate`."""
        if len(token) > TOKEN_CHARACTERS_MAX:
            raise Unauthorized(f"the token has more than {TOKEN_CHARACTERS_MAX} characters")
        # Non-ASCII bytes of a header arrive as surrogates, which PyJWT cannot encode.
        if not token.isascii():
            raise Unauthorized("the token is not a JSON Web Token")
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, RecursionError) as error:
            raise Unauthorized("the token is not a JSON Web Token") from error
        key, algorithm = await self._key_for(header)
        return Identity(self._player_from_claims(self._claims(token, key, algorithm)), is_guest=False)

    async def _key_for(self, header: dict[str, Any]) -> tuple[Any, str]:
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm == SECRET_ALGORITHM and self._settings.secret:
            return self._settings.secret, SECRET_ALGORITHM
        if self._keys is None or algorithm not in self._settings.algorithms:
            raise Unauthorized("the token is signed with an algorithm that this server does not accept")
        key = await self._keys.find(str(key_id) if key_id is not None else None, str(algorithm))
        return key, str(algorithm)

    def _claims(self, token: str, key: Any, algorithm: str) -> dict[str, Any]:
        settings = self._settings
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=settings.audience or None,
                issuer=settings.issuer or None,
                options={
                    "require": ["exp", settings.player_claim],
                    "verify_aud": bool(settings.audience),
                    # `_check_times` checks the next three, by the fleet's clock.
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except RecursionError as error:
            raise Unauthorized("the token is invalid: its claims are nested too deeply") from error
        except jwt.PyJWTError as error:
            raise Unauthorized(f"the token is invalid: {error}") from error
        self._check_times(claims)
        return claims

    def _check_times(self, claims: dict[str, Any]) -> None:
        """Check `exp` and `nbf`: RFC 7519, sections 4.1.4 and 4.1.5."""
        now_s, leeway_s = self._now_s(), self._settings.leeway_s
        expires_s, not_before_s = claims["exp"], claims.get("nbf", 0)
        for value in (expires_s, not_before_s):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise Unauthorized("the token is invalid: exp and nbf must be numbers")
        if now_s >= expires_s + leeway_s:
            raise Unauthorized("the token has expired")
        if now_s < not_before_s - leeway_s:
            raise Unauthorized("the token is not valid yet")

    def _player_from_claims(self, claims: dict[str, Any]) -> str:
        player_id = claims[self._settings.player_claim]
        if not isinstance(player_id, str) or not 0 < len(player_id) <= PLAYER_CHARACTERS_MAX:
            raise Unauthorized(
                f"the player id in the token must be a string of 1 to {PLAYER_CHARACTERS_MAX} characters"
            )
        if not player_id.isprintable() or player_id.startswith(GUEST_PREFIX):
            raise Unauthorized(
                f"the player id in the token must be printable and must not start with {GUEST_PREFIX!r}"
            )
        return player_id


class CombinedAuthenticator:
    """Authenticates guests and players with a token.

    Args:
        guests: authenticates players without a token; None if a token is required.
        bearers: authenticates players with a token; None if guests are the only players.
    """

    def __init__(self, guests: GuestAuthenticator | None, bearers: JwtAuthenticator | None) -> None:
        self._guests = guests
        self._bearers = bearers

    async def authenticate(self, token: str) -> Identity:
        """See `Authenticator.authenticate`."""
        if token and self._bearers is not None:
            return await self._bearers.authenticate(token)
        if self._guests is None:
            raise Unauthorized("a token is required")
        return await self._guests.authenticate(token)


def create_authenticator(settings: AuthSettings, now_s: Callable[[], float]) -> Authenticator:
    """Create the authenticator that the settings describe.

    Args:
        settings: the section `auth`.
        now_s: the clock: UTC, seconds since 1970.
    """
    keys = create_jwks_cache(settings, now_s)
    bearers = JwtAuthenticator(settings, keys, now_s) if settings.secret or keys is not None else None
    return CombinedAuthenticator(GuestAuthenticator() if settings.guests else None, bearers)


def issue_token(settings: AuthSettings, player_id: str, *, ttl_s: float, now_s: float) -> str:
    """Issue a token for development, signed with the secret.

    Raises:
        ConfigError: the settings have no secret.
    """
    if not settings.secret:
        raise ConfigError("auth.secret: must be set, because it signs the token")
    claims: dict[str, Any] = {settings.player_claim: player_id, "iat": int(now_s), "exp": int(now_s + ttl_s)}
    claims |= {"aud": settings.audience} if settings.audience else {}
    claims |= {"iss": settings.issuer} if settings.issuer else {}
    return jwt.encode(claims, settings.secret, algorithm=SECRET_ALGORITHM)
