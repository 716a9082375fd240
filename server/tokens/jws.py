"""Reads and verifies signed JSON Web Tokens (RFC 7515, with PyJWT), stricter than the RFCs require.

    duplicate names   refused in the header and in the claims, because parsers differ in the one that they use
    NaN, Infinity     refused: they are not JSON, and compare as neither expired nor valid
    crit              refused: no extension is implemented
    jku, x5u, jwk     ignored: a token never selects the source of its key

The caller decides which key and algorithm a token is verified with, never the token.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

import jwt
import msgspec

from tickwire.server.errors import InvalidToken
from tickwire.server.tokens.strict_json import decode_object

TOKEN_CHARACTERS_MAX = 4096
KEY_ID_CHARACTERS_MAX = 256
PUBLIC_KEY_ALGORITHMS = frozenset(
    ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
)
"""The algorithms (RFC 7518, RFC 8037) whose key is public. None of them may be used with a shared secret."""
NOT_A_TOKEN: Final = "the token is not a JSON Web Token"  # noqa: S105 - a message
_JWS = jwt.PyJWS()


class TokenHeader(msgspec.Struct, frozen=True):
    """The header of a token that is not verified yet.

    Args:
        algorithm: its `alg`.
        key_id: its `kid`; None if it has none.
        names: the names of all its parameters.
    """

    algorithm: str
    key_id: str | None
    names: frozenset[str]


def read_header(token: str) -> TokenHeader:
    """Return the header of a token.

    Raises:
        InvalidToken: the token is too long, malformed, or uses an extension.
    """
    if len(token) > TOKEN_CHARACTERS_MAX:
        raise InvalidToken(f"the token has more than {TOKEN_CHARACTERS_MAX} characters", reason="too_long")
    # Non-ASCII bytes of an HTTP header arrive as surrogates, which PyJWT cannot encode.
    if not token.isascii():
        raise InvalidToken(NOT_A_TOKEN, reason="malformed")
    header = _read_segment(token, 0)
    algorithm, key_id = header.get("alg"), header.get("kid")
    if "crit" in header or header.get("b64", True) is not True:
        raise InvalidToken("the token requires an extension that this server does not have", reason="extension")
    if not isinstance(algorithm, str):
        raise InvalidToken(NOT_A_TOKEN, reason="malformed")
    if key_id is not None and not (isinstance(key_id, str) and len(key_id) <= KEY_ID_CHARACTERS_MAX):
        raise InvalidToken(
            f"the key id of the token must be a string of at most {KEY_ID_CHARACTERS_MAX} characters",
            reason="unknown_key",
        )
    return TokenHeader(algorithm, key_id, frozenset(header))


def read_unverified_issuer(token: str) -> str:
    """Return the `iss` of a token that is not verified yet, to select its verifier; empty without one.

    Raises:
        InvalidToken: the token is malformed.
    """
    issuer = _read_segment(token, 1).get("iss")
    return issuer if isinstance(issuer, str) else ""


def verify_signature(token: str, key: Any, algorithm: str) -> dict[str, Any]:
    """Verify the signature of a token, and return its claims, which are not checked yet.

    Args:
        token: the token; `read_header` has accepted it.
        key: the key.
        algorithm: the only algorithm that the key is used with.

    Raises:
        InvalidToken: the signature is wrong, or the claims are malformed.
    """
    try:
        payload: bytes = _JWS.decode_complete(token, key, algorithms=[algorithm])["payload"]
    except RecursionError as error:
        raise InvalidToken(NOT_A_TOKEN, reason="malformed") from error
    except jwt.PyJWTError as error:
        raise InvalidToken(f"the token is invalid: {error}", reason="signature") from error
    return _read_object(payload, "claims")


def _read_segment(token: str, index: int) -> dict[str, Any]:
    segments = token.split(".")
    if len(segments) != 3:
        raise InvalidToken(NOT_A_TOKEN, reason="malformed")
    segment = segments[index].rstrip("=")
    try:
        data = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except (binascii.Error, ValueError) as error:
        raise InvalidToken(NOT_A_TOKEN, reason="malformed") from error
    return _read_object(data, "header" if index == 0 else "claims")


def _read_object(data: bytes, name: str) -> dict[str, Any]:
    try:
        return decode_object(data)
    except ValueError as error:
        raise InvalidToken(f"{NOT_A_TOKEN}: its {name}: {error}", reason="malformed") from error
