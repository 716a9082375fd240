"""The operations port over a real socket: probes and scrapes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tickwire.server.admin.http_server import OperationsServer
from tickwire.server.errors import ConfigError
from tickwire.server.observability.health import Health
from tickwire.server.observability.metrics import Metrics


@pytest.fixture
async def health() -> Health:
    return Health()


@pytest.fixture
async def server(health: Health) -> AsyncIterator[OperationsServer]:
    server = OperationsServer(Metrics("1.2.3").render, health)
    await server.start("127.0.0.1", 0)
    yield server
    await server.stop()


@pytest.fixture
async def http(server: OperationsServer) -> AsyncIterator[aiohttp.ClientSession]:
    base, limit = f"http://127.0.0.1:{server.port}", aiohttp.ClientTimeout(total=5)
    async with aiohttp.ClientSession(base, timeout=limit) as session:
        yield session


async def test_readiness_is_503_with_all_reasons_until_they_are_cleared(
    http: aiohttp.ClientSession, health: Health
) -> None:
    health.block("redis", "Redis does not answer")
    async with http.get("/readyz") as answer:
        assert answer.status == 503
        reasons = {"starting": "the shard is starting", "redis": "Redis does not answer"}
        assert await answer.json() == {"ready": False, "reasons": reasons}
    health.clear("starting")
    health.clear("redis")
    async with http.get("/readyz") as answer:
        assert (answer.status, await answer.json()) == (200, {"ready": True, "reasons": {}})


async def test_readiness_excludes_a_store_that_has_answered_before(
    http: aiohttp.ClientSession, health: Health
) -> None:
    health.block("mongo", "MongoDB has not answered yet")
    health.clear("starting")
    async with http.get("/readyz?exclude=redis&exclude=mongo") as answer:
        assert answer.status == 503, "the store has not answered yet"
    health.clear("mongo")
    health.block("mongo", "MongoDB does not answer")
    async with http.get("/readyz?exclude=redis&exclude=mongo") as answer:
        assert answer.status == 200
        assert await answer.json() == {"ready": True, "reasons": {}, "excluded": {"mongo": "MongoDB does not answer"}}
    async with http.get("/readyz?exclude=redis") as answer:
        assert answer.status == 503
    async with http.get("/readyz") as answer:
        assert answer.status == 503


async def test_draining_or_failed_shard_is_not_ready_despite_exclusions(
    http: aiohttp.ClientSession, health: Health
) -> None:
    health.clear("starting")
    health.block("draining", "the shard drains")
    async with http.get("/readyz?exclude=draining&exclude=mongo") as answer:
        assert answer.status == 503
    health.clear("redis")
    health.fail("redis", "its task has failed")
    async with http.get("/readyz?exclude=redis&exclude=draining") as answer:
        assert answer.status == 503
        assert set((await answer.json())["reasons"]) == {"draining", "redis"}


async def test_shard_that_is_not_ready_is_alive(http: aiohttp.ClientSession) -> None:
    async with http.get("/livez") as answer:
        assert answer.status == 200


async def test_scrape_returns_prometheus_text_with_the_build(http: aiohttp.ClientSession) -> None:
    async with http.get("/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        assert 'tickwire_build_info{version="1.2.3"} 1.0' in await answer.text()


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/", 404), ("POST", "/metrics", 405)])
async def test_other_paths_are_404(http: aiohttp.ClientSession, method: str, path: str, status: int) -> None:
    async with http.request(method, path) as answer:
        assert answer.status == status


async def test_port_in_use_is_reported_in_one_sentence(server: OperationsServer) -> None:
    second = OperationsServer(lambda: b"", Health())
    with pytest.raises(ConfigError, match=f"operations.port: {server.port} on 127.0.0.1 is in use") as raised:
        await second.start("127.0.0.1", server.port)
    assert "\n" not in str(raised.value)
    await second.stop()


async def test_stopped_server_does_not_answer_and_stop_is_idempotent() -> None:
    server = OperationsServer(lambda: b"", Health())
    await server.start("127.0.0.1", 0)
    await server.stop()
    await server.stop()
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"http://127.0.0.1:{server.port}/livez")


@pytest.fixture
async def console(health: Health, tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    (tmp_path / "index.html").write_text("<p>hello")
    server = OperationsServer(Metrics("1").render, health, console=str(tmp_path))
    await server.start("127.0.0.1", 0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
        yield session
    await server.stop()


@pytest.mark.parametrize(
    "path", ["/console/", "/console/index.html", "/console", "/console/none", "/metrics", "/readyz", "/x"]
)
async def test_every_response_has_security_headers(console: aiohttp.ClientSession, path: str) -> None:
    async with console.get(path, allow_redirects=False) as answer:
        headers = answer.headers
        policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["object-src"] == policy["base-uri"] == "'none'"
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == ("no-cache" if path.startswith("/console") else "no-store")
        assert "Server" not in headers, "versions are not disclosed"
