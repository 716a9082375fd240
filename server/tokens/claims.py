"""Checks the claims of a verified token: times, issuer, audience and player id. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from tickwire.limits import PLAYER_CHARACTERS_MAX
from tickwire.server.errors import InvalidToken

TIME_S_MAX = 1e11
"""The largest time that is accepted, seconds since 1970: the year 5138. Larger numbers are milliseconds by mistake,
or overflow the arithmetic of floats."""
LIST_LENGTH_MAX = 64


class ClaimRules(msgspec.Struct, frozen=True):
    """The claims that tokens of one issuer must have.

    Args:
        issuers: the accepted values of `iss`; any if empty.
        audiences: the accepted values of `aud`, of which the token must have at least one; any if empty.
        leeway_s: the largest difference of clocks that is accepted.
    """

    issuers: Collection[str] = ()
    audiences: Collection[str] = ()
    leeway_s: float = 0.0


class TokenTimes(msgspec.Struct, frozen=True):
    """When a token was issued and when it expires: UTC, seconds since 1970. `issued_at_s` is 0 if it does not say."""

    issued_at_s: float
    expires_at_s: float


def check_claims(claims: Mapping[str, Any], rules: ClaimRules, now_s: float) -> TokenTimes:
    """Check the times (RFC 7519, sections 4.1.4 to 4.1.6), the issuer and the audience of a token.

    Raises:
        InvalidToken: a claim is missing, malformed or not accepted.
    """
    times = _check_times(claims, rules.leeway_s, now_s)
    issuer = claims.get("iss")
    if rules.issuers and not (isinstance(issuer, str) and issuer in rules.issuers):
        raise InvalidToken("the token is invalid: it has another issuer", reason="issuer")
    if rules.audiences and not any(audience in rules.audiences for audience in read_audiences(claims)):
        raise InvalidToken("the token is invalid: it is for another audience", reason="audience")
    return times


def read_audiences(claims: Mapping[str, Any]) -> list[str]:
    """Return the values of `aud`, which may be a string or a list (RFC 7519, section 4.1.3); empty without one.

    Raises:
        InvalidToken: it is malformed.
    """
    audience = claims.get("aud", [])
    audiences = [audience] if isinstance(audience, str) else audience
    is_list = isinstance(audiences, list) and len(audiences) <= LIST_LENGTH_MAX
    if not is_list or not all(isinstance(each, str) for each in audiences):
        raise InvalidToken("the token is invalid: aud must be a string or a list of strings", reason="claims")
    return list(audiences)


def read_text(claims: Mapping[str, Any], name: str, *, what: str, characters_max: int = PLAYER_CHARACTERS_MAX) -> str:
    """Return a claim that is a printable string of limited length.

    Args:
        claims: the claims of the token.
        name: the claim.
        what: the meaning of the claim, for the error.
        characters_max: the limit.

    Raises:
        InvalidToken: the claim is missing or malformed.
    """
    if name not in claims:
        raise InvalidToken(f"the token is invalid: it has no claim {name}", reason="claims")
    value = claims[name]
    if not isinstance(value, str) or not 0 < len(value) <= characters_max:
        raise InvalidToken(
            f"{what} in the token must be a string of 1 to {characters_max} characters", reason="claims"
        )
    if not value.isprintable():
        raise InvalidToken(f"{what} in the token must be printable", reason="claims")
    return value


def _check_times(claims: Mapping[str, Any], leeway_s: float, now_s: float) -> TokenTimes:
    if "exp" not in claims:
        raise InvalidToken("the token is invalid: it has no claim exp", reason="claims")
    expires_at_s = read_time_s(claims, "exp")
    not_before_s = read_time_s(claims, "nbf")
    issued_at_s = read_time_s(claims, "iat")
    if now_s >= expires_at_s + leeway_s:
        raise InvalidToken("the token has expired", reason="expired")
    if now_s < not_before_s - leeway_s:
        raise InvalidToken("the token is not valid yet", reason="not_yet_valid")
    return TokenTimes(issued_at_s, expires_at_s)


def read_time_s(claims: Mapping[str, Any], name: str) -> float:
    """Return a claim that is a time, seconds since 1970; 0 without one.

    Raises:
        InvalidToken: it is not a number, or out of range.
    """
    value = claims.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= TIME_S_MAX:
        raise InvalidToken(
            f"the token is invalid: {name} must be a number of seconds from 0 to {TIME_S_MAX:g}", reason="claims"
        )
    return float(value)
