"""Idempotency-Key over HTTP, with stored answers in a real MongoDB. Each server stands for one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import structlog
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.types import Scope

from tests.harness.polling import eventually
from tickwire.server.errors import Conflict, Malformed, RateLimited, Unavailable
from tickwire.server.http.application import HttpOptions, HttpRoutes, create_application
from tickwire.server.http.http_server import HttpServer
from tickwire.server.http.idempotency import (
    IDEMPOTENCY_KEY_REQUIRED,
    IDEMPOTENT,
    IdempotencyMiddleware,
    find_key,
)
from tickwire.server.idempotent_request import ANSWER_BYTES_MAX
from tickwire.server.storage import CallSettings, MongoStore, StoredRequests, migrate
from tickwire.server.storage.idempotent_requests import LEASE_S

AnyRequest = Request[Any, Any, Any]


class GiftShop:
    """Counts the runs of its operations; the next one fails or waits as a test says."""

    def __init__(self) -> None:
        self.runs = 0
        self.keys: list[str] = []
        self.next: list[Exception | asyncio.Event] = []
        self.started = asyncio.Event()


@post("/v1/gifts", opt=IDEMPOTENT, status_code=201)
async def create_gift(
    request: AnyRequest, shop: NamedDependency[GiftShop], operation_key: NamedDependency[str]
) -> Any:
    shop.runs += 1
    shop.keys.append(operation_key)
    await request.body()
    if shop.next:
        step = shop.next.pop(0)
        if isinstance(step, Exception):
            raise step
        shop.started.set()
        await step.wait()
    return Response({"gift": shop.runs}, headers={"Location": f"/v1/gifts/{shop.runs}", "X-Run": str(shop.runs)})


@post("/v1/purchases", opt=IDEMPOTENCY_KEY_REQUIRED)
async def create_purchase(shop: NamedDependency[GiftShop]) -> dict[str, int]:
    shop.runs += 1
    return {"purchase": shop.runs}


@post("/v1/tokens")
async def create_token(shop: NamedDependency[GiftShop]) -> dict[str, int]:
    shop.runs += 1
    return {"token": shop.runs}


@get("/v1/long", opt=IDEMPOTENT)
async def get_long(shop: NamedDependency[GiftShop]) -> Response[bytes]:
    shop.runs += 1
    return Response(b"x" * (ANSWER_BYTES_MAX + 1))


def caller(scope: Scope) -> str:
    return dict(scope["headers"]).get(b"x-player", b"").decode()


class ShopProcesses:
    """Servers of one shop on one database."""

    def __init__(self, url: str, database: str) -> None:
        self.shop = GiftShop()
        self._url, self._database = url, database
        self._closing: list[Any] = []
        self.session = aiohttp.ClientSession()

    async def start(self, deadline_s: float = 5.0, operation_s: float = 10.0) -> ShopProcess:
        store = MongoStore(self._url, self._database, calls=CallSettings(deadline_s))
        requests = StoredRequests(store.database, store.calls)
        middleware = IdempotencyMiddleware(requests, caller=caller, operation_s=operation_s)
        options = HttpOptions(title="Shop", middleware=[middleware])
        handlers = [create_gift, create_purchase, create_token, get_long]
        server = HttpServer(
            create_application(options, [HttpRoutes(handlers=handlers, dependencies={"shop": self.shop})]),
            section="api",
        )
        await server.start("127.0.0.1", 0)
        self._closing += [server, store]
        return ShopProcess(f"http://127.0.0.1:{server.port}", self.session, middleware)

    async def aclose(self) -> None:
        await self.session.close()
        for one in self._closing:
            if isinstance(one, HttpServer):
                await one.stop()
            else:
                one.close()


class ShopProcess:
    def __init__(self, url: str, session: aiohttp.ClientSession, middleware: IdempotencyMiddleware) -> None:
        self.url, self.session, self.middleware = url, session, middleware

    async def call(
        self, path: str = "/v1/gifts", key: str | None = "k-1", body: bytes = b'{"to": "bob"}', player: str = "p-ann"
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        headers = {"X-Player": player, "Content-Type": "application/json"}
        headers |= {} if key is None else {"Idempotency-Key": key}
        method = "GET" if path == "/v1/long" else "POST"
        async with self.session.request(method, self.url + path, data=body, headers=headers) as response:
            data = await response.read()
            found = await response.json(content_type=None) if data[:1] == b"{" else {"bytes": len(data)}
            return response.status, found, {name.lower(): value for name, value in response.headers.items()}


@pytest.fixture
async def processes(mongo_url: str, mongo_database: str) -> AsyncIterator[ShopProcesses]:
    store = MongoStore(mongo_url, mongo_database)
    await migrate(store.database, store.calls)
    store.close()
    made = ShopProcesses(mongo_url, mongo_database)
    yield made
    await made.aclose()


async def test_repeated_request_receives_the_stored_answer_from_any_process(processes: ShopProcesses) -> None:
    first, second = await processes.start(), await processes.start()
    status, body, headers = await first.call()
    assert (status, body, headers["location"]) == (201, {"gift": 1}, "/v1/gifts/1")
    assert "idempotent-replayed" not in headers
    for process in (first, second):
        status, body, headers = await process.call()
        assert (status, body, headers["location"]) == (201, {"gift": 1}, "/v1/gifts/1")
        assert headers["content-type"] == "application/json"
        assert headers["idempotent-replayed"] == "true"
        assert "x-run" not in headers, "only headers that describe the answer"
    assert processes.shop.runs == 1
    assert second.middleware.results == {"replayed": 1}


async def test_quoted_and_bare_keys_are_the_same(processes: ShopProcesses) -> None:
    process = await processes.start()
    for key in ("k-1", '"k-1"', " k-1 "):
        assert (await process.call(key=key))[1] == {"gift": 1}


async def test_requests_without_a_key_run_each_time(processes: ShopProcesses) -> None:
    process = await processes.start()
    assert [(await process.call(key=None))[1]["gift"] for _ in range(2)] == [1, 2]
    assert len(set(processes.shop.keys)) == 2, "each has an operation key of its own"


async def test_callers_and_operations_have_keys_of_their_own(processes: ShopProcesses) -> None:
    process = await processes.start()
    assert (await process.call())[1] == {"gift": 1}
    assert (await process.call(player="p-bob"))[1] == {"gift": 2}
    assert (await process.call("/v1/purchases"))[1] == {"purchase": 3}
    assert (await process.call(player=""))[1] == {"gift": 4}, "without a caller no answer is stored"
    assert (await process.call(player=""))[1] == {"gift": 5}


async def test_operation_that_has_not_opted_in_stores_nothing(processes: ShopProcesses, mongo_url: str) -> None:
    process = await processes.start()
    assert [(await process.call("/v1/tokens"))[1]["token"] for _ in range(2)] == [1, 2]


async def test_concurrent_request_is_refused_until_the_first_one_ends(processes: ShopProcesses) -> None:
    first, second = await processes.start(), await processes.start()
    release = asyncio.Event()
    processes.shop.next.append(release)
    running = asyncio.create_task(first.call())
    await processes.shop.started.wait()
    status, body, headers = await second.call()
    assert (status, body["code"]) == (409, "REQUEST_IN_PROGRESS")
    assert 0 < int(headers["retry-after"]) <= LEASE_S
    release.set()
    assert (await running)[1] == {"gift": 1}
    assert (await second.call())[1] == {"gift": 1}
    assert processes.shop.runs == 1


async def test_operation_that_takes_too_long_ends_before_its_lease(processes: ShopProcesses) -> None:
    process = await processes.start(operation_s=0.2)
    processes.shop.next.append(asyncio.Event())
    status, problem, headers = await process.call()
    assert (status, problem["code"]) == (503, "UNAVAILABLE")
    assert int(headers["retry-after"]) >= 1
    assert (await process.call())[0] == 409, "its write may still be under way: the lease protects it"


async def test_key_of_another_request_is_refused(processes: ShopProcesses) -> None:
    process = await processes.start()
    await process.call()
    for path, body in (("/v1/gifts", b'{"to": "eve"}'), ("/v1/gifts?x=1", b'{"to": "bob"}')):
        status, problem, _ = await process.call(path, body=body)
        assert (status, problem["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert processes.shop.runs == 1


@pytest.mark.parametrize(
    ("error", "status", "is_stored"),
    [
        (Conflict("the gift is gone"), 409, True),
        (Malformed("no"), 400, False),
        (RateLimited("slower", retry_after_ms=10), 429, False),
        (Unavailable("later"), 503, False),
        (ZeroDivisionError(), 500, False),
    ],
)
async def test_only_decisions_are_stored(
    processes: ShopProcesses, error: Exception, status: int, is_stored: bool
) -> None:
    process = await processes.start()
    processes.shop.next.append(error)
    assert (await process.call())[0] == status
    assert (await process.call())[0] == (status if is_stored else 201)
    assert len(set(processes.shop.keys)) == 1, "each attempt has the same operation key"
    assert processes.shop.runs == (1 if is_stored else 2)


async def test_required_key_is_required(processes: ShopProcesses) -> None:
    process = await processes.start()
    status, problem, _ = await process.call("/v1/purchases", key=None)
    assert (status, problem["code"]) == (400, "MALFORMED")
    assert "Idempotency-Key" in problem["detail"]
    assert processes.shop.runs == 0


@pytest.mark.parametrize("key", ["", "x" * 256, "two words", '"open', '"a"b"', "\u00fcber", '"' + "x" * 256 + '"'])
async def test_invalid_key_is_refused(processes: ShopProcesses, key: str) -> None:
    process = await processes.start()
    status, problem, _ = await process.call(key=key)
    assert status == 400, problem
    assert processes.shop.runs == 0


async def test_long_answer_is_sent_and_not_stored(processes: ShopProcesses) -> None:
    process = await processes.start()
    for _ in range(2):
        assert (await process.call("/v1/long"))[1] == {"bytes": ANSWER_BYTES_MAX + 1}
    assert processes.shop.runs == 2


async def test_request_with_a_key_waits_for_the_store(processes: ShopProcesses) -> None:
    broken = ShopProcesses("mongodb://127.0.0.1:1/?replicaSet=rs0", "none")
    process = await broken.start(deadline_s=0.2)
    assert (await process.call())[0] == 503
    assert broken.shop.runs == 0
    assert (await process.call(key=None))[0] == 201
    await broken.aclose()


def test_key_is_found_once() -> None:
    def scope(*values: bytes) -> Any:
        return {"headers": [(b"idempotency-key", value) for value in values]}

    assert find_key(scope()) is None
    assert find_key(scope(b'"a\\"b\\\\c d"')) == 'a"b\\c d'
    assert find_key(scope(b"x" * 255)) == "x" * 255
    with pytest.raises(Malformed):
        find_key(scope(b"a", b"a"))


async def test_client_that_leaves_within_its_body_is_no_failure_of_the_server(processes: ShopProcesses) -> None:
    process = await processes.start()
    head = b"POST /v1/gifts HTTP/1.1\r\nHost: x\r\nX-Player: p-ann\r\nIdempotency-Key: k-1\r\n"
    with structlog.testing.capture_logs() as lines:
        _, writer = await asyncio.open_connection("127.0.0.1", int(process.url.rpartition(":")[2]))
        writer.write(head + b"Content-Length: 10\r\n\r\n{")
        await writer.drain()
        writer.transport.abort()
        await eventually(lambda: lines)
    assert [(line["event"], line["http_status"]) for line in lines] == [("http_request_completed", 400)]
    assert (processes.shop.runs, process.middleware.results) == (0, {})
