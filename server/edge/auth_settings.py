"""What a good token is, as the operator says it."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import msgspec

SECRET_CHARACTERS_MIN = 32
"""RFC 7518, section 3.2: a key for HS256 has at least 256 bits."""
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
        leeway_s: how far clocks may differ.
        jwks_refresh_s: the keys are read again after so long.
        jwks_deadline_s: the longest that reading them may take.
    """

    guests: bool = True
    secret: str = ""
    jwks_file: str = ""
    jwks_url: str = ""
    algorithms: list[str] = msgspec.field(default_factory=lambda: ["RS256", "ES256", "EdDSA"])
    audience: str = ""
    issuer: str = ""
    player_claim: str = "sub"
    leeway_s: float = 10.0
    jwks_refresh_s: float = 300.0
    jwks_deadline_s: float = 3.0

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in self.__struct_fields__}
        shown["secret"] = "***" if self.secret else ""
        return f"AuthSettings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


def problems(settings: AuthSettings) -> Iterator[str]:
    """A sentence for everything that is wrong; each names its key."""
    if settings.secret and len(settings.secret) < SECRET_CHARACTERS_MIN:
        yield f"auth.secret: is too short; wants at least {SECRET_CHARACTERS_MIN} characters"
    if settings.jwks_file and settings.jwks_url:
        yield "auth.jwks_url: cannot go with auth.jwks_file"
    unknown = [name for name in settings.algorithms if name not in PUBLIC_ALGORITHMS]
    if unknown:
        yield f"auth.algorithms: {', '.join(unknown)} cannot be used with public keys"
    if not (settings.guests or settings.secret or settings.jwks_file or settings.jwks_url):
        yield "auth.guests: nobody could come in; set auth.secret, auth.jwks_file or auth.jwks_url"
    if settings.jwks_url:
        parts = urlsplit(settings.jwks_url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            yield "auth.jwks_url: must be https"
