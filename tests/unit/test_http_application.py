"""All HTTP APIs answer in the same way: problems for errors, bounded bodies, headers, CORS, an OpenAPI document."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import aiohttp
import msgspec
import pytest
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from tests.harness.polling import eventually
from tickwire.matchmaking.errors import MatchmakerUnavailable
from tickwire.server.errors import ConfigError, Internal, RateLimited, Unauthorized, Unavailable
from tickwire.server.http.application import HttpOptions, HttpRoutes, create_application
from tickwire.server.http.http_server import HttpServer

ORIGIN = "https://game.example"


class Greeted(msgspec.Struct, frozen=True):
    name: Annotated[str, Meta(min_length=1, max_length=10)]
    times: Annotated[int, Meta(ge=1, le=5)] = 1


class Greeter:
    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.waiting = 0


@post("/v1/greetings", status_code=200)
async def greet(data: JSONBody[Greeted]) -> dict[str, str]:
    """Greet."""
    return {"text": f"hello {data.name}"}


@get("/v1/slow")
async def slow(greeter: NamedDependency[Greeter]) -> dict[str, bool]:
    greeter.waiting += 1
    await greeter.release.wait()
    return {"done": True}


ERRORS: dict[str, Exception] = {
    "unauthorized": Unauthorized("the token has expired"),
    "limited": RateLimited("too many logins", retry_after_ms=2500),
    "unavailable": Unavailable("try again", detail="mongo-7:27017 refused"),
    "redis": MatchmakerUnavailable("Redis does not answer", retry_after_ms=1000),
    "timeout": TimeoutError(),
    "internal": Internal("row 7 of secrets"),
    "defect": ZeroDivisionError("hunter2"),
}


@get("/v1/errors/{name:str}")
async def fail(name: FromPath[str]) -> None:
    raise ERRORS[name]


@pytest.fixture
def greeter() -> Greeter:
    return Greeter()


@pytest.fixture
async def server(greeter: Greeter) -> AsyncIterator[HttpServer]:
    options = HttpOptions(title="Greetings", body_bytes_max=2000, allows_origin=lambda origin: origin == ORIGIN)
    routes = HttpRoutes(handlers=[greet, slow, fail], dependencies={"greeter": greeter})
    made = HttpServer(create_application(options, [routes]), section="api")
    await made.start("127.0.0.1", 0)
    yield made
    greeter.release.set()
    await made.stop(5)


@pytest.fixture
async def http(server: HttpServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(
        f"http://127.0.0.1:{server.port}", timeout=aiohttp.ClientTimeout(total=10)
    ) as session:
        yield session


async def problem(response: aiohttp.ClientResponse) -> dict[str, Any]:
    assert response.headers["Content-Type"].startswith("application/problem+json"), await response.text()
    found: dict[str, Any] = await response.json(content_type=None)
    assert found["status"] == response.status
    return found


async def test_valid_request_is_answered_with_the_headers_of_every_response(http: aiohttp.ClientSession) -> None:
    async with http.post("/v1/greetings", json={"name": "ann"}) as response:
        assert (response.status, await response.json()) == (200, {"text": "hello ann"})
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"
        assert "Server" not in response.headers


async def test_invalid_field_is_named(http: aiohttp.ClientSession) -> None:
    async with http.post("/v1/greetings", json={"name": "ann", "times": 9}) as response:
        found = await problem(response)
    assert (found["status"], found["code"]) == (400, "INVALID_ARGUMENT")
    assert [error["field"] for error in found["errors"]] == ["times"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/v1/greetings", b"{", 400, "MALFORMED"),
        ("POST", "/v1/greetings", b"\xff\xfe", 400, "MALFORMED"),
        ("POST", "/v1/greetings", b"[" * 1500, 400, "MALFORMED"),
        ("POST", "/v1/greetings", b'"' + b"x" * 3000 + b'"', 413, "TOO_LARGE"),
        ("GET", "/v1/nothing", b"", 404, "NOT_FOUND"),
        ("DELETE", "/v1/greetings", b"", 405, "METHOD_NOT_ALLOWED"),
    ],
)
async def test_wrong_requests_are_problems(
    http: aiohttp.ClientSession, method: str, path: str, body: bytes, status: int, code: str
) -> None:
    async with http.request(method, path, data=body, headers={"Content-Type": "application/json"}) as response:
        found = await problem(response)
        assert (found["status"], found["code"]) == (status, code)
        if status == 405:
            assert "POST" in response.headers["Allow"]


@pytest.mark.parametrize(
    ("name", "status", "code", "retry_after"),
    [
        ("unauthorized", 401, "UNAUTHORIZED", None),
        ("limited", 429, "RATE_LIMITED", "3"),
        ("unavailable", 503, "UNAVAILABLE", "1"),
        ("redis", 503, "UNAVAILABLE", "1"),
        ("timeout", 503, "UNAVAILABLE", "1"),
        ("internal", 500, "INTERNAL", None),
        ("defect", 500, "INTERNAL", None),
    ],
)
async def test_errors_have_the_codes_of_the_protocol_and_no_secrets(
    http: aiohttp.ClientSession, name: str, status: int, code: str, retry_after: str | None
) -> None:
    async with http.get(f"/v1/errors/{name}") as response:
        found = await problem(response)
        assert (found["status"], found["code"], response.headers.get("Retry-After")) == (status, code, retry_after)
        assert (response.headers.get("WWW-Authenticate") == "Bearer") == (status == 401)
        text = await response.text()
    assert not any(secret in text for secret in ("mongo-7", "secrets", "hunter2"))


async def test_document_has_the_operations_with_their_bounds(http: aiohttp.ClientSession) -> None:
    async with http.get("/v1/openapi.json") as response:
        document = await response.json(content_type=None)
    assert document["openapi"].startswith("3.1")
    assert document["info"]["title"] == "Greetings"
    times = document["components"]["schemas"]["Greeted"]["properties"]["times"]
    assert (times["minimum"], times["maximum"]) == (1, 5)


async def test_only_allowed_origins_may_read_responses(http: aiohttp.ClientSession) -> None:
    async with http.get("/v1/nothing", headers={"Origin": ORIGIN}) as response:
        assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    async with http.get("/v1/nothing", headers={"Origin": "https://evil.example"}) as response:
        assert "Access-Control-Allow-Origin" not in response.headers
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    async with http.options("/v1/greetings", headers=preflight) as response:
        assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (204, ORIGIN)
    async with http.options("/v1/greetings", headers={**preflight, "Origin": "https://evil.example"}) as response:
        assert response.status == 400


async def test_stop_finishes_requests_in_flight_and_accepts_no_more(
    server: HttpServer, http: aiohttp.ClientSession, greeter: Greeter
) -> None:
    request = asyncio.create_task(http.get("/v1/slow"))
    await eventually(lambda: greeter.waiting == 1, what="the request is in flight")
    stopping = asyncio.create_task(server.stop(10))

    async def refuses() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        except ConnectionError:
            return True
        writer.close()
        return False

    await eventually(refuses, what="no more connections")
    assert not request.done()
    greeter.release.set()
    async with await request as response:
        assert await response.json() == {"done": True}
    async with asyncio.timeout(5):
        await stopping


async def test_stop_does_not_wait_beyond_its_grace(server: HttpServer, greeter: Greeter) -> None:
    async with aiohttp.ClientSession() as session:
        request = asyncio.create_task(session.get(f"http://127.0.0.1:{server.port}/v1/slow"))
        await eventually(lambda: greeter.waiting == 1, what="the request is in flight")
        async with asyncio.timeout(5):
            await server.stop(0.1)
        async with await request as response:
            found = await problem(response)
            assert (found["status"], found["code"]) == (503, "UNAVAILABLE")


async def test_port_in_use_is_a_problem_of_the_settings(server: HttpServer) -> None:
    other = HttpServer(create_application(HttpOptions(title="x"), []), section="api")
    with pytest.raises(ConfigError, match=r"^api.port: \d+ on 127.0.0.1 is in use"):
        await other.start("127.0.0.1", server.port)
