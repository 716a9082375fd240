"""Providers of identities: an OpenID Connect issuer that runs in the test, Apple's rules, and Steam's Web API."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Iterator
from typing import Any

import jwt
import msgspec
import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.harness.provider_servers import CLIENT, STEAM_KEY, TICKET, sign_in, steam_server
from tickwire.server.errors import ConfigError, InvalidToken, NotFound, Unavailable
from tickwire.services.accounts.counters import AccountCounters
from tickwire.services.accounts.providers.oidc import OidcProvider, OidcRules, check_id_token, find_jwks_uri
from tickwire.services.accounts.providers.port import Credential, ProviderIdentity
from tickwire.services.accounts.providers.registry import (
    APPLE_ISSUER,
    ProviderRegistry,
    create_apple_rules,
    create_providers,
)
from tickwire.services.accounts.providers.settings import ProviderSettings, provider_contradictions
from tickwire.services.accounts.providers.steam import SteamProvider

NOW_S = 1_700_000_000.0


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """The URL of a provider that implements the authorization-code flow."""
    import oidc_provider_mock

    with oidc_provider_mock.run_server_in_thread() as server:
        yield f"http://localhost:{server.server_port}"


def provider_of(issuer: str, **changes: Any) -> OidcProvider:
    rules = msgspec.structs.replace(OidcRules("oidc-test", issuer, (CLIENT,)), **changes)
    return OidcProvider(rules, time.time)


async def test_player_who_signs_in_at_the_issuer_is_identified(issuer: str) -> None:
    provider = provider_of(issuer)
    token = await sign_in(issuer, "ann@example.com", nonce="n-1")
    expected = ProviderIdentity("oidc-test", "ann@example.com")
    assert await provider.verify(Credential(token, "n-1")) == expected
    assert await provider.verify(Credential(token)) == expected, "the nonce is optional"


async def test_token_for_another_client_or_with_another_nonce_is_refused(issuer: str) -> None:
    for token, nonce, reason in (
        (await sign_in(issuer, "ann", client="another-game"), "", "audience"),
        (await sign_in(issuer, "ann", nonce="one"), "two", "nonce"),
        (await sign_in(issuer, "ann"), "one", "nonce"),
        ((await sign_in(issuer, "ann"))[:-8] + "AAAAAAAA", "", "signature"),
    ):
        with pytest.raises(InvalidToken) as refused:
            await provider_of(issuer).verify(Credential(token, nonce))
        assert refused.value.reason == reason
        assert token not in str(refused.value)
    with pytest.raises(InvalidToken, match="must have a nonce"):
        await provider_of(issuer, needs_nonce=True).verify(Credential(await sign_in(issuer, "ann", nonce="one")))


async def test_token_signed_by_another_key_with_the_same_id_is_refused(issuer: str) -> None:
    genuine = await sign_in(issuer, "ann")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    claims = jwt.decode(genuine, options={"verify_signature": False})
    headers = jwt.get_unverified_header(genuine) | {"jku": "http://127.0.0.1:1/keys"}
    forged = jwt.encode(claims | {"sub": "bob"}, key, algorithm="RS256", headers=headers)
    with pytest.raises(InvalidToken):
        await provider_of(issuer).verify(Credential(forged))


async def test_issuer_that_does_not_answer_is_unavailable() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    token = jwt.encode({"sub": "ann"}, key, algorithm="RS256", headers={"kid": "one"})
    with pytest.raises(Unavailable):
        await provider_of("http://127.0.0.1:1").verify(Credential(token))


async def test_issuer_that_answers_too_late_is_unavailable() -> None:
    async def slow(url: str, deadline_s: float) -> bytes:
        async with asyncio.timeout(deadline_s):
            await asyncio.Event().wait()
        return b""

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    token = jwt.encode({"sub": "ann"}, key, algorithm="RS256", headers={"kid": "one"})
    rules = OidcRules("oidc-test", "https://slow.example", (CLIENT,), deadline_s=0.05)
    with pytest.raises(Unavailable):
        await OidcProvider(rules, time.time, slow).verify(Credential(token))


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ({"issuer": "https://id.example/", "jwks_uri": "https://id.example/k"}, "another issuer"),
        ({"issuer": "https://evil.example", "jwks_uri": "https://id.example/k"}, "another issuer"),
        ({"jwks_uri": "https://id.example/k"}, "another issuer"),
        ({"issuer": "https://id.example"}, "jwks_uri"),
        ({"issuer": "https://id.example", "jwks_uri": 5}, "jwks_uri"),
        ({"issuer": "https://id.example", "jwks_uri": "http://id.example/k"}, "https"),
        ({"issuer": "https://id.example", "jwks_uri": "http://127.0.0.1/k"}, "https"),
        ({"issuer": "https://id.example", "jwks_uri": "file:///etc/passwd"}, "https"),
    ],
)
def test_discovery_that_is_not_the_issuers_is_refused(metadata: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        find_jwks_uri(json.dumps(metadata).encode(), "https://id.example")


RULES = OidcRules("oidc-test", "https://id.example", ("game", "game-ios"), age_s=600.0)
GOOD: dict[str, Any] = {
    "iss": "https://id.example",
    "aud": "game",
    "sub": "1",
    "iat": NOW_S - 10,
    "exp": NOW_S + 300,
}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"aud": ["game"]}, None),
        ({"aud": ["game", "game-ios"], "azp": "game-ios"}, None),
        ({"azp": "game-ios"}, None),
        ({"iss": "https://id.example/"}, "issuer"),
        ({"iss": "https://evil.example"}, "issuer"),
        ({"iss": ["https://id.example"]}, "issuer"),
        ({"iss": None}, "issuer"),
        ({"aud": "other"}, "audience"),
        ({"aud": None}, "audience"),
        ({"aud": {"game": 1}}, "claims"),
        ({"aud": ["game", 5]}, "claims"),
        ({"aud": ["game"] * 100}, "claims"),
        ({"aud": ["game", "other"], "azp": "game"}, "audience"),
        ({"aud": ["game", "game-ios"]}, "audience"),
        ({"azp": "other"}, "audience"),
        ({"azp": ["game"]}, "audience"),
        ({"iat": None}, "claims"),
        ({"iat": "now"}, "claims"),
        ({"iat": NOW_S - 700}, "expired"),
        ({"iat": NOW_S + 100}, "not_yet_valid"),
        ({"exp": NOW_S - 61}, "expired"),
        ({"exp": None}, "claims"),
        ({"exp": 1e300}, "claims"),
        ({"nonce": 5}, "claims"),
    ],
)
def test_claims_of_an_id_token_are_checked(changes: dict[str, Any], reason: str | None) -> None:
    claims = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    if reason is None:
        assert check_id_token(claims, RULES, "", NOW_S)
        return
    with pytest.raises(InvalidToken) as refused:
        check_id_token(claims, RULES, "", NOW_S)
    assert refused.value.reason == reason


def test_nonce_of_apple_is_hashed() -> None:
    rules = create_apple_rules(ProviderSettings(apple_clients=["game"]))
    claims = GOOD | {"iss": APPLE_ISSUER, "nonce": hashlib.sha256(b"raw").hexdigest()}
    assert check_id_token(claims, rules, "raw", NOW_S)
    for nonce in ("other", claims["nonce"]):
        with pytest.raises(InvalidToken, match="nonce"):
            check_id_token(claims, rules, nonce, NOW_S)
    with pytest.raises(InvalidToken):
        check_id_token(claims | {"aud": "com.example.other"}, rules, "raw", NOW_S)


def steam_of(url: str, deadline_s: float = 5.0) -> SteamProvider:
    settings = ProviderSettings(
        steam_app_id="480", steam_key=STEAM_KEY, steam_identity="game", steam_url=url, deadline_s=deadline_s
    )
    return SteamProvider(settings)


async def test_ticket_of_steam_identifies_its_player() -> None:
    async with steam_server() as steam:
        found = await steam_of(steam.url).verify(Credential(TICKET))
        assert found == ProviderIdentity("steam", "76561197960287930")
        request = steam.requests[0]
        assert request.path == "/ISteamUserAuth/AuthenticateUserTicket/v1/"
        assert dict(request.query) == {"appid": "480", "ticket": TICKET, "identity": "game"}
        assert request.headers["x-webapi-key"] == STEAM_KEY
        assert STEAM_KEY not in str(request.url)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"response": {"error": {"errorcode": 101, "errordesc": "Invalid ticket"}}}, InvalidToken),
        ({"response": {"params": {"result": "Expired", "steamid": "1"}}}, InvalidToken),
        ({"response": {"params": {"result": "OK", "steamid": "1; DROP"}}}, InvalidToken),
        ({"response": {"params": {"result": "OK", "steamid": 5}}}, InvalidToken),
        ({"response": {"params": {"result": "OK", "steamid": "1", "publisherbanned": True}}}, InvalidToken),
        ({"response": {}}, Unavailable),
        ({"response": 5}, Unavailable),
        ({}, Unavailable),
        (b"[]", Unavailable),
        (b"<html>", Unavailable),
        (b" " * 300_000, Unavailable),
        (403, Unavailable),
        (500, Unavailable),
        (302, Unavailable),
        (None, Unavailable),
    ],
)
async def test_other_answers_of_steam_are_refused_or_unavailable(answer: Any, error: type[Exception]) -> None:
    async with steam_server() as steam:
        steam.answer = answer
        with structlog.testing.capture_logs() as logs, pytest.raises(error) as refused:
            await steam_of(steam.url, 0.5 if answer is None else 5.0).verify(Credential(TICKET))
        assert len(steam.requests) == 1, "no redirect is followed"
        assert TICKET not in f"{refused.value}{logs}"
        assert STEAM_KEY not in f"{refused.value}{logs}"


@pytest.mark.parametrize("ticket", ["", "1", "zz" * 60, "14" * 3000, "14" * 60 + "&key=x", "1٤" * 60])
async def test_ticket_that_is_not_hexadecimal_is_not_sent(ticket: str) -> None:
    async with steam_server() as steam:
        with pytest.raises(InvalidToken):
            await steam_of(steam.url).verify(Credential(ticket))
        assert not steam.requests


async def test_only_the_providers_of_the_settings_exist_and_their_results_are_counted(issuer: str) -> None:
    settings = ProviderSettings(
        oidc_issuers={"test": issuer},
        oidc_clients={"test": [CLIENT]},
        apple_clients=["game"],
        steam_app_id="480",
        steam_key=STEAM_KEY,
    )
    assert sorted(create_providers(settings, time.time)) == ["apple", "oidc-test", "steam"]
    assert create_providers(ProviderSettings(), time.time) == {}
    counters = AccountCounters()
    registry = ProviderRegistry(create_providers(settings, time.time), counters)
    assert await registry.verify("oidc-test", Credential(await sign_in(issuer, "ann")))
    with pytest.raises(InvalidToken):
        await registry.verify("oidc-test", Credential("rubbish"))
    with pytest.raises(NotFound):
        await registry.verify("oidc-other", Credential("rubbish"))
    assert counters.operations == {("verify_oidc", "ok"): 1, ("verify_oidc", "UNAUTHORIZED"): 1}


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({}, None),
        ({"oidc_issuers": {"a": "https://a.example"}, "oidc_clients": {"a": ["game"]}}, None),
        ({"oidc_issuers": {"a": "http://127.0.0.1:1"}, "oidc_clients": {"a": ["game"]}}, None),
        ({"oidc_issuers": {"a": "http://a.example"}, "oidc_clients": {"a": ["game"]}}, "oidc_issuers"),
        ({"oidc_issuers": {"A:b": "https://a.example"}, "oidc_clients": {"A:b": ["game"]}}, "oidc_issuers"),
        ({"oidc_issuers": {"": "https://a.example"}, "oidc_clients": {"": ["game"]}}, "oidc_issuers"),
        ({"oidc_issuers": {"a": "https://a.example"}}, "oidc_clients"),
        ({"oidc_issuers": {"a": "https://a.example"}, "oidc_clients": {"a": []}}, "oidc_clients"),
        ({"steam_url": "http://steam.example"}, "steam_url"),
    ],
)
def test_settings_of_providers_that_are_unsafe_are_named(changes: dict[str, Any], key: str | None) -> None:
    found = [keys[0] for keys, _ in provider_contradictions(ProviderSettings(**changes))]
    assert found == ([f"accounts.providers.{key}"] if key else [])


def test_steam_without_its_key_is_refused_where_players_log_in() -> None:
    """Shards read the same settings file without the key, and must start."""
    settings = ProviderSettings(steam_app_id="480")
    assert list(provider_contradictions(settings)) == []
    with pytest.raises(ConfigError, match=r"^accounts\.providers\.steam_key: must be set"):
        create_providers(settings, time.time)


def test_repr_of_credentials_and_settings_hides_secrets() -> None:
    assert "token" not in repr(Credential("token", "nonce"))
    assert STEAM_KEY not in repr(ProviderSettings(steam_key=STEAM_KEY))
