"""What a good token is, as the operator says it."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import msgspec

from tickwire.server.setting_types import CallSeconds, Claim, HttpUrl, Seconds, SecondsOrNone, Secret, Texts

Contradiction = tuple[tuple[str, ...], str]
"""Keys of settings that do not go together, the one to change first, and what it must be."""
PUBLIC_ALGORITHMS = frozenset(
    ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
)
_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))


class AuthSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How players prove who they are.

    Args:
        guests: whether players without a token are let in.
        secret: for HS256, shared with whoever signs the tokens; at least 32 characters.
        jwks_file, jwks_url: where the public keys of other algorithms are; at most one of them.
        algorithms: what a key of the JWKS may be used with.
        audience, issuer: what `aud` and `iss` must be; empty: not looked at.
        player_claim: the claim that names the player.
        leeway_s: how far clocks may differ; 0: not at all.
        jwks_refresh_s: the keys are read again after so long.
        jwks_deadline_s: the longest that reading them may take.
    """

    guests: bool = True
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

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in self.__struct_fields__}
        shown["secret"] = "***" if self.secret else ""
        return f"AuthSettings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


def contradictions(settings: AuthSettings) -> Iterator[Contradiction]:
    """Yield the settings that are right alone and wrong together."""
    if settings.jwks_file and settings.jwks_url:
        yield ("auth.jwks_url", "auth.jwks_file"), "must not be set, because auth.jwks_file is"
    unknown = [name for name in settings.algorithms if name not in PUBLIC_ALGORITHMS]
    if unknown or not settings.algorithms:
        words = ", ".join(sorted(PUBLIC_ALGORITHMS))
        yield ("auth.algorithms",), f"must be a list of at least one of {words}; got {', '.join(unknown) or 'none'}"
    if not (settings.guests or settings.secret or settings.jwks_file or settings.jwks_url):
        words = "must be true, or no player is admitted; or set auth.secret, auth.jwks_file or auth.jwks_url"
        yield ("auth.guests", "auth.secret", "auth.jwks_file", "auth.jwks_url"), words
    if settings.jwks_url:
        parts = urlsplit(settings.jwks_url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            yield ("auth.jwks_url",), "must begin with https://; http:// is for loopback addresses alone"
    if settings.jwks_deadline_s >= settings.jwks_refresh_s:
        words = f"must be less than auth.jwks_refresh_s ({settings.jwks_refresh_s:g})"
        yield ("auth.jwks_deadline_s", "auth.jwks_refresh_s"), words
