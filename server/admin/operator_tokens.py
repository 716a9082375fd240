"""Verifies the tokens of operators from an OpenID Connect issuer: by discovery, and by the keys that it publishes.

Any signed token of the issuer for `operations.oidc_audience` is accepted: an ID token, or an access token in the form
of a JWT. A claim has the role, or a list of roles; values that are not roles are ignored, so groups can be used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tickwire.schemas.payloads import decode_json
from tickwire.server.admin.roles import ROLES, Operator
from tickwire.server.errors import Forbidden, InvalidToken
from tickwire.server.operator_settings import NAME_CHARACTERS_MAX, OperatorOidc
from tickwire.server.tokens.claims import ClaimRules, check_claims, read_text
from tickwire.server.tokens.fetch import fetch, is_secure
from tickwire.server.tokens.jwks import JwksCache
from tickwire.server.tokens.jws import read_header, verify_signature

ALGORITHMS = frozenset(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"))
DISCOVERY = "/.well-known/openid-configuration"
FETCH_S_MAX = 3.0
KEYS_REFRESH_S = 300.0
LEEWAY_S = 10.0


class _Discovery(msgspec.Struct):
    issuer: str
    jwks_uri: str


class OperatorTokens:
    """Verifies the tokens of one issuer.

    Args:
        settings: the issuer and its claims.
        now_s: the clock: UTC, seconds since 1970.
    """

    def __init__(self, settings: OperatorOidc, now_s: Callable[[], float]) -> None:
        self._settings = settings
        self._now_s = now_s
        self._rules = ClaimRules(issuers=(settings.issuer,), audiences=(settings.audience,), leeway_s=LEEWAY_S)
        self._keys = JwksCache(self._read_keys, refresh_s=KEYS_REFRESH_S, now_s=now_s)

    async def verify(self, token: str) -> Operator:
        """Return the operator that a token names.

        Raises:
            InvalidToken: the token is invalid.
            Forbidden: the token has no role.
            Unavailable: the keys of the issuer cannot be read.
        """
        header = read_header(token)
        if header.algorithm not in ALGORITHMS:
            raise InvalidToken("the token is signed with an algorithm that is not accepted", reason="algorithm")
        key = await self._keys.find(header.key_id, header.algorithm)
        claims = verify_signature(token, key, header.algorithm)
        check_claims(claims, self._rules, self._now_s())
        name = read_text(
            claims, self._settings.name_claim, what="the operator's name", characters_max=NAME_CHARACTERS_MAX * 4
        )
        return self._operator(name, claims)

    def _operator(self, name: str, claims: Mapping[str, Any]) -> Operator:
        value = claims.get(self._settings.role_claim)
        values = value if isinstance(value, list) else [value]
        for role in reversed(ROLES):
            if role in values:
                return Operator(name, role)
        raise Forbidden(
            f"the token of {name} has none of the roles {', '.join(ROLES)} in {self._settings.role_claim}"
        )

    async def _read_keys(self) -> bytes:
        """Return the keys of the issuer, found by its discovery document.

        Raises:
            ValueError: the document is not that of the issuer; and the errors of `fetch`.
        """
        issuer = self._settings.issuer
        found = decode_json(await fetch(issuer.rstrip("/") + DISCOVERY, FETCH_S_MAX), _Discovery)
        if found.issuer != issuer:
            raise ValueError(f"the discovery document is of another issuer: {found.issuer!r}")
        if not is_secure(found.jwks_uri):
            raise ValueError(f"jwks_uri must start with https://: {found.jwks_uri!r}")
        return await fetch(found.jwks_uri, FETCH_S_MAX)
