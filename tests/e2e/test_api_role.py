"""`tickwire api` as a process, on real stores: it answers, reports its readiness, and drains."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.harness.api_process import ApiProcess
from tests.harness.polling import eventually
from tests.harness.shard_process import readiness, scrape
from tickwire.server.config import Settings


@pytest.fixture
async def api(shard_settings: Settings, tmp_path: Path) -> AsyncIterator[ApiProcess]:
    made = ApiProcess(shard_settings, tmp_path, {"TICKWIRE__API__PLAYER_URL": "wss://play.game.example"})
    try:
        await made.ready()
        yield made
    finally:
        made.stop()


async def test_role_answers_and_stops_in_order(api: ApiProcess) -> None:
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session,
        session.get(f"{api.url}/v1/server") as response,
    ):
        assert response.status == 200
        assert (await response.json())["player_url"] == "wss://play.game.example"
    metrics = scrape(api.operations_port)
    assert metrics["tickwire_api_ready"] == 1
    assert math.isnan(metrics["tickwire_ready"]), "alerts on shards do not count it"
    assert api.stop() == 0
    assert "api_stopped" in api.log.read_text()


async def test_role_is_not_ready_while_a_store_does_not_answer(shard_settings: Settings, tmp_path: Path) -> None:
    made = ApiProcess(shard_settings, tmp_path, {"TICKWIRE__REDIS__URL": "redis://127.0.0.1:1/0"})
    try:
        await eventually(lambda: "redis_unavailable" in made.log.read_text(), 60)

        def reasons() -> set[str]:
            return set(readiness(made.operations_port)[1]["reasons"])

        await eventually(lambda: reasons() == {"redis"}, 60, "MongoDB answers, Redis does not")
        assert readiness(made.operations_port)[0] == 503
    finally:
        assert made.stop() == 0


async def test_processes_of_the_role_share_a_limit_and_see_through_trusted_proxies(
    shard_settings: Settings, tmp_path: Path
) -> None:
    environ = {"TICKWIRE__API__ADDRESS_LIMIT": "3/3600s", "TICKWIRE__API__TRUSTED_PROXIES": "127.0.0.1"}
    processes = [ApiProcess(shard_settings, tmp_path, environ) for _ in range(2)]
    try:
        for process in processes:
            await process.ready()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:

            async def call(at: int, address: str) -> tuple[int, str]:
                headers = {"X-Forwarded-For": f"6.6.6.{at}, {address}"}
                async with session.get(f"{processes[at % 2].url}/v1/server", headers=headers) as response:
                    return response.status, response.headers["RateLimit-Policy"]

            calls = [await call(at, "10.1.1.1") for at in range(5)]
            assert [status for status, _ in calls] == [200, 200, 200, 429, 429]
            assert {policy for _, policy in calls} == {'"address";q=3;w=3600'}
            assert (await call(5, "10.1.1.2"))[0] == 200
        for process in processes:
            refused = scrape(process.operations_port)['tickwire_rate_limited_requests_total{limit="address"}']
            assert refused == 1
    finally:
        assert [process.stop() for process in processes] == [0, 0]
