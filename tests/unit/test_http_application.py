"""All HTTP APIs answer in the same way: problems for errors, bounded bodies, headers, CORS, an OpenAPI document."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

import aiohttp
import msgspec
import pytest
import structlog
from litestar import Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta
from openapi_spec_validator import OpenAPIV31SpecValidator
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.harness.polling import eventually
from tickwire.matchmaking.errors import MatchmakerUnavailable
from tickwire.server.edge.trusted_proxies import TrustedProxies
from tickwire.server.errors import ConfigError, Internal, RateLimited, Unauthorized, Unavailable
from tickwire.server.http.application import HttpOptions, HttpRoutes, create_application
from tickwire.server.http.connection import HEAD_BYTES_MAX, ConnectionLimits
from tickwire.server.http.http_server import HttpServer
from tickwire.server.http.request_log import get_client_address
from tickwire.server.observability import traces

ORIGIN = "https://game.example"
CONNECTIONS_MAX = 5


class Greeted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to greet.

    Args:
        name: the name, of letters
            and digits.
        times: how often.
    """

    name: Annotated[str, Meta(min_length=1, max_length=10, pattern=r"\A[a-z0-9]+\Z")]
    times: Annotated[int, Meta(ge=1, le=5)] = 1


class Greeter:
    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.waiting = 0
        self.timeout_s = 20.0
        self.observed: list[tuple[str, int]] = []


@post("/v1/greetings", status_code=200)
async def greet(data: JSONBody[Greeted]) -> dict[str, str]:
    """Greet someone, without <b>."""
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


@get("/v1/address")
async def show_address(request: Request[Any, Any, Any]) -> dict[str, str]:
    return {"address": get_client_address(request)}


@delete("/v1/address")
async def forget_address() -> None:
    pass


@pytest.fixture
def greeter() -> Greeter:
    return Greeter()


@pytest.fixture
def hasty(greeter: Greeter) -> Greeter:
    greeter.timeout_s = 0.3
    return greeter


@pytest.fixture
async def server(greeter: Greeter) -> AsyncIterator[HttpServer]:
    options = HttpOptions(
        title="Greetings",
        body_bytes_max=2000,
        allows_origin=lambda origin: origin == ORIGIN,
        request_timeout_s=greeter.timeout_s,
        find_address=TrustedProxies(["127.0.0.1"]).client_address,
        observe=lambda operation, status, duration_s: greeter.observed.append((operation, status)),
    )
    routes = HttpRoutes(handlers=[greet, slow, fail, show_address, forget_address], dependencies={"greeter": greeter})
    limits = ConnectionLimits(head_timeout_s=greeter.timeout_s, connections_max=CONNECTIONS_MAX)
    made = HttpServer(create_application(options, [routes]), section="api", limits=limits)
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


@pytest.mark.parametrize(
    ("name", "event"), [("defect", "http_request_failed"), ("unavailable", "http_request_unavailable")]
)
async def test_errors_of_the_server_are_logged_without_the_path(
    http: aiohttp.ClientSession, name: str, event: str
) -> None:
    with structlog.testing.capture_logs() as lines:
        await (await http.get(f"/v1/errors/{name}?email=ann@x.example")).read()
    (line,) = [one for one in lines if one["event"] == event]
    line.pop("exc_info", None)
    assert line["operation"] == "fail"
    assert f"errors/{name}" not in str(lines), "paths have e-mail addresses"
    assert "ann@x.example" not in str(lines)


async def test_document_has_the_operations_with_their_bounds(http: aiohttp.ClientSession) -> None:
    async with http.get("/v1/openapi.json") as response:
        document = await response.json(content_type=None)
    assert document["openapi"].startswith("3.1")
    assert document["info"]["title"] == "Greetings"
    schema = document["components"]["schemas"]["Greeted"]
    assert schema["description"] == "Whom to greet."
    assert schema["additionalProperties"] is False
    name, times = schema["properties"]["name"], schema["properties"]["times"]
    assert (name["pattern"], name["description"]) == ("^[a-z0-9]+$", "the name, of letters and digits.")
    assert (times["minimum"], times["maximum"]) == (1, 5)
    OpenAPIV31SpecValidator(document).validate()
    for item in document["paths"].values():
        for operation in item.values():
            assert operation["responses"]["default"] == {"$ref": "#/components/responses/Error"}
            assert "400" not in operation["responses"], "errors have one form"


async def test_page_shows_the_operations_and_loads_nothing_from_other_sites(http: aiohttp.ClientSession) -> None:
    async with http.get("/v1/openapi.html") as response:
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        page = await response.text()
    for text in ("Greetings", "/v1/greetings", "at most 5", "schema-ProblemDetails", "&lt;b&gt;"):
        assert text in page, text
    assert not re.search(r"<script|<b>|style=|(?:src|href)=\"(?![/#])", page)
    for target in set(re.findall(r'href="#([^"]+)"', page)):
        assert f'id="{target}"' in page, target
    async with http.get(re.findall(r'stylesheet" href="([^"]+)', page)[0]) as response:
        assert (response.status, response.content_type) == (200, "text/css")


async def test_options_names_all_methods_of_a_path(http: aiohttp.ClientSession) -> None:
    async with http.options("/v1/address") as response:
        assert response.status == 204
        assert response.headers["Allow"] == "DELETE, GET, OPTIONS"


async def test_only_allowed_origins_may_read_responses(http: aiohttp.ClientSession) -> None:
    async with http.get("/v1/nothing", headers={"Origin": ORIGIN}) as response:
        assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    async with http.get("/v1/nothing", headers={"Origin": "https://evil.example"}) as response:
        assert "Access-Control-Allow-Origin" not in response.headers
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    async with http.options("/v1/greetings", headers=preflight) as response:
        assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (204, ORIGIN)
    async with http.options("/v1/greetings", headers={**preflight, "Origin": "https://evil.example"}) as response:
        assert (await problem(response))["code"] == "FORBIDDEN"
        assert "Access-Control-Allow-Origin" not in response.headers


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


@pytest.mark.parametrize(("sent", "is_kept"), [("abc-1.2:3", True), ("", False), ("a b", False), ("x" * 65, False)])
async def test_request_id_of_the_client_is_kept_if_it_is_well_formed(
    http: aiohttp.ClientSession, sent: str, is_kept: bool
) -> None:
    async with http.get("/v1/nothing", headers={"X-Request-ID": sent}) as response:
        found = await problem(response)
        returned = response.headers["X-Request-ID"]
    assert found["request_id"] == returned
    assert (returned == sent) == is_kept
    assert re.fullmatch(r"[A-Za-z0-9_.:=-]{1,64}", returned)


async def test_each_request_is_one_line_without_path_query_and_body(
    http: aiohttp.ClientSession, greeter: Greeter
) -> None:
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        headers = {"X-Request-ID": "r-1", "X-Forwarded-For": "203.0.113.9"}
        async with http.post("/v1/greetings?token=hunter2", json={"name": "hunter3"}, headers=headers) as response:
            assert response.status == 200
        async with http.get("/v1/nothing/hunter4") as response:
            assert response.status == 404
        await eventually(lambda: len(greeter.observed) == 2)
    done = [line for line in lines if line["event"] == "http_request_completed"]
    assert [(line["operation"], line["http_status"]) for line in done] == [("greet", 200), ("unknown", 404)]
    assert (done[0]["request_id"], done[0]["address"]) == ("r-1", "203.0.113.9")
    assert "hunter" not in str(lines)
    assert greeter.observed == [("greet", 200), ("unknown", 404)]


async def test_client_that_leaves_within_its_body_is_no_failure_of_the_server(
    server: HttpServer, greeter: Greeter
) -> None:
    with structlog.testing.capture_logs() as lines:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(POST + b"Content-Length: 10\r\n\r\n{")
        await writer.drain()
        writer.transport.abort()
        await eventually(lambda: greeter.observed)
    assert greeter.observed == [("greet", 400)]
    assert [line["log_level"] for line in lines] == ["info"]


async def test_each_request_is_a_span_with_its_operation(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(traces, "_tracer", provider.get_tracer("test"))
    async with http.get("/v1/nothing", headers={"X-Request-ID": "r-1"}):
        pass
    async with http.get("/v1/address"):
        pass
    await eventually(lambda: len(exporter.get_finished_spans()) == 2)
    first, second = (dict(span.attributes or {}) for span in exporter.get_finished_spans())
    assert first == {
        "tickwire.http_method": "GET",
        "tickwire.request_id": "r-1",
        "tickwire.operation": "unknown",
        "tickwire.http_status": 404,
    }
    assert second["tickwire.operation"] == "show_address"


async def test_handlers_receive_the_address_that_a_trusted_proxy_reports(http: aiohttp.ClientSession) -> None:
    async with http.get("/v1/address", headers={"X-Forwarded-For": "10.1.1.1, 203.0.113.9"}) as response:
        assert await response.json() == {"address": "203.0.113.9"}


async def test_request_that_takes_too_long_is_ended(hasty: Greeter, http: aiohttp.ClientSession) -> None:
    async with http.get("/v1/slow") as response:
        found = await problem(response)
    assert (found["status"], found["code"]) == (503, "UNAVAILABLE")


async def exchange(server: HttpServer, *parts: bytes) -> bytes:
    """Send the parts one after the other, and return all that the server sends until it closes the connection."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
            return await reader.read()
        finally:
            writer.transport.abort()


POST = b"POST /v1/greetings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ((b"\x16\x03\x01 no HTTP\r\n\r\n",), 400),
        ((b"GET /v1/server HTTP/1.1\r\nHost: x\r\nA: " + b"x" * HEAD_BYTES_MAX + b"\r\n\r\n",), 431),
        ((b"GET /v1/server HTTP/1.1\r\nHost: x\r\nA: ", *[b"x" * 4000] * 6), 431),
        ((b"GET /" + b"x" * HEAD_BYTES_MAX + b" HTTP/1.1\r\nHost: x\r\n\r\n",), 431),
        ((b"GET / HTTP/1.1\r\n" + b"A: x\r\n" * 6000 + b"\r\n",), 431),
    ],
)
async def test_requests_that_are_not_http_or_too_large_are_refused(
    server: HttpServer, parts: tuple[bytes, ...], status: int
) -> None:
    answer = await exchange(server, *parts)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"application/problem+json" in answer


async def test_requests_of_one_connection_and_heads_in_parts_are_not_counted_together(server: HttpServer) -> None:
    filler = b"A: " + b"x" * 3000 + b"\r\n"
    request = b"GET /v1/address HTTP/1.1\r\nHost: x\r\n" + filler + b"\r\n"
    last = b"GET /v1/address HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for _ in range(2 * HEAD_BYTES_MAX // len(request)):
            writer.write(request)
            assert b" 200 " in await reader.readline()
            while await reader.readline() != b"\r\n":
                pass
            await reader.readexactly(len(b'{"address":"127.0.0.1"}'))
        for part in (last, filler, filler, filler, filler, b"\r\n"):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01)  # so that the parts arrive one by one; the test passes without it, too
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.transport.abort()


@pytest.mark.parametrize(
    "parts",
    [
        (b"",),
        (b"GET /v1/server HT",),
        (POST + b"Content-Length: 10\r\n\r\n{",),
        (POST + b"Content-Length: 14\r\n\r\n" + b'{"name":"ann"}' + b"GET /",),
    ],
)
async def test_client_that_does_not_finish_its_request_is_disconnected(
    hasty: Greeter, server: HttpServer, parts: tuple[bytes, ...]
) -> None:
    answer = await exchange(server, *parts)
    assert b"HTTP/1.1 408 " in answer
    assert b"application/problem+json" in answer


async def test_requests_beyond_the_most_connections_are_refused(
    server: HttpServer, http: aiohttp.ClientSession, greeter: Greeter
) -> None:
    held = [asyncio.create_task(http.get("/v1/slow")) for _ in range(CONNECTIONS_MAX)]
    await eventually(lambda: greeter.waiting == CONNECTIONS_MAX)
    async with http.get("/v1/address") as response:
        assert (await problem(response))["code"] == "UNAVAILABLE"
    greeter.release.set()
    for request in held:
        async with await request as response:
            assert response.status == 200
    async with http.get("/v1/address") as response:
        assert response.status == 200
