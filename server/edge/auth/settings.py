"""The settings for authentication: which tokens are valid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from tickwire.server.setting_types import CallSeconds, Claim, HttpUrl, Seconds, SecondsOrNone, Secret, Texts
from tickwire.server.tokens.fetch import is_secure
from tickwire.server.tokens.jws import PUBLIC_KEY_ALGORITHMS

Contradiction = tuple[tuple[str, ...], str]
"""Keys of settings that contradict each other, the one to change first, and the rule."""


class AuthSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Authentication of players.

    Args:
        guests: whether players without a token are admitted.
        accounts: whether access tokens of the accounts are accepted, which `tickwire api` issues.
        secret: the key for HS256, shared with the issuer of the tokens; at least 32 characters.
        jwks_file, jwks_url: the source of the public keys for other algorithms; at most one of the two.
        algorithms: the algorithms that a key of the JWKS may be used with.
        audience, issuer: the required values of `aud` and `iss`; not checked if empty.
        player_claim: the claim that names the player.
        leeway_s: the largest difference of clocks that is accepted.
        jwks_refresh_s: the interval at which the keys are read again.
        jwks_deadline_s: the longest time for reading the keys.
        token_renewal_s: how long before its end a client is asked for a new token.
        on_token_expired: the policy for a session whose token has expired: it continues (`keep`), or its connection
            is closed and it can be resumed with a valid token (`end`).
        token_grace_s: the time after the token's end, and after `leeway_s`, until the policy applies.
    """

    guests: bool = True
    accounts: bool = False
    secret: Secret = ""
    jwks_file: str = ""
    jwks_url: HttpUrl = ""
    algorithms: Texts = msgspec.field(default_factory=lambda: ["RS256", "ES256", "EdDSA"])
    audience: str = ""
    issuer: str = ""
    player_claim: Claim = "sub"
    leeway_s: SecondsOrNone = 10.0
    jwks_refresh_s: Seconds = 300.0
    jwks_deadline_s: CallSeconds = 3.0
    token_renewal_s: SecondsOrNone = 60.0
    on_token_expired: Literal["keep", "end"] = "keep"  # noqa: S105 - a policy
    token_grace_s: SecondsOrNone = 30.0

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in self.__struct_fields__}
        shown["secret"] = "***" if self.secret else ""
        return f"AuthSettings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


def contradictions(settings: AuthSettings) -> Iterator[Contradiction]:
    """Yield the settings that are valid by themselves but contradict each other."""
    if settings.jwks_file and settings.jwks_url:
        yield ("auth.jwks_url", "auth.jwks_file"), "must not be set, because auth.jwks_file is set"
    unknown = [name for name in settings.algorithms if name not in PUBLIC_KEY_ALGORITHMS]
    if unknown or not settings.algorithms:
        words = ", ".join(sorted(PUBLIC_KEY_ALGORITHMS))
        yield ("auth.algorithms",), f"must be a list of at least one of {words}; got {', '.join(unknown) or 'none'}"
    if not (settings.guests or settings.accounts or settings.secret or settings.jwks_file or settings.jwks_url):
        others = ("auth.accounts", "auth.secret", "auth.jwks_file", "auth.jwks_url")
        words = f"must be true, or no player is admitted; or set {', '.join(others[:-1])} or {others[-1]}"
        yield ("auth.guests", *others), words
    if settings.jwks_url and not is_secure(settings.jwks_url):
        yield ("auth.jwks_url",), "must start with https://; http:// is allowed for loopback addresses only"
    if settings.jwks_deadline_s >= settings.jwks_refresh_s:
        words = f"must be less than auth.jwks_refresh_s ({settings.jwks_refresh_s:g})"
        yield ("auth.jwks_deadline_s", "auth.jwks_refresh_s"), words
