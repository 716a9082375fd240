"""A shard that loses one of its own tasks is not alive any more, so that it is restarted."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from typing import Any

import msgspec
import pytest

from tests.harness.polling import eventually
from tests.harness.shard_process import readiness, running
from tickwire.server.config import Settings
from tickwire.server.shard import Shard


def liveness(port: int) -> int:
    """Return the status of /livez."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def tasks_of(shard: Shard) -> list[asyncio.Task[Any]]:
    """Return every background task that the shard itself owns."""
    assert shard.parts.edge._sweep_task is not None
    return [*shard._tasks, shard.parts.edge._sweep_task]


async def test_liveness_fails_when_any_task_of_the_shard_ends(shard_settings: Settings) -> None:
    failed = asyncio.Event()
    shard = Shard(shard_settings, on_failed=failed.set)
    await shard.start()
    try:
        names = [task.get_name() for task in tasks_of(shard)]
        assert await asyncio.to_thread(liveness, shard.parts.operations.port) == 200
        for count, task in enumerate(tasks_of(shard), 1):
            task.cancel()
            await eventually(lambda count=count: len(shard.parts.health.failures) == count, what=task.get_name())
        assert list(shard.parts.health.failures) == names
        assert failed.is_set()
        assert await asyncio.to_thread(liveness, shard.parts.operations.port) == 503
        status, body = await asyncio.to_thread(readiness, shard.parts.operations.port)
        assert status == 503
        assert set(names) <= set(body["reasons"])
    finally:
        await shard.stop()


async def test_liveness_fails_after_a_fault_in_the_upkeep(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a fault of the shard")

    monkeypatch.setattr(shard.parts.tick_load, "measure", broken)
    await eventually(lambda: not shard.parts.health.is_alive)
    assert shard.parts.health.failures == {"upkeep": "its task has failed: restart this shard"}


async def test_shard_without_matchmaking_modes_stays_alive(shard_settings: Settings) -> None:
    async with running(msgspec.structs.replace(shard_settings, rooms=["tickwire.examples.market"])) as shard:
        assert not shard.parts.queues.modes
        assert shard.parts.health.is_alive


async def test_orderly_stop_is_not_a_failure(shard_settings: Settings) -> None:
    shard = Shard(shard_settings)
    await shard.start()
    await shard.stop()
    await asyncio.sleep(0)
    assert shard.parts.health.is_alive
