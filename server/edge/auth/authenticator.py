"""Authenticates players: by JSON Web Tokens (RFC 7519), or as guests.

    no token   a guest, if guests are allowed
    HS256      verified with `auth.secret`, which this server shares with the issuer of the tokens
    others     verified with the public keys of a JWKS, found by the token's key id; see tickwire.server.tokens
    accounts   access tokens of Tickwire's own accounts; beside other tokens, the unverified `iss` selects the check

The server decides which algorithm a key is used with, never the token, so a public key is never used as a secret.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

import jwt
import msgspec

from tickwire.server.edge.auth.key_sources import create_jwks_cache
from tickwire.server.edge.auth.settings import AuthSettings
from tickwire.server.errors import ConfigError, InvalidToken, Unauthorized
from tickwire.server.tokens.access_tokens import AccessTokenDecoder
from tickwire.server.tokens.claims import ClaimRules, check_claims, read_text
from tickwire.server.tokens.jwks import JwksCache
from tickwire.server.tokens.jws import read_header, read_unverified_issuer, verify_signature

GUEST_PREFIX = "guest-"
SECRET_ALGORITHM = "HS256"  # noqa: S105 - an algorithm's name


class Identity(msgspec.Struct, frozen=True):
    """An authenticated player.

    Args:
        player_id: identifies the player across sessions; the id of a guest is random and unguessable.
        is_guest: whether the player has no account.
        issued_at_s: when the token was issued: UTC, seconds since 1970; 0 if that is unknown.
        expires_at_s: when the token expires: UTC, seconds since 1970; 0 for a guest, who has no token.
        family_id: the refresh family of an access token of the accounts; empty for other tokens.
    """

    player_id: str
    is_guest: bool
    issued_at_s: float = 0.0
    expires_at_s: float = 0.0
    family_id: str = ""


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
    """Authenticates players by JSON Web Tokens of an external issuer.

    Args:
        settings: which tokens are valid.
        keys: the public keys by key id; None if only the secret is used.
        now_s: the clock: UTC, seconds since 1970.
    """

    def __init__(self, settings: AuthSettings, keys: JwksCache | None, now_s: Callable[[], float]) -> None:
        self._settings = settings
        self._keys = keys
        self._now_s = now_s
        self._rules = ClaimRules(
            issuers=(settings.issuer,) if settings.issuer else (),
            audiences=(settings.audience,) if settings.audience else (),
            leeway_s=settings.leeway_s,
        )

    async def authenticate(self, token: str) -> Identity:
        """See `Authenticator.authenticate`."""
        header = read_header(token)
        key, algorithm = await self._find_key(header.algorithm, header.key_id)
        claims = verify_signature(token, key, algorithm)
        times = check_claims(claims, self._rules, self._now_s())
        player_id = read_text(claims, self._settings.player_claim, what="the player id")
        return Identity(check_player_id(player_id), False, times.issued_at_s, times.expires_at_s)

    async def _find_key(self, algorithm: str, key_id: str | None) -> tuple[Any, str]:
        if algorithm == SECRET_ALGORITHM and self._settings.secret:
            return self._settings.secret, SECRET_ALGORITHM
        if self._keys is None or algorithm not in self._settings.algorithms:
            raise InvalidToken(
                "the token is signed with an algorithm that this server does not accept", reason="algorithm"
            )
        return await self._keys.find(key_id, algorithm), algorithm


class AccountAuthenticator:
    """Authenticates players by access tokens of Tickwire's own accounts."""

    def __init__(self, decoder: AccessTokenDecoder) -> None:
        self.issuer = decoder.issuer
        self._decoder = decoder

    async def authenticate(self, token: str) -> Identity:
        """See `Authenticator.authenticate`."""
        verified = await self._decoder.decode(token)
        player_id = check_player_id(verified.player_id)
        return Identity(player_id, False, verified.issued_at_s, verified.expires_at_s, verified.family_id)


def check_player_id(player_id: str) -> str:
    """Return the player id of a token.

    Raises:
        InvalidToken: it is an id of a guest.
    """
    if player_id.startswith(GUEST_PREFIX):
        raise InvalidToken(f"the player id in the token must not start with {GUEST_PREFIX!r}", reason="claims")
    return player_id


class CombinedAuthenticator:
    """Authenticates guests and players with a token.

    Args:
        guests: authenticates players without a token; None if a token is required.
        bearers: authenticates players with a token of an external issuer; None without one.
        accounts: authenticates players with an access token of the accounts; None if they are not used.
        check_revoked: raises InvalidToken if the token of an identity was revoked.

    Attributes:
        refusals: the number of refused tokens, by reason.
    """

    def __init__(
        self,
        guests: GuestAuthenticator | None,
        bearers: JwtAuthenticator | None,
        accounts: AccountAuthenticator | None = None,
        check_revoked: Callable[[Identity], None] = lambda identity: None,
    ) -> None:
        self._guests = guests
        self._bearers = bearers
        self._accounts = accounts
        self._check_revoked = check_revoked
        self.refusals: Counter[str] = Counter()

    async def authenticate(self, token: str) -> Identity:
        """See `Authenticator.authenticate`."""
        if not token and self._guests is None:
            raise Unauthorized("a token is required")
        if self._guests is not None and (not token or (self._bearers is None and self._accounts is None)):
            return await self._guests.authenticate(token)
        try:
            identity = await self._select(token).authenticate(token)
            self._check_revoked(identity)
        except InvalidToken as error:
            self.refusals[error.reason] += 1
            raise
        return identity

    def _select(self, token: str) -> Authenticator:
        if self._accounts is None or self._bearers is None:
            authenticator = self._bearers or self._accounts
            if authenticator is None:
                raise Unauthorized("this server accepts no tokens")
            return authenticator
        read_header(token)  # limits the size
        is_account = read_unverified_issuer(token) == self._accounts.issuer
        return self._accounts if is_account else self._bearers


class AccountAuthentication(msgspec.Struct, frozen=True):
    """How access tokens of the accounts are verified.

    Args:
        decoder: verifies them; None if `auth.accounts` is not set.
        check_revoked: raises InvalidToken if the token of an identity was revoked.
    """

    decoder: AccessTokenDecoder | None = None
    check_revoked: Callable[[Identity], None] = lambda identity: None


_NO_ACCOUNTS = AccountAuthentication()


def create_authenticator(
    settings: AuthSettings, now_s: Callable[[], float], accounts: AccountAuthentication = _NO_ACCOUNTS
) -> CombinedAuthenticator:
    """Create the authenticator that the settings describe.

    Args:
        settings: the section `auth`.
        now_s: the clock: UTC, seconds since 1970.
        accounts: how access tokens of the accounts are verified.
    """
    keys = create_jwks_cache(settings, now_s)
    return CombinedAuthenticator(
        GuestAuthenticator() if settings.guests else None,
        JwtAuthenticator(settings, keys, now_s) if settings.secret or keys is not None else None,
        AccountAuthenticator(accounts.decoder) if accounts.decoder is not None else None,
        accounts.check_revoked,
    )


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
