"""Hostile tokens at a shard, of both kinds of issuers, and at the player API: each is refused and counted."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given
from hypothesis import strategies as st

from tickwire.server.edge.auth.authenticator import AccountAuthentication, create_authenticator
from tickwire.server.edge.auth.settings import AuthSettings
from tickwire.server.errors import InvalidToken
from tickwire.server.tokens.access_tokens import AccessToken, AccessTokenDecoder, sign_access_token
from tickwire.server.tokens.jwks import JwksCache
from tickwire.services.accounts.access_token_check import AccessTokenCheck
from tickwire.services.accounts.bearer import AUTHENTICATED, BearerMiddleware

NOW_S = 1_700_000_000.0
KEY = ed25519.Ed25519PrivateKey.generate()
STRANGER = ed25519.Ed25519PrivateKey.generate()
KEY_ID = "key-1"
HEADER: dict[str, Any] = {"alg": "EdDSA", "kid": KEY_ID, "typ": "JWT"}
CLAIMS: dict[str, Any] = {
    "iss": "tickwire",
    "aud": "tickwire",
    "sub": "p-ann",
    "fam": "f-1",
    "iat": NOW_S - 1,
    "exp": NOW_S + 60,
}
JWK = {
    **jwt.get_algorithm_by_name("EdDSA").to_jwk(KEY.public_key(), as_dict=True),
    "kid": KEY_ID,
    "alg": "EdDSA",
    "use": "sig",
}
JWKS = json.dumps({"keys": [JWK]})
PEM = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
RAW = KEY.public_key().public_bytes_raw()


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(
    header: dict[str, Any] | bytes | None = None,
    claims: dict[str, Any] | bytes | None = None,
    sign: Callable[[bytes], bytes] = KEY.sign,
) -> str:
    """Return a token of any bytes, signed; a dictionary changes the good one, and None removes a name."""
    parts = []
    for good, part in ((HEADER, header), (CLAIMS, claims)):
        if not isinstance(part, bytes):
            merged = {name: value for name, value in {**good, **(part or {})}.items() if value is not None}
            part = json.dumps(merged).encode()
        parts.append(encoded(part))
    signed = ".".join(parts)
    return f"{signed}.{encoded(sign(signed.encode()))}"


def hs256(secret: bytes) -> Callable[[bytes], bytes]:
    return lambda data: hmac.new(secret, data, hashlib.sha256).digest()


def claims_text(extra: str) -> bytes:
    """Return claims with more JSON at their end."""
    return (json.dumps(CLAIMS)[:-1] + f", {extra}}}").encode()


def with_exp(text: str) -> bytes:
    """Return claims with an `exp` that may be no JSON."""
    return json.dumps(CLAIMS).replace(str(CLAIMS["exp"]), text).encode()


def stranger(**header: Any) -> str:
    """Return a token that a stranger has signed, with more parameters in its header."""
    return token(header, sign=STRANGER.sign)


THEIR_JWK = jwt.get_algorithm_by_name("EdDSA").to_jwk(STRANGER.public_key(), as_dict=True)
GOOD, OTHER = token().split("."), token(None, {"sub": "p-bob"}).split(".")
DEEP = "[" * 900 + "]" * 900
HOSTILE: dict[str, tuple[str, set[str]]] = {
    "alg none": (token({"alg": "none"}, sign=lambda data: b""), {"algorithm"}),
    "alg None": (token({"alg": "None"}, sign=lambda data: b""), {"algorithm"}),
    "no alg": (token({"alg": None}), {"malformed"}),
    "alg is a list": (token({"alg": ["EdDSA"]}), {"malformed"}),
    "HS256 with the public key as PEM": (token({"alg": "HS256"}, sign=hs256(PEM)), {"algorithm"}),
    "HS256 with the public key as bytes": (token({"alg": "HS256"}, sign=hs256(RAW)), {"algorithm"}),
    "HS256 with the key set": (token({"alg": "HS256"}, sign=hs256(JWKS.encode())), {"algorithm"}),
    "another algorithm for the key": (token({"alg": "ES256"}), {"algorithm"}),
    "signed by a stranger": (token(sign=STRANGER.sign), {"signature"}),
    "empty signature": (token(sign=lambda data: b""), {"signature"}),
    "signature of zeros": (token(sign=lambda data: bytes(64)), {"signature"}),
    "claims of another token": (".".join([*GOOD[:1], *OTHER[1:2], GOOD[2]]), {"signature"}),
    "kid is a path": (token({"kid": "../../../../dev/null"}), {"unknown_key"}),
    "kid is SQL": (token({"kid": "x' UNION SELECT 'key'; --"}), {"unknown_key"}),
    "kid is an operator of MongoDB": (token({"kid": {"$gt": ""}}), {"unknown_key"}),
    "kid is a number": (token({"kid": 1}), {"unknown_key"}),
    "kid is a list": (token({"kid": [KEY_ID]}), {"unknown_key"}),
    "kid is very long": (token({"kid": "k" * 2000}), {"unknown_key"}),
    "kid has a NUL": (token({"kid": KEY_ID + "\x00"}), {"unknown_key"}),
    "kid is not ASCII": (token({"kid": "ключ"}), {"unknown_key"}),
    "jku of a stranger": (stranger(jku="http://127.0.0.1:1/jwks", kid="theirs"), {"header", "unknown_key"}),
    "x5u of a stranger": (stranger(x5u="http://127.0.0.1:1/cert"), {"header", "signature"}),
    "jwk of a stranger": (stranger(jwk=THEIR_JWK), {"header", "signature"}),
    "crit": (token({"crit": ["exp"]}), {"extension"}),
    "crit that is empty": (token({"crit": []}), {"extension"}),
    "unencoded payload": (token({"b64": False}), {"extension"}),
    "duplicate alg": (token(b'{"alg":"EdDSA","alg":"none","kid":"key-1"}'), {"malformed"}),
    "duplicate sub": (token(None, claims_text('"sub": "p-bob"')), {"malformed"}),
    "duplicate exp": (token(None, claims_text('"exp": 99999999999')), {"malformed"}),
    "header is a list": (token(b'["EdDSA"]'), {"malformed"}),
    "header is nested deeply": (token(b'{"alg":' + DEEP.encode() + b"}"), {"malformed"}),
    "header is not JSON": (token(b"\xff\xfe"), {"malformed"}),
    "header has a lone surrogate": (token(b'{"alg":"EdDSA","kid":"\\ud800"}'), {"unknown_key"}),
    "claims are a list": (token(None, b"[]"), {"malformed"}),
    "claims are a number": (token(None, b"1"), {"malformed"}),
    "claims are not UTF-8": (token(None, b'{"sub":"\xff"}'), {"malformed"}),
    "two segments": (".".join(token().split(".")[:2]), {"malformed"}),
    "four segments": (token() + ".AAAA", {"malformed"}),
    "five segments": (token() + ".AAAA.AAAA", {"malformed"}),
    "no segments": ("x", {"malformed"}),
    "dots": ("..", {"malformed"}),
    "blanks": (" " + token(), {"malformed"}),
    "not ASCII": (token() + "é", {"malformed"}),
    "surrogates": (token() + "\udcff", {"malformed"}),
    "huge": ("A" * 5_000_000, {"too_long"}),
    "a little too long": (token(None, {"x": "x" * 4096}), {"too_long"}),
    "no exp": (token(None, {"exp": None}), {"claims"}),
    "exp is a text": (token(None, {"exp": str(int(NOW_S + 60))}), {"claims"}),
    "exp is true": (token(None, {"exp": True}), {"claims"}),
    "exp is NaN": (token(None, with_exp("NaN")), {"malformed"}),
    "exp is Infinity": (token(None, with_exp("Infinity")), {"malformed"}),
    "exp is 1e999": (token(None, with_exp("1e999")), {"claims"}),
    "exp is a huge integer": (token(None, {"exp": 10**400}), {"claims"}),
    "exp in milliseconds": (token(None, {"exp": int(NOW_S * 1000)}), {"claims"}),
    "exp is negative": (token(None, {"exp": -1}), {"claims"}),
    "exp is a list": (token(None, {"exp": [NOW_S + 60]}), {"claims"}),
    "expired": (token(None, {"exp": NOW_S - 11}), {"expired"}),
    "nbf is a text": (token(None, {"nbf": "now"}), {"claims"}),
    "not valid yet": (token(None, {"nbf": NOW_S + 11}), {"not_yet_valid"}),
    "iat is an object": (token(None, {"iat": {}}), {"claims"}),
    "another audience": (token(None, {"aud": "other"}), {"audience"}),
    "no audience": (token(None, {"aud": None}), {"audience"}),
    "audience is an object": (token(None, {"aud": {"tickwire": 1}}), {"claims"}),
    "another issuer": (token(None, {"iss": "evil"}), {"issuer"}),
    "issuer in other case": (token(None, {"iss": "Tickwire"}), {"issuer"}),
    "issuer is a list": (token(None, {"iss": ["tickwire"]}), {"issuer"}),
    "no issuer": (token(None, {"iss": None}), {"issuer"}),
    "no sub": (token(None, {"sub": None}), {"claims"}),
    "sub is a number": (token(None, {"sub": 5}), {"claims"}),
    "sub is empty": (token(None, {"sub": ""}), {"claims"}),
    "sub is long": (token(None, {"sub": "a" * 129}), {"claims"}),
    "sub is not printable": (token(None, {"sub": "a\x00b"}), {"claims"}),
    "sub is a lone surrogate": (token(None, with_exp("1700000060").replace(b"p-ann", b"\\ud800")), {"claims"}),
}  # fmt: skip

Verify = Callable[[str], Awaitable[str]]


class NoRevocations:
    """Revocations of which there are none."""

    async def find(self, player_id: str, family_id: str = "") -> list[Any]:
        return []


async def read_keys() -> bytes:
    return JWKS.encode()


def decoder() -> AccessTokenDecoder:
    cache = JwksCache(read_keys, refresh_s=300, now_s=lambda: NOW_S)
    return AccessTokenDecoder(cache, issuer="tickwire", leeway_s=10.0, now_s=lambda: NOW_S)


@pytest.fixture(params=["accounts", "external", "both", "api"])
def verifier(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Verify, Counter[str]]:
    """A verifier of tokens: a shard for either issuer or for both, or the player API; and its counter of refusals."""
    if request.param == "api":
        check = AccessTokenCheck(decoder(), NoRevocations())  # type: ignore[arg-type]

        async def verify_at_api(text: str) -> str:
            return (await check.verify(text)).player_id

        return verify_at_api, check.refusals
    (tmp_path / "jwks").write_text(JWKS)
    issuer = "tickwire" if request.param == "external" else "another"
    external = AuthSettings(
        guests=False,
        jwks_file=str(tmp_path / "jwks") if request.param != "accounts" else "",
        audience="tickwire",
        issuer=issuer,
        accounts=True,
    )
    accounts = AccountAuthentication(decoder() if request.param != "external" else None)
    authenticator = create_authenticator(external, lambda: NOW_S, accounts)

    async def verify_at_shard(text: str) -> str:
        return (await authenticator.authenticate(text)).player_id

    return verify_at_shard, authenticator.refusals


async def test_good_token_is_accepted(verifier: tuple[Verify, Counter[str]]) -> None:
    verify, refusals = verifier
    assert await verify(token()) == "p-ann"
    assert await verify(token(None, {"aud": ["other", "tickwire"]})) == "p-ann"
    assert not refusals


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_token_is_refused_and_counted(name: str, verifier: tuple[Verify, Counter[str]]) -> None:
    verify, refusals = verifier
    text, reasons = HOSTILE[name]
    with structlog.testing.capture_logs() as logs, pytest.raises(InvalidToken) as refused:
        await verify(text)
    assert refused.value.reason in reasons, str(refused.value)
    assert refusals == {refused.value.reason: 1}
    assert text[:200] not in str(refused.value)
    assert str(refused.value).isprintable()
    assert not logs, "a client cannot fill the log"


@pytest.mark.parametrize("value", ["A" * 4097, "A" * 60_000, token() + "\xe9", "x.y.z"])
async def test_hostile_token_in_a_request_is_refused_and_counted(value: str) -> None:
    check = AccessTokenCheck(decoder(), NoRevocations())  # type: ignore[arg-type]
    bearer = BearerMiddleware(check)
    scope: Any = {
        "headers": [(b"authorization", f"Bearer {value}".encode("latin-1"))],
        "route_handler": SimpleNamespace(opt=AUTHENTICATED),
        "state": {},
    }

    async def never(*arguments: Any) -> None:
        pytest.fail("the handler runs")

    with pytest.raises(InvalidToken) as refused:
        await bearer.handle(scope, never, never, never)
    assert bearer.results == {"refused": 1}
    assert check.refusals == {refused.value.reason: 1}


@pytest.mark.parametrize("kid", [["a"], {"a": 1}, 5, True])
async def test_key_whose_id_is_malformed_is_not_used(kid: Any) -> None:
    """An issuer's mistake in one key neither fails a login with an internal error nor hides the other keys."""

    async def read() -> bytes:
        return json.dumps({"keys": [JWK | {"kid": kid}, JWK]}).encode()

    cache = JwksCache(read, refresh_s=300, now_s=lambda: NOW_S)
    assert await cache.find(KEY_ID, "EdDSA")
    assert await cache.find(None, "EdDSA"), "it is the only key"


async def test_token_without_a_family_is_not_an_access_token() -> None:
    with pytest.raises(InvalidToken, match="fam"):
        await decoder().decode(token(None, {"fam": None}))


async def test_deeply_nested_claims_beyond_the_limit_of_the_interpreter_are_refused() -> None:
    deep = b'{"x":' + b"[" * 1400 + b"]" * 1400 + b"}"
    with pytest.raises(InvalidToken):
        await decoder().decode(token(None, deep))


@given(data=st.data())
async def test_changed_bytes_never_pass(data: st.DataObject) -> None:
    """Any change of a good token is refused, and raises nothing else than InvalidToken."""
    good = sign_access_token(AccessToken("p-ann", "f-1", NOW_S, NOW_S + 60), "tickwire", KEY_ID, KEY)
    place = data.draw(st.integers(0, len(good) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda text: text != good[place]))
    changed = good[:place] + other + good[place + 1 :]
    with pytest.raises(InvalidToken):
        await decoder().decode(changed)


@given(st.text(max_size=300) | st.binary(max_size=200).map(lambda data: ".".join([encoded(data)] * 3)))
async def test_arbitrary_texts_raise_nothing_else(text: str) -> None:
    with pytest.raises(InvalidToken):
        await decoder().decode(text)
