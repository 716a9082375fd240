"""`tickwire api` as a process, on real stores: it answers, reports its readiness, and drains."""

from __future__ import annotations

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
    assert scrape(api.operations_port)["tickwire_ready"] == 1
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
