"""The admin API under hostile requests: responses are errors with a sentence and never 5xx."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from urllib.parse import quote

import msgspec
import pytest
import structlog

from tests.harness.admin_endpoints import ENDPOINTS, Endpoint
from tests.harness.shard_process import OPERATIONS_TOKEN, admin, running
from tests.harness.tokens import AUTH, token_of
from tickwire.client.client import connect
from tickwire.matchmaking import MatchmakerUnavailable
from tickwire.server.config import Settings
from tickwire.server.errors import Unavailable
from tickwire.server.shard import Shard

pytestmark = pytest.mark.usefixtures("no_collections")

IDS = [
    "a/b",
    "a//b",
    "../../v1/shard",
    "%2e%2e",
    "a%2Fb",
    "a?b=c",
    "a#b",
    "a b",
    "\u00fc\U0001f600",
    "\u202eabc",
    "a\x00b",
    "a\nb",
    "\x1b[2J",
    "$where",
    "a.b",
    "{a}",
    "*",
    "a" * 128,
    "a" * 129,
    "a" * 7_000,
    "a" * 10_000,
]
BODIES: list[bytes] = [
    b"",
    b"null",
    b"[]",
    b"3",
    b'"x"',
    b"{",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"a":' * 20_000,
    b'{"reason": "' + b"x" * 100_000 + b'"}',
    b'{"duration_s": 1e400}',
    b'{"duration_s": -1}',
    b'{"duration_s": "1"}',
    b'{"after": 99999999999999999999}',
    b'{"after": 0, "values": {"garden": ' + b'{"x":' * 5_000 + b"1" + b"}" * 5_000 + b"}}",
    b'{"after": 0, "values": {"": {"": null}}, "labels": {"a": "b"}, "note": "x"}',
    b'{"name": "x", "payload": ' + b"[" * 500 + b"]" * 500 + b"}",
    b'{"name": "x", "payload": 123456789012345678901234567890}',
    b'{"to": 99999999999999999999}',
    b"x" * 300_000,
]
HEADERS: list[bytes] = [
    b"",
    b"Authorization:",
    b"Authorization: \xff\xfe\x80",
    b"Authorization: Bearer \xc3\x28",
    b"Authorization: Bearer " + b"x" * 7_000,
    b"Authorization: Basic eA==",
    b"Authorization: Bearer a\r\nAuthorization: Bearer b",
]


async def raw(port: int, request: bytes) -> tuple[int, bytes]:
    """Send a request as bytes; return the status and the body of the answer."""
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request)
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.read()
        finally:
            writer.close()
    return int(head.split()[1]), body


def request_of(endpoint: Endpoint, path: str, body: bytes, header: bytes) -> bytes:
    return (
        f"{endpoint.method} /v1{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n".encode()
        + header
        + b"\r\n\r\n"
        + body
    )


@pytest.fixture
async def guarded(shard_settings: Settings) -> AsyncIterator[Shard]:
    async with running(msgspec.structs.replace(shard_settings, auth=AUTH)) as shard:
        yield shard


TOKEN = f"Authorization: Bearer {OPERATIONS_TOKEN}".encode()
WITH_IDS = [endpoint for endpoint in ENDPOINTS if "{" in endpoint.path]
WITH_BODY = [endpoint for endpoint in ENDPOINTS if endpoint.body is not None]


def path_of(endpoint: Endpoint, id: str) -> str:
    path = endpoint.path
    for part in path.split("/"):
        if part.startswith("{"):
            path = path.replace(part, quote(id, safe=""))
    return path


@pytest.mark.parametrize("endpoint", WITH_IDS, ids=lambda one: f"{one.method} {one.path}")
async def test_no_id_causes_a_server_error(guarded: Shard, endpoint: Endpoint) -> None:
    body = b'{"duration_s": 1}' if "bans" in endpoint.path else b"{}"
    for id in IDS:
        status, answer = await raw(
            guarded.parts.operations.port, request_of(endpoint, path_of(endpoint, id), body, TOKEN)
        )
        assert status < 500, (id, answer)
        if status not in (200, 400):  # 400: aiohttp refuses the request before the API
            assert json.loads(answer)["detail"]
    assert guarded.parts.health.is_ready


@pytest.mark.parametrize("endpoint", WITH_BODY, ids=lambda one: f"{one.method} {one.path}")
async def test_no_body_causes_a_server_error(guarded: Shard, endpoint: Endpoint) -> None:
    async with connect(guarded.url) as client:
        joined = await client.join("garden")
        path = path_of(endpoint, joined.room_id if "room_id" in endpoint.path else "ada")
        for body in BODIES:
            status, answer = await raw(guarded.parts.operations.port, request_of(endpoint, path, body, TOKEN))
            assert status < 500, (body[:40], answer)
    assert guarded.parts.health.is_ready


async def test_every_invalid_authorization_is_answered_with_401(guarded: Shard) -> None:
    (shard,) = [endpoint for endpoint in ENDPOINTS if endpoint.path == "/shard"]
    for header in HEADERS:
        status, answer = await raw(guarded.parts.operations.port, request_of(shard, "/shard", b"", header))
        assert status == 401, (header[:40], answer)
    status, _ = await raw(guarded.parts.operations.port, request_of(shard, "/shard", b"", TOKEN))
    assert status == 200


@pytest.mark.parametrize("player", ["google/42", "auth0|42", "a%2Fb", "J\u00fcrgen", "a b", "a?b", "x" * 128])
async def test_player_with_any_id_can_be_banned_and_readmitted(guarded: Shard, player: str) -> None:
    token = token_of(player)
    path = f"/bans/{quote(player, safe='')}"
    async with connect(guarded.url, token=token) as client:
        assert (await admin(guarded.parts.operations.port, "PUT", path, {"duration_s": 60}))["player_id"] == player
        await client.wait_for(lambda: not client.is_connected)
    (ban,) = await admin(guarded.parts.operations.port, "GET", "/bans")
    assert ban["player_id"] == player
    assert await admin(guarded.parts.operations.port, "DELETE", path) == {"count": 1}
    async with connect(guarded.url, token=token) as client:
        assert client.is_connected


async def test_repeated_request_returns_the_number_of_changes(guarded: Shard) -> None:
    port = guarded.parts.operations.port
    assert await admin(port, "DELETE", "/bans/ada") == {"count": 0}
    first = await admin(port, "PUT", "/bans/ada", {"duration_s": 60, "reason": "a"})
    second = await admin(port, "PUT", "/bans/ada", {"duration_s": 60, "reason": "a"})
    assert (first["player_id"], second["player_id"]) == ("ada", "ada")
    assert len(await admin(port, "GET", "/bans")) == 1
    assert await admin(port, "DELETE", "/bans/ada") == {"count": 1}
    assert await admin(port, "DELETE", "/bans/ada") == {"count": 0}
    drain = f"/fleet/{guarded.shard_id}/drain"
    assert (await admin(port, "POST", drain))["count"] == 1
    assert (await admin(port, "POST", drain))["count"] == 0
    assert await admin(port, "PUT", "/log-level", {"level": "warning"}) == {"count": 1}
    assert await admin(port, "PUT", "/log-level", {"level": "warning"}) == {"count": 0}
    await admin(port, "PUT", "/log-level", {"level": "debug"})


async def test_server_error_is_logged_and_answered_in_json(guarded: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(guarded.parts.admin_service), "list_rooms", lambda self: 1 / 0)
    with structlog.testing.capture_logs() as lines:
        answer = await admin(guarded.parts.operations.port, "GET", "/rooms")
    assert answer == (500, "the request failed; the shard's log has the reason")
    assert [line["endpoint"] for line in lines if line["event"] == "admin_request_failed"] == ["GET /rooms"]


async def test_operator_receives_the_reason_why_a_store_cannot_be_used(
    guarded: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*arguments: object, **options: object) -> None:
        raise error

    mongo = Unavailable("MongoDB does not answer", detail="MongoDB at db:27017 cannot be used: the password is wrong")
    redis = MatchmakerUnavailable("Redis does not answer", detail="Redis at cache:6379: the password is wrong")
    monkeypatch.setattr(guarded.parts.operator_policy.bans, "list_active", refused)
    monkeypatch.setattr(guarded.parts.matchmaker.directory, "request_drain", refused)
    for error, method, path in ((mongo, "GET", "/bans"), (redis, "POST", "/fleet/x/drain")):
        assert await admin(guarded.parts.operations.port, method, path) == (503, error.detail)


async def test_every_change_is_logged_with_its_request(guarded: Shard) -> None:
    with structlog.testing.capture_logs() as lines:
        await admin(guarded.parts.operations.port, "PUT", "/bans/ada", {"duration_s": 60, "reason": "cheats"})
        await admin(guarded.parts.operations.port, "DELETE", "/bans/ada")
    calls = [line for line in lines if line["event"] == "admin_request_completed"]
    assert [(line["endpoint"], line["player_id"]) for line in calls] == [
        ("PUT /bans/{player_id}", "ada"),
        ("DELETE /bans/{player_id}", "ada"),
    ]
    assert json.loads(calls[0]["request"]) == {"duration_s": 60.0, "reason": "cheats"}


async def test_log_line_of_a_drain_names_its_target_and_the_shard_that_writes_it(guarded: Shard) -> None:
    shard_id = guarded.parts.shard_id
    with structlog.testing.capture_logs() as lines:
        await admin(guarded.parts.operations.port, "POST", f"/fleet/{shard_id}/drain")
    (call,) = [line for line in lines if line["event"] == "admin_request_completed"]
    assert call["target_shard_id"] == shard_id
    assert "shard_id" not in call, "it would replace the id of the shard that writes the line"
