"""Rate limits over HTTP, with buckets in a real Redis. Each server stands for one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from litestar import get
from structlog.testing import capture_logs

from tests.harness.polling import eventually
from tests.harness.redis_process import RedisProcess
from tickwire.matchmaking.redis_connection import RedisConnection
from tickwire.matchmaking.token_buckets import BucketLimit, SharedTokenBuckets
from tickwire.server.http.application import HttpOptions, HttpRoutes, create_application
from tickwire.server.http.http_server import HttpServer
from tickwire.server.http.rate_limits import (
    LOCAL_S,
    FallbackTokenBuckets,
    LimitRules,
    RateLimitMiddleware,
    address_identity,
    limited,
    parse_limit,
)

ADDRESS = BucketLimit("address", 6, 3600.0)
PLAYER = BucketLimit("player", 4, 3600.0)
Limit = BucketLimit | None


@get("/v1/things")
async def list_things() -> list[str]:
    return []


@get("/v1/rare", opt=limited("2/3600s"))
async def get_rare() -> str:
    return "rare"


def header(name: bytes) -> Any:
    return lambda scope: dict(scope["headers"]).get(name, b"").decode()


class LimitedProcess:
    """A server, and the client of the test."""

    def __init__(
        self, url: str, namespace: str, *, address: Limit, player: Limit, operations: dict[str, Limit]
    ) -> None:
        self.connection = RedisConnection.from_url(url, deadline_s=5.0)
        self.shared = SharedTokenBuckets(self.connection, namespace)
        self.buckets = FallbackTokenBuckets(self.shared)
        of_address, of_player = header(b"x-address"), header(b"x-player")
        rules = (
            LimitRules(
                identity=lambda scope: f"a:{of_address(scope)}",
                limit=address,
                counts_operation=lambda scope: not of_player(scope),
                operations=operations,
            ),
            LimitRules(identity=of_player, limit=player, operations=operations),
        )
        self.middleware = [RateLimitMiddleware(one, self.buckets) for one in rules]
        options = HttpOptions(title="Things", middleware=self.middleware)
        app = create_application(options, [HttpRoutes(handlers=[list_things, get_rare])])
        self.server = HttpServer(app, section="api")
        self.session = aiohttp.ClientSession()

    async def start(self) -> LimitedProcess:
        await self.server.start("127.0.0.1", 0)
        return self

    async def aclose(self) -> None:
        await self.session.close()
        await self.server.stop()
        await self.shared.aclose()
        await self.connection.aclose()

    @property
    def refusals(self) -> dict[str, int]:
        return dict(self.middleware[0].refusals + self.middleware[1].refusals)

    async def call(self, path: str = "/v1/things", **identity: str) -> tuple[int, dict[str, str], Any]:
        sent = {f"X-{name.capitalize()}": value for name, value in ({"address": "10.0.0.1"} | identity).items()}
        url = f"http://127.0.0.1:{self.server.port}{path}"
        async with self.session.get(url, headers=sent) as response:
            body = await response.json(content_type=None) if response.status != 200 else None
            return response.status, {name.lower(): value for name, value in response.headers.items()}, body


class LimitedFleet:
    def __init__(self, url: str, namespace: str) -> None:
        self.url, self.namespace = url, namespace
        self.processes: list[LimitedProcess] = []

    async def start(self, **limits: Any) -> LimitedProcess:
        used = {"address": ADDRESS, "player": PLAYER, "operations": {}} | limits
        self.processes.append(await LimitedProcess(self.url, self.namespace, **used).start())
        return self.processes[-1]

    async def aclose(self) -> None:
        for process in self.processes:
            await process.aclose()


@pytest.fixture
async def fleet(redis_url: str, redis_namespace: str) -> AsyncIterator[LimitedFleet]:
    made = LimitedFleet(redis_url, redis_namespace)
    yield made
    await made.aclose()


async def test_processes_share_the_limit_of_an_address(fleet: LimitedFleet) -> None:
    first, second = await fleet.start(), await fleet.start()
    calls = [await process.call() for process in (first, second) * 4]
    assert [status for status, _, _ in calls] == [200] * 6 + [429] * 2
    _, headers, problem = calls[-1]
    assert problem["code"] == "RATE_LIMITED"
    assert "limit address" in problem["detail"]
    assert headers["content-type"] == "application/problem+json"
    assert 500 < int(headers["retry-after"]) <= 600
    assert headers["ratelimit-policy"] == '"address";q=6;w=3600'
    assert headers["ratelimit"] == f'"address";r=0;t={headers["retry-after"]}', "the same time as Retry-After"
    assert (await first.call(address="10.0.0.2"))[0] == 200
    assert [first.refusals, second.refusals] == [{"address": 1}, {"address": 1}]


async def test_headers_describe_every_bucket_of_a_request(fleet: LimitedFleet) -> None:
    process = await fleet.start()
    status, headers, _ = await process.call("/v1/rare", player="p-ann")
    assert status == 200
    policies = '"address";q=6;w=3600, "player";q=4;w=3600, "get_rare";q=2;w=3600'
    assert headers["ratelimit-policy"] == policies
    assert headers["ratelimit"] == '"address";r=5;t=600, "player";r=3;t=900, "get_rare";r=1;t=1800'


async def test_player_has_one_limit_over_all_addresses(fleet: LimitedFleet) -> None:
    process = await fleet.start()
    calls = [await process.call(player="p-ann", address=f"10.0.1.{at}") for at in range(6)]
    assert [status for status, _, _ in calls] == [200] * 4 + [429] * 2
    assert (await process.call(player="p-bob"))[0] == 200


async def test_operation_has_a_limit_of_its_own_by_player_or_address(fleet: LimitedFleet) -> None:
    process = await fleet.start(address=None, player=None)
    for identity in ({"player": "p-ann"}, {"player": "p-bob"}, {"address": "10.0.0.7"}, {"address": "10.0.0.8"}):
        assert [(await process.call("/v1/rare", **identity))[0] for _ in range(3)] == [200, 200, 429]
    assert (await process.call(player="p-ann"))[0] == 200
    assert process.refusals == {"get_rare": 4}


async def test_settings_replace_the_limit_of_an_operation(fleet: LimitedFleet) -> None:
    process = await fleet.start(operations={"get_rare": parse_limit("get_rare", "1/60s"), "list_things": None})
    assert [(await process.call("/v1/rare"))[0] for _ in range(2)] == [200, 429]
    process = await fleet.start(operations={"get_rare": None}, address=None)
    status, headers, _ = await process.call("/v1/rare")
    assert status == 200
    assert "ratelimit" not in headers, "no limit applies"


def events(logs: Sequence[MutableMapping[str, Any]]) -> list[str]:
    return [one["event"] for one in logs if "rate_limits" in one["event"]]


async def test_process_has_limits_of_its_own_while_redis_is_away(tmp_path: Path, redis_namespace: str) -> None:
    redis = RedisProcess(tmp_path / "redis")
    await redis.start()
    fleet = LimitedFleet(redis.url, redis_namespace)
    process = await fleet.start()
    assert (await process.call())[0] == 200
    await asyncio.to_thread(redis.stop)
    with capture_logs() as logs:
        calls = [(await process.call())[0] for _ in range(8)]
        assert calls == [200] * 6 + [429] * 2, "a full bucket in the process"
        assert process.buckets.fallbacks == 8
        assert events(logs) == ["shared_rate_limits_unavailable"], "logged once"
        await asyncio.sleep(LOCAL_S)
        assert (await process.call())[0] == 429
        assert len(events(logs)) == 1, "still away: not logged again"
        await redis.start()

        async def is_shared() -> bool:
            return (await process.call())[0] == 200

        await eventually(is_shared)
        assert events(logs)[-1] == "shared_rate_limits_restored"
    await fleet.aclose()
    await asyncio.to_thread(redis.stop)


async def test_redis_that_hangs_delays_one_request_and_not_each(tmp_path: Path, redis_namespace: str) -> None:
    redis = RedisProcess(tmp_path / "redis")
    await redis.start()
    fleet = LimitedFleet(redis.url, redis_namespace)
    process = await fleet.start()
    assert (await process.call())[0] == 200
    redis.pause()
    try:
        assert (await process.call())[0] == 200
        async with asyncio.timeout(LOCAL_S * 0.9):
            assert [(await process.call())[0] for _ in range(5)] == [200] * 5
        assert process.buckets.fallbacks == 6
    finally:
        redis.wake()
    await fleet.aclose()
    await asyncio.to_thread(redis.stop)


@pytest.mark.parametrize(
    ("address", "identity"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "unknown"),
        ("nowhere", "unknown"),
    ],
)
def test_addresses_of_one_client_share_a_bucket(address: str, identity: str) -> None:
    assert address_identity(address) == identity


def test_limits_are_parsed() -> None:
    assert parse_limit("x", "10/60s") == BucketLimit("x", 10, 60.0)
    assert parse_limit("x", "") is None
    for text in ("10", "0/60s", "10/0s", "10/60", "-1/60s", "10/60s ", "10/999999s", "1e3/60s", "99999999/60s"):
        with pytest.raises(ValueError, match="must be REQUESTS/SECONDSs"):
            parse_limit("x", text)
