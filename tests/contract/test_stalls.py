"""A shard whose event loop stalls does not conclude that a healthy Redis or MongoDB does not answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.redis_process import RedisProcess
from tickwire.matchmaking import Matchmaker, MatchmakerUnavailable, ShardInfo
from tickwire.matchmaking.loop_timeout import LoopTimeout
from tickwire.server.storage import CallSettings, MongoStore

DEADLINE_S = 0.05
STALL_S = 0.1
"""Longer than the deadline: a plain timeout expires in the first turn of the loop."""


@contextmanager
def stalled_loop(stall_s: float = STALL_S) -> Iterator[None]:
    """Block the event loop in each of its turns."""
    loop, is_over = asyncio.get_running_loop(), False

    def block() -> None:
        if not is_over:
            time.sleep(stall_s)
            loop.call_soon(block)

    loop.call_soon(block)
    try:
        yield
    finally:
        is_over = True


@pytest.mark.parametrize("is_connected", [True, False])
async def test_calls_to_redis_are_answered_while_the_loop_stalls(
    redis_url: str, redis_namespace: str, is_connected: bool
) -> None:
    matchmaker = Matchmaker.from_url(redis_url, namespace=redis_namespace, deadline_s=DEADLINE_S)
    if is_connected:
        await matchmaker.ping()
    with stalled_loop():
        await matchmaker.directory.register(ShardInfo("a", "ws://a", "1", room_types=("duel",)))
        assert (await matchmaker.directory.heartbeat("a", load=0.1, players=0, rooms=0)).is_known
        await matchmaker.ping()
    assert matchmaker.scripts.counters.failures.total() == 0
    await matchmaker.aclose()


async def test_calls_to_mongodb_are_answered_while_the_loop_stalls(mongo_url: str, mongo_database: str) -> None:
    store = MongoStore(mongo_url, mongo_database, calls=CallSettings(timeout=LoopTimeout))
    await store.check()
    store.calls.call_s_max = DEADLINE_S
    with stalled_loop():
        await store.check()
        store.calls.write_error = "so that the next check writes"
        await store.check()
    store.close()


async def test_a_redis_that_does_not_answer_is_noticed_while_the_loop_stalls(tmp_path: Path) -> None:
    redis = RedisProcess(tmp_path / "redis")
    await redis.start()
    matchmaker = Matchmaker.from_url(redis.url, deadline_s=DEADLINE_S)
    try:
        await matchmaker.ping()
        redis.pause()
        with stalled_loop(), pytest.raises(MatchmakerUnavailable):
            await matchmaker.directory.list_shards()
        redis.wake()
        assert await matchmaker.directory.list_shards() == []
    finally:
        await matchmaker.aclose()
        await asyncio.to_thread(redis.stop)


async def test_a_timeout_expires_once_its_time_has_passed() -> None:
    with pytest.raises(TimeoutError):
        async with LoopTimeout(0.01):
            await asyncio.Event().wait()


async def test_a_timeout_leaves_a_body_that_ends_in_time_alone() -> None:
    async with LoopTimeout(0.01):
        pass
    await asyncio.sleep(0.05)
