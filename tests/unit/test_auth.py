"""Tokens that are good, and all the ways in which one is not; keys that change, and cannot be read."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tickwire.server.edge.auth.authenticator import Authenticator, create_authenticator, issue_token
from tickwire.server.edge.auth.settings import AuthSettings, contradictions
from tickwire.server.errors import ConfigError, Unauthorized, Unavailable
from tickwire.server.tokens.fetch import DOCUMENT_BYTES_MAX, REDIRECTS_MAX, resolve_redirect
from tickwire.server.tokens.jwks import REREAD_S_MIN, JwksCache

SECRET = "a secret of at least thirty-two characters"
NOW_S = 1_000_000.0
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
PRIVATE: dict[str, Any] = {"RS256": RSA, "ES256": EC, "EdDSA": ED}
CLAIMS: dict[str, Any] = {"sub": "alice", "exp": NOW_S + 60}


def jwk(algorithm: str, key: Any, kid: str) -> dict[str, Any]:
    made = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
    return {**made, "kid": kid, "alg": algorithm, "use": "sig"}


JWKS = {"keys": [jwk(name, key, name) for name, key in PRIVATE.items()]}


def authenticator(now_s: float = NOW_S, **changes: Any) -> Authenticator:
    return create_authenticator(AuthSettings(**{"guests": False, "secret": SECRET, **changes}), lambda: now_s)


def signed(**changes: Any) -> str:
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}
    return jwt.encode(claims, SECRET, algorithm="HS256")


async def test_valid_token_identifies_its_player() -> None:
    identity = await authenticator().authenticate(signed())
    assert (identity.player_id, identity.is_guest) == ("alice", False)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_public_key_is_found_by_its_id(algorithm: str, tmp_path: Path) -> None:
    (tmp_path / "jwks").write_text(json.dumps(JWKS))
    ours = authenticator(secret="", jwks_file=str(tmp_path / "jwks"))
    token = jwt.encode(CLAIMS, PRIVATE[algorithm], algorithm=algorithm, headers={"kid": algorithm})
    assert (await ours.authenticate(token)).player_id == "alice"
    with pytest.raises(Unauthorized, match="unknown key"):
        await ours.authenticate(jwt.encode(CLAIMS, PRIVATE[algorithm], algorithm=algorithm, headers={"kid": "x"}))


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (signed(exp=NOW_S - 11), "expired"),
        (signed(exp=None), "exp"),
        (signed(exp=True), "must be a number"),
        (signed(nbf=NOW_S + 11), "not valid yet"),
        (signed(sub=None), "sub"),
        (signed(sub=""), "must be a string"),
        (signed(sub="a" * 129), "must be a string"),
        (signed(sub="guest-alice"), "not start with"),
        (signed(sub="a\nb"), "must be printable"),
        (signed()[:-4] + "AAAA", "invalid"),
        (jwt.encode(CLAIMS, SECRET + "x", algorithm="HS256"), "invalid"),
        (jwt.encode(CLAIMS, SECRET * 2, algorithm="HS512"), "does not accept"),
        (jwt.encode(CLAIMS, "", algorithm="none"), "does not accept"),
        ("rubbish", "not a JSON Web Token"),
        ("a" * 5000, "more than"),
        ("", "required"),
    ],
)
async def test_invalid_token_is_unauthorized_and_not_in_the_error(token: str, why: str) -> None:
    with pytest.raises(Unauthorized, match=why) as refused:
        await authenticator().authenticate(token)
    assert not token or token not in str(refused.value)


async def test_clocks_may_differ_by_the_leeway() -> None:
    assert await authenticator().authenticate(signed(exp=NOW_S - 9, nbf=NOW_S + 9))


async def test_token_expires_exactly_without_leeway() -> None:
    strict = authenticator(leeway_s=0.0)
    assert await strict.authenticate(signed(exp=NOW_S + 1, nbf=NOW_S - 1))
    for late in ({"exp": NOW_S - 1}, {"exp": NOW_S + 60, "nbf": NOW_S + 1}):
        with pytest.raises(Unauthorized):
            await strict.authenticate(signed(**late))


async def test_audience_and_issuer_must_match_the_settings() -> None:
    ours = authenticator(audience="game", issuer="login")
    assert await ours.authenticate(signed(aud="game", iss="login"))
    for wrong in ({}, {"aud": "game"}, {"aud": "other", "iss": "login"}, {"aud": "game", "iss": "other"}):
        with pytest.raises(Unauthorized):
            await ours.authenticate(signed(**wrong))


async def test_public_key_is_never_used_as_a_secret(tmp_path: Path) -> None:
    (tmp_path / "jwks").write_text(json.dumps(JWKS))
    pem = RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    body = signed().split(".")[1]
    header = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": "RS256"}).encode()).rstrip(b"=").decode()
    mac = hmac.new(pem, f"{header}.{body}".encode(), hashlib.sha256).digest()
    forged = f"{header}.{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    for secret in ("", SECRET):
        with pytest.raises(Unauthorized):
            await authenticator(secret=secret, jwks_file=str(tmp_path / "jwks")).authenticate(forged)
    crossed = jwt.encode(CLAIMS, EC, algorithm="ES256", headers={"kid": "RS256"})
    with pytest.raises(Unauthorized, match="another algorithm"):
        await authenticator(secret="", jwks_file=str(tmp_path / "jwks")).authenticate(crossed)


async def test_guests_need_no_token_and_get_distinct_ids() -> None:
    ours = authenticator(guests=True)
    first, second = await ours.authenticate(""), await ours.authenticate("")
    assert first.is_guest
    assert first.player_id != second.player_id
    only_guests = authenticator(guests=True, secret="")
    with pytest.raises(Unauthorized, match="accepts no tokens"):
        await only_guests.authenticate(signed())


class Source:
    """A JWKS that changes, fails, and counts how often it is read."""

    def __init__(self) -> None:
        self.answer: dict[str, Any] | OSError = {"keys": [jwk("RS256", RSA, "one")]}
        self.reads = 0
        self.now_s = 0.0

    async def read(self) -> bytes:
        self.reads += 1
        await asyncio.sleep(0)
        if isinstance(self.answer, OSError):
            raise self.answer
        return json.dumps(self.answer).encode()


async def test_keys_are_cached_refreshed_and_kept_when_reading_fails() -> None:
    source = Source()
    keys = JwksCache(source.read, refresh_s=300, now_s=lambda: source.now_s)
    await asyncio.gather(*(keys.find("one", "RS256") for _ in range(10)))
    assert source.reads == 1, "one reading at a time, for all who wait"
    for _ in range(5):
        with pytest.raises(Unauthorized):
            await keys.find("made up", "RS256")
    assert source.reads == 1, "made up key ids cause no flood"
    source.now_s = REREAD_S_MIN + 1
    source.answer = {"keys": [jwk("RS256", RSA, "one"), jwk("RS256", OTHER_RSA, "two")]}
    await keys.find("two", "RS256")
    assert source.reads == 2, "a new key is found at once"
    source.now_s += 301
    source.answer = OSError("gone")
    await keys.find("one", "RS256")
    for _ in range(5):
        await asyncio.sleep(0)  # until the reading has ended
    assert source.reads == 3, "old keys are read again, and the check does not wait"
    source.now_s += 301
    source.answer = {"keys": [jwk("RS256", OTHER_RSA, "two")]}
    with pytest.raises(Unauthorized):
        await keys.find("one", "RS256")
    assert source.reads == 4, "keys of twice the age are not used without a reading"


async def test_keys_are_read_although_the_first_caller_is_cancelled() -> None:
    source = Source()
    keys = JwksCache(source.read, refresh_s=300, now_s=lambda: source.now_s)
    leaving = asyncio.create_task(keys.find("one", "RS256"))
    await asyncio.sleep(0)
    assert leaving.cancel()
    await keys.find("one", "RS256")
    assert leaving.cancelled()
    assert source.reads == 1


async def test_missing_keys_are_unavailable_and_retryable() -> None:
    source = Source()
    source.answer = OSError("not there")
    with pytest.raises(Unavailable) as refused:
        await JwksCache(source.read, refresh_s=300, now_s=lambda: 0.0).find("one", "RS256")
    assert refused.value.retryable


@asynccontextmanager
async def serving(body: bytes, delay_s: float = 0.0) -> AsyncIterator[str]:
    async def handle(request: web.Request) -> web.Response:
        await asyncio.sleep(delay_s)
        return web.Response(body=body)

    app = web.Application()
    app.router.add_get("/jwks", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/jwks"
    finally:
        await runner.cleanup()


async def test_keys_are_read_from_a_url() -> None:
    token = jwt.encode(CLAIMS, ED, algorithm="EdDSA", headers={"kid": "EdDSA"})
    async with serving(json.dumps(JWKS).encode()) as url:
        assert await authenticator(secret="", jwks_url=url).authenticate(token)


@pytest.mark.parametrize(
    ("where", "location", "target"),
    [
        ("https://id.example/jwks", "https://keys.example/1", "https://keys.example/1"),
        ("https://id.example/a/jwks", "/b", "https://id.example/b"),
        ("https://id.example/a/jwks", "//keys.example/b", "https://keys.example/b"),
        ("http://id.example/jwks", "https://id.example/jwks", "https://id.example/jwks"),
        ("http://id.example/jwks", "http://keys.example/", "http://keys.example/"),
    ],
)
def test_redirect_of_the_keys_is_followed(where: str, location: str, target: str) -> None:
    assert resolve_redirect(where, location) == target


@pytest.mark.parametrize(
    ("where", "location"),
    [
        ("https://id.example/jwks", "http://id.example/jwks"),
        ("https://id.example/jwks", "HTTP://keys.example/"),
        ("https://id.example/jwks", "file:///etc/passwd"),
        ("https://id.example/jwks", "ftp://id.example/"),
        ("http://id.example/jwks", ""),
        ("http://id.example/jwks", "http://id.example/jwks"),
    ],
)
def test_redirect_of_the_keys_never_leaves_https(where: str, location: str) -> None:
    with pytest.raises(ValueError, match="redirects"):
        resolve_redirect(where, location)


@pytest.mark.parametrize(("hops", "is_found"), [(REDIRECTS_MAX, True), (REDIRECTS_MAX + 1, False)])
async def test_redirects_of_the_keys_are_followed_up_to_a_limit(hops: int, is_found: bool) -> None:
    async def handle(request: web.Request) -> web.Response:
        left = int(request.match_info["left"])
        if left:
            raise web.HTTPFound(f"/{left - 1}")
        return web.Response(body=json.dumps(JWKS).encode())

    app = web.Application()
    app.router.add_get("/{left}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    token = jwt.encode(CLAIMS, ED, algorithm="EdDSA", headers={"kid": "EdDSA"})
    try:
        authenticate = authenticator(
            secret="", jwks_url=f"http://127.0.0.1:{runner.addresses[0][1]}/{hops}"
        ).authenticate(token)
        if is_found:
            assert (await authenticate).player_id
        else:
            with pytest.raises(Unavailable):
                await authenticate
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("body", "delay_s"),
    [(b"{", 0.0), (b"[]", 0.0), (b'{"keys": 1}', 0.0), (b" " * (DOCUMENT_BYTES_MAX + 1), 0.0), (b"{}", 30.0)],
    ids=["no JSON", "no map", "no keys", "too long", "too slow"],
)
async def test_url_without_keys_is_unavailable(body: bytes, delay_s: float) -> None:
    token = jwt.encode(CLAIMS, ED, algorithm="EdDSA", headers={"kid": "EdDSA"})
    async with serving(body, delay_s) as url:
        with pytest.raises(Unavailable):
            await authenticator(secret="", jwks_url=url, jwks_deadline_s=0.2).authenticate(token)


async def test_issued_token_is_valid_until_it_expires() -> None:
    settings = AuthSettings(secret=SECRET, audience="game", issuer="us", guests=False)
    token = issue_token(settings, "alice", ttl_s=60, now_s=time.time())
    assert (await create_authenticator(settings, time.time).authenticate(token)).player_id == "alice"
    with pytest.raises(Unauthorized, match="expired"):
        await create_authenticator(settings, lambda: time.time() + 80).authenticate(token)
    with pytest.raises(ConfigError, match=r"auth\.secret"):
        issue_token(AuthSettings(), "alice", ttl_s=60, now_s=0)


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        ({}, []),
        ({"jwks_file": "a", "jwks_url": "https://b"}, ["auth.jwks_url"]),
        ({"jwks_url": "http://elsewhere/keys"}, ["auth.jwks_url"]),
        ({"jwks_url": "http://127.0.0.1:1/keys"}, []),
        ({"algorithms": ["none"]}, ["auth.algorithms"]),
        ({"algorithms": ["HS256", "RS256"]}, ["auth.algorithms"]),
        ({"algorithms": []}, ["auth.algorithms"]),
        ({"jwks_deadline_s": 9.0, "jwks_refresh_s": 9.0}, ["auth.jwks_deadline_s"]),
        ({"guests": False}, ["auth.guests"]),
    ],
)
def test_invalid_settings_are_named(changes: dict[str, Any], keys: list[str]) -> None:
    assert [named[0] for named, _ in contradictions(AuthSettings(**changes))] == keys


def test_repr_hides_the_secret() -> None:
    assert SECRET not in repr(AuthSettings(secret=SECRET))
