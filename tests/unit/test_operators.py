"""Operators of the admin API: their tokens, their roles, and tokens of an OpenID Connect issuer."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import quote

import aiohttp
import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from tests.harness.admin_endpoints import ENDPOINTS, Endpoint
from tickwire.server.admin.api import AdminApi
from tickwire.server.admin.http_server import OperationsServer
from tickwire.server.admin.operator_tokens import OperatorTokens
from tickwire.server.admin.operators import Operators
from tickwire.server.admin.roles import ROLES, Operator
from tickwire.server.admin.views import AdminOperations
from tickwire.server.config import load
from tickwire.server.errors import ConfigError, Forbidden, Unauthorized
from tickwire.server.observability.health import Health
from tickwire.server.operator_settings import OperatorOidc, OperatorSettings, Role

TOKENS: dict[Role, str] = {role: f"the token of an operator with the role {role}" for role in ROLES}
OPERATORS = {f"{role}-ann": OperatorSettings(token, role) for role, token in TOKENS.items()}
AUDIENCE = "tickwire-console"


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """The address of an admin API whose operations do not exist: a permitted request fails in its handler."""
    api = AdminApi(cast(AdminOperations, object()), Operators("", OPERATORS))
    server = OperationsServer(lambda: b"", Health(), api)
    await server.start("127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.port}/v1"
    await server.stop()


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda one: f"{one.method} {one.path}")
async def test_an_endpoint_refuses_lower_roles_and_names_the_one_that_it_needs(url: str, endpoint: Endpoint) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        for role, token in TOKENS.items():
            headers = {"Authorization": f"Bearer {token}"}
            path = quote(endpoint.path, safe="/")
            async with session.request(endpoint.method, url + path, headers=headers, data=b"{}") as answer:
                if ROLES.index(role) >= ROLES.index(endpoint.role):
                    assert answer.status not in (401, 403), role
                    continue
                assert answer.status == 403, role
                problem = await answer.json()
            assert problem["code"] == "FORBIDDEN"
            assert f"the role {endpoint.role} is required" in problem["detail"]
            assert f"{role}-ann" in problem["detail"]


def test_every_endpoint_declares_a_role_and_only_reads_have_the_lowest() -> None:
    for endpoint in ENDPOINTS:
        assert endpoint.role in ROLES
        assert (endpoint.role == "read") == (endpoint.method == "GET"), endpoint


async def test_a_token_names_its_operator() -> None:
    operators = Operators("the token that all operators share", OPERATORS)
    for role, token in TOKENS.items():
        assert await operators.authenticate(f"Bearer {token}".encode()) == Operator(f"{role}-ann", role)
    assert await operators.authenticate(b"Bearer the token that all operators share") == Operator("operator", "admin")
    for wrong in (b"", b"Bearer", b"Bearer ", b"Bearer x", b"\xff\xfe", TOKENS["admin"].encode()):
        with pytest.raises(Unauthorized):
            await operators.authenticate(wrong)


async def test_without_operators_every_request_is_refused() -> None:
    with pytest.raises(Forbidden, match="disabled"):
        await Operators("").authenticate(b"Bearer ")


# -- settings -----------------------------------------------------------------------------------------------


def environment(**values: str) -> dict[str, str]:
    return {f"TICKWIRE__OPERATIONS__{name.upper()}": value for name, value in values.items()}


def test_operators_are_read_from_the_environment_and_their_tokens_are_not_shown() -> None:
    settings = load(None, environment(operators__ann__token="a" * 32, operators__ann__role="support"))
    assert settings.operations.operators == {"ann": OperatorSettings("a" * 32, "support")}
    assert "a" * 32 not in repr(settings)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"operators__ann__role": "admin"}, "operations.operators.ann.token: must be set"),
        (
            {"operators__ann__token": "short"},
            "operations.operators.ann.token: must be empty, or a secret",
        ),
        ({"operators__ann__token": "a" * 32, "operators__ann__role": "x"}, "operations.operators.ann.role: must be"),
        ({"operators__ann__token": "a" * 32, "token": "a" * 32}, "must not be the token of operations.token"),
        ({"operators__operator__token": "a" * 32}, "operations.operators: must be a printable name"),
        ({"oidc_issuer": "https://id.example"}, "operations.oidc_audience: must be set"),
        ({"oidc_issuer": "http://id.example", "oidc_audience": "x"}, "operations.oidc_issuer: must start with https"),
    ],
)
def test_wrong_settings_of_operators_are_refused(values: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(None, environment(**values))
    assert words in str(raised.value)
    assert "a" * 32 not in str(raised.value)


# -- OpenID Connect -----------------------------------------------------------------------------------------

KEY, OTHER_KEY = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())


@asynccontextmanager
async def issuer(**changes: Any) -> AsyncIterator[OperatorOidc]:
    """Run an issuer that publishes KEY; yield the settings for it."""
    app = web.Application()

    async def discover(request: web.Request) -> web.Response:
        return web.json_response({"issuer": base, "jwks_uri": f"{base}/keys"} | changes)

    async def list_keys(request: web.Request) -> web.Response:
        key = ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
        return web.json_response({"keys": [key | {"kid": "1", "alg": "ES256", "use": "sig"}]})

    app.router.add_get("/.well-known/openid-configuration", discover)
    app.router.add_get("/keys", list_keys)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield OperatorOidc(base, AUDIENCE, "roles", "email")
    finally:
        await runner.cleanup()


def token_from(oidc: OperatorOidc, key: Any = KEY, **changes: Any) -> bytes:
    claims = {
        "iss": oidc.issuer,
        "aud": AUDIENCE,
        "exp": time.time() + 60,
        "email": "ann@x.example",
        "roles": ["players", "support", "read"],
    }
    return b"Bearer " + jwt.encode(claims | changes, key, algorithm="ES256", headers={"kid": "1"}).encode()


async def test_a_token_of_the_issuer_names_the_operator_and_its_highest_role() -> None:
    async with issuer() as oidc:
        operators = Operators("", OPERATORS, OperatorTokens(oidc, time.time))
        assert await operators.authenticate(token_from(oidc)) == Operator("ann@x.example", "support")
        assert (await operators.authenticate(token_from(oidc, roles="admin"))).role == "admin"
        assert (await operators.authenticate(f"Bearer {TOKENS['read']}".encode())).name == "read-ann"
        for wrong in (None, [], "players", {"admin": True}, 1):
            with pytest.raises(Forbidden, match="none of the roles"):
                await operators.authenticate(token_from(oidc, roles=wrong))


@pytest.mark.parametrize(
    "changes",
    [
        {"key": OTHER_KEY},
        {"aud": "tickwire-game"},
        {"iss": "https://id.example"},
        {"exp": 1},
        {"email": ""},
        {"email": "a\nb"},
        {"email": 5},
    ],
)
async def test_a_wrong_token_of_the_issuer_is_refused(changes: dict[str, Any]) -> None:
    async with issuer() as oidc:
        tokens = Operators("", None, OperatorTokens(oidc, time.time))
        with pytest.raises(Unauthorized):
            await tokens.authenticate(token_from(oidc, **changes))


async def test_tokens_without_a_signature_of_a_public_key_are_refused() -> None:
    async with issuer() as oidc:
        tokens = Operators("", None, OperatorTokens(oidc, time.time))
        claims = jwt.decode(token_from(oidc).removeprefix(b"Bearer "), options={"verify_signature": False})
        unsigned = jwt.encode(claims, "", algorithm="none")
        crossed = jwt.encode(claims, "a secret that the attacker knows, too", algorithm="HS256", headers={"kid": "1"})
        for token in (unsigned, crossed):
            with pytest.raises(Unauthorized, match="algorithm"):
                await tokens.authenticate(f"Bearer {token}".encode())


@pytest.mark.parametrize(
    "changes", [{"issuer": "https://id.example"}, {"jwks_uri": "http://id.example/keys"}, {"jwks_uri": 5}]
)
async def test_a_discovery_document_of_another_issuer_is_not_used(changes: dict[str, Any]) -> None:
    async with issuer(**changes) as oidc:
        tokens = Operators("", None, OperatorTokens(oidc, time.time))
        with pytest.raises(Exception, match="cannot be read"):
            await tokens.authenticate(token_from(oidc))
