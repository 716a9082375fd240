"""OpenID Connect: verifies ID tokens of one issuer, which is found by discovery.

    discovery   the issuer's /.well-known/openid-configuration, whose `issuer` must be exactly the configured one
    keys        its `jwks_uri`, https if the issuer is; cached, and read again for an unknown key id
    token       OpenID Connect Core 1.0, section 3.1.3.7: signature, iss, aud, azp, exp, iat, nonce

Only the issuers of the settings are contacted, never an address that a token names.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec

from tickwire.server.errors import InvalidToken
from tickwire.server.tokens.claims import ClaimRules, TokenTimes, check_claims, read_audiences, read_text
from tickwire.server.tokens.fetch import fetch, is_secure
from tickwire.server.tokens.jwks import JwksCache
from tickwire.server.tokens.jws import PUBLIC_KEY_ALGORITHMS, read_header, verify_signature
from tickwire.server.tokens.strict_json import decode_object
from tickwire.services.accounts.providers.port import Credential, ProviderIdentity

DISCOVERY_PATH = "/.well-known/openid-configuration"
KEYS_REFRESH_S = 3600.0
LEEWAY_S = 60.0
SUBJECT_CHARACTERS_MAX = 255
"""OpenID Connect Core 1.0, section 2: `sub` has at most 255 characters."""

Fetch = Callable[[str, float], Awaitable[bytes]]


class OidcRules(msgspec.Struct, frozen=True):
    """The rules for ID tokens of an issuer.

    Args:
        provider: the provider of its identities, such as "oidc-NAME".
        issuer: the exact `iss`, and the address of the discovery.
        clients: the accepted client ids.
        age_s: the largest age of a token, seconds.
        deadline_s: the limit for one call to the issuer.
        needs_nonce: whether the token must have a nonce.
        hashes_nonce: whether the token's nonce is the SHA-256 of the client's, in hexadecimal digits.
    """

    provider: str
    issuer: str
    clients: tuple[str, ...]
    age_s: float = 600.0
    deadline_s: float = 5.0
    needs_nonce: bool = False
    hashes_nonce: bool = False


class OidcProvider:
    """Implements `IdentityProvider` for one issuer.

    Args:
        rules: the rules for its ID tokens.
        now_s: the clock: UTC, seconds since 1970.
        fetch: returns the document at a URL.
    """

    def __init__(self, rules: OidcRules, now_s: Callable[[], float], fetch: Fetch = fetch) -> None:
        self._rules = rules
        self._now_s = now_s
        self._fetch = fetch
        self._keys = JwksCache(self._read_keys, refresh_s=KEYS_REFRESH_S, now_s=now_s)

    async def verify(self, credential: Credential) -> ProviderIdentity:
        """See `IdentityProvider.verify`."""
        header = read_header(credential.token)
        if header.algorithm not in PUBLIC_KEY_ALGORITHMS:
            raise InvalidToken(
                "the ID token is signed with an algorithm that this server does not accept", reason="algorithm"
            )
        key = await self._keys.find(header.key_id, header.algorithm)
        claims = verify_signature(credential.token, key, header.algorithm)
        check_id_token(claims, self._rules, credential.nonce, self._now_s())
        subject = read_text(claims, "sub", what="the subject", characters_max=SUBJECT_CHARACTERS_MAX)
        return ProviderIdentity(self._rules.provider, subject)

    async def _read_keys(self) -> bytes:
        rules = self._rules
        document = await self._fetch(rules.issuer.rstrip("/") + DISCOVERY_PATH, rules.deadline_s)
        return await self._fetch(find_jwks_uri(document, rules.issuer), rules.deadline_s)


def find_jwks_uri(document: bytes, issuer: str) -> str:
    """Return the address of the keys, from the document of the discovery.

    Raises:
        ValueError: the document is of another issuer, or its keys are not at a safe address.
    """
    metadata = decode_object(document)
    if metadata.get("issuer") != issuer:
        raise ValueError(f"the document at {issuer} names another issuer")
    jwks_uri = metadata.get("jwks_uri")
    if not isinstance(jwks_uri, str) or not is_secure(jwks_uri):
        raise ValueError(f"the jwks_uri of {issuer} is missing, or not https")
    if urlsplit(issuer).scheme == "https" and urlsplit(jwks_uri).scheme != "https":
        raise ValueError(f"the jwks_uri of {issuer} is not https")
    return jwks_uri


def check_id_token(claims: dict[str, Any], rules: OidcRules, nonce: str, now_s: float) -> TokenTimes:
    """Check the claims of an ID token.

    Raises:
        InvalidToken: a claim is missing, malformed or not accepted.
    """
    times = check_claims(claims, ClaimRules((rules.issuer,), rules.clients, leeway_s=LEEWAY_S), now_s)
    if "iat" not in claims:
        raise InvalidToken("the ID token is invalid: it has no claim iat", reason="claims")
    if now_s - times.issued_at_s > rules.age_s + LEEWAY_S:
        raise InvalidToken("the ID token is too old; sign in again", reason="expired")
    if times.issued_at_s > now_s + LEEWAY_S:
        raise InvalidToken("the ID token is not valid yet", reason="not_yet_valid")
    _check_audience(claims, rules.clients)
    _check_nonce(claims, rules, nonce)
    return times


def _check_audience(claims: dict[str, Any], clients: tuple[str, ...]) -> None:
    audiences, party = read_audiences(claims), claims.get("azp")
    if not all(audience in clients for audience in audiences):
        raise InvalidToken("the ID token is invalid: it is also for another audience", reason="audience")
    if (len(audiences) > 1 or party is not None) and party not in clients:
        raise InvalidToken("the ID token is invalid: azp is missing, or not one of the clients", reason="audience")


def _check_nonce(claims: dict[str, Any], rules: OidcRules, nonce: str) -> None:
    expected = hashlib.sha256(nonce.encode()).hexdigest() if nonce and rules.hashes_nonce else nonce
    found = claims.get("nonce", "")
    if not isinstance(found, str):
        raise InvalidToken("the ID token is invalid: its nonce is not a string", reason="claims")
    if rules.needs_nonce and not (expected and found):
        raise InvalidToken("the ID token and the request must have a nonce", reason="nonce")
    if expected and not hmac.compare_digest(expected.encode(), found.encode(errors="surrogatepass")):
        raise InvalidToken("the ID token has another nonce than the request", reason="nonce")
