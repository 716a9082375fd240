"""Who a player is: JSON Web Tokens (RFC 7519, by PyJWT), or a guest.

    no token   a guest, where guests are allowed
    HS256      verified with `auth.secret`, which this server and whoever signs the tokens share
    others     verified with the public keys of a JWKS, found by the token's key id; see keys.py

Which algorithm a key is for is settled here, never by the token: a public key is never taken for a secret.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Protocol

import jwt
import msgspec

from tickwire.limits import PLAYER_CHARACTERS_MAX
from tickwire.server.edge.auth.jwks import JwksCache, key_set_of
from tickwire.server.edge.auth.settings import AuthSettings
from tickwire.server.errors import ConfigError, Unauthorized

TOKEN_CHARACTERS_MAX = 4096
GUEST_PREFIX = "guest-"
SECRET_ALGORITHM = "HS256"  # noqa: S105 - an algorithm's name


class Identity(msgspec.Struct, frozen=True):
    """Who plays.

    Args:
        player_id: the same player always has the same; a guest's is made up and unguessable.
        is_guest: whether anybody vouches for it.
    """

    player_id: str
    is_guest: bool


class Authenticator(Protocol):
    """Says who a token stands for."""

    async def identify(self, token: str) -> Identity:
        """Who bears this token.

        Raises:
            Unauthorized: it is not good; the sentence says why, for a developer, and never what the token was.
            Unavailable: it cannot be told now.
        """
        ...


class GuestAuthenticator:
    """Everybody without a token is a guest of a new name."""

    async def identify(self, token: str) -> Identity:
        """See `Authenticator.identify`."""
        if token:
            raise Unauthorized("this server takes no tokens; guests come without one")
        return Identity(GUEST_PREFIX + secrets.token_urlsafe(12), is_guest=True)


class JwtAuthenticator:
    """Players with a JSON Web Token.

    Args:
        settings: what a good token is.
        keys: public keys by key id; None when only the secret counts.
        now_s: UTC, seconds since 1970.
    """

    def __init__(self, settings: AuthSettings, keys: JwksCache | None, now_s: Callable[[], float]) -> None:
        self._settings = settings
        self._keys = keys
        self._now_s = now_s

    async def identify(self, token: str) -> Identity:
        """See `Authenticator.identify`."""
        if len(token) > TOKEN_CHARACTERS_MAX:
            raise Unauthorized(f"a token of more than {TOKEN_CHARACTERS_MAX} characters")
        if (
            not token.isascii()
        ):  # bytes of a header that are not ASCII arrive as surrogates, which PyJWT cannot encode
            raise Unauthorized("the token is no JSON Web Token")
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, RecursionError) as error:
            raise Unauthorized("the token is no JSON Web Token") from error
        key, algorithm = await self._key_for(header)
        return Identity(self._player_of(self._claims(token, key, algorithm)), is_guest=False)

    async def _key_for(self, header: dict[str, Any]) -> tuple[Any, str]:
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm == SECRET_ALGORITHM and self._settings.secret:
            return self._settings.secret, SECRET_ALGORITHM
        if self._keys is None or algorithm not in self._settings.algorithms:
            raise Unauthorized("the token is signed with an algorithm that is not accepted here")
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
                    # The three below are looked at in `_check_times`, by our clock.
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except RecursionError as error:
            raise Unauthorized("the token is not good: its claims are nested too deeply") from error
        except jwt.PyJWTError as error:
            raise Unauthorized(f"the token is not good: {error}") from error
        self._check_times(claims)
        return claims

    def _check_times(self, claims: dict[str, Any]) -> None:
        """RFC 7519, sections 4.1.4 and 4.1.5."""
        now_s, leeway_s = self._now_s(), self._settings.leeway_s
        expires_s, not_before_s = claims["exp"], claims.get("nbf", 0)
        for value in (expires_s, not_before_s):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise Unauthorized("the token is not good: a time in it is no number")
        if now_s >= expires_s + leeway_s:
            raise Unauthorized("the token has expired")
        if now_s < not_before_s - leeway_s:
            raise Unauthorized("the token is not valid yet")

    def _player_of(self, claims: dict[str, Any]) -> str:
        player_id = claims[self._settings.player_claim]
        if not isinstance(player_id, str) or not 0 < len(player_id) <= PLAYER_CHARACTERS_MAX:
            raise Unauthorized(f"the token names no player: a text of 1 to {PLAYER_CHARACTERS_MAX} characters")
        if not player_id.isprintable() or player_id.startswith(GUEST_PREFIX):
            raise Unauthorized(f"the player's name is not printable, or begins with {GUEST_PREFIX!r}")
        return player_id


class CombinedAuthenticator:
    """Guests and token bearers, as the settings allow them.

    Args:
        guests: for who has no token; None: a token is required.
        bearers: for who has one; None: none is accepted.
    """

    def __init__(self, guests: GuestAuthenticator | None, bearers: JwtAuthenticator | None) -> None:
        self._guests = guests
        self._bearers = bearers

    async def identify(self, token: str) -> Identity:
        """See `Authenticator.identify`."""
        if token and self._bearers is not None:
            return await self._bearers.identify(token)
        if self._guests is None:
            raise Unauthorized("a token is required")
        return await self._guests.identify(token)


def authenticator_of(settings: AuthSettings, now_s: Callable[[], float]) -> Authenticator:
    """The authenticator that the settings ask for.

    Args:
        now_s: UTC, seconds since 1970.
    """
    keys = key_set_of(settings, now_s)
    bearers = JwtAuthenticator(settings, keys, now_s) if settings.secret or keys is not None else None
    return CombinedAuthenticator(GuestAuthenticator() if settings.guests else None, bearers)


def mint(settings: AuthSettings, player_id: str, *, ttl_s: float, now_s: float) -> str:
    """A token for development, signed with the secret.

    Raises:
        ConfigError: there is no secret.
    """
    if not settings.secret:
        raise ConfigError("auth.secret: is not set; a token is signed with it")
    claims: dict[str, Any] = {settings.player_claim: player_id, "iat": int(now_s), "exp": int(now_s + ttl_s)}
    claims |= {"aud": settings.audience} if settings.audience else {}
    claims |= {"iss": settings.issuer} if settings.issuer else {}
    return jwt.encode(claims, settings.secret, algorithm=SECRET_ALGORITHM)
