"""What storage promises, on a real MongoDB."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server import embedded
from server.errors import StaleEpoch, Unavailable
from server.storage import SavedTable, SavedWorld, Store, WriteBehind
from tests.waiting import eventually

TABLE = SavedTable(
    [{"name": "x", "kind": "real", "bits": 10, "low": -1.0, "high": 1.0, "step": 0.5}],
    b"\1\0\0\0",
    {"x": b"\2" * 8},
    1,
)


def world(tick: int = 5, name: str = "home") -> SavedWorld:
    return SavedWorld(name, "garden", tick, {"ships": TABLE}, {"planted": 3, "by": ["a", "b"]}, 7)


@pytest.fixture
async def store(mongo_url: str, mongo_database: str) -> AsyncIterator[Store]:
    made = Store(mongo_url, mongo_database)
    yield made
    made.close()


async def test_what_was_saved_is_loaded(store: Store) -> None:
    assert await store.worlds.load("garden", "home") is None
    assert await store.worlds.claim("garden", "home", 1) is None
    assert await store.worlds.load("garden", "home") is None, "claimed, never saved"
    await store.worlds.save(world(), 1)
    await store.worlds.save(world(6), 1)
    assert await store.worlds.load("garden", "home") == world(6)
    assert await store.worlds.claim("garden", "home", 2) == world(6)
    assert await store.worlds.claim("garden", "home", 2) == world(6), "safe to repeat"


async def test_a_write_with_an_older_epoch_never_lands(store: Store) -> None:
    await store.worlds.claim("garden", "home", 1)
    await store.worlds.save(world(5), 1)
    await store.worlds.claim("garden", "home", 2)
    with pytest.raises(StaleEpoch):
        await store.worlds.save(world(99), 1)
    with pytest.raises(StaleEpoch):
        await store.worlds.claim("garden", "home", 1)
    assert await store.worlds.load("garden", "home") == world(5)


async def test_two_names_with_a_slash_are_two_worlds(store: Store) -> None:
    await store.worlds.save(world(1, "a/b"), 1)
    await store.worlds.save(world(2, "a"), 1)
    loaded = [await store.worlds.load("garden", name) for name in ("a/b", "a")]
    assert [found.tick for found in loaded if found] == [1, 2]


async def test_write_behind_coalesces_by_room_and_the_newest_state_wins(store: Store) -> None:
    behind = WriteBehind(store.worlds, on_fenced=lambda *_: None, now_s=time.monotonic)
    for tick in range(100):
        behind.put(world(tick), 1)
        behind.put(world(tick, "other"), 1)
    assert len(behind) == 2
    assert await behind.flush(10)
    assert behind.saves == 2
    loaded = await store.worlds.load("garden", "home")
    assert loaded is not None
    assert loaded.tick == 99
    assert (len(behind), behind.lag_s) == (0, 0.0)


async def test_a_room_that_another_shard_owns_is_dropped_and_told(store: Store) -> None:
    told: list[tuple[str, str]] = []
    behind = WriteBehind(store.worlds, on_fenced=lambda *room: told.append(room), now_s=time.monotonic)
    await store.worlds.claim("garden", "home", 5)
    behind.put(world(), 4)
    behind.put(world(1, "other"), 1)
    assert await behind.flush(10)
    assert told == [("garden", "home")]
    assert await store.worlds.load("garden", "other") == world(1, "other")


@pytest.mark.parametrize(
    "bad", [{"a key with a \0": 1}, {"huge": 2**70}, {"long": "x" * 17_000_000}], ids=["nul", "huge", "long"]
)
async def test_a_state_that_mongo_cannot_hold_is_dropped_and_the_others_are_saved(
    store: Store, bad: dict[str, object]
) -> None:
    behind = WriteBehind(store.worlds, on_fenced=lambda *_: None, now_s=time.monotonic)
    behind.put(SavedWorld("bad", "garden", 1, {}, bad), 1)
    behind.put(world(), 1)
    assert await behind.flush(10)
    assert (behind.failures, behind.saves) == (1, 1)
    assert await store.worlds.load("garden", "home") == world()


async def test_the_last_write_survives_an_outage_and_drains_by_itself(tmp_path: Path) -> None:
    services = await asyncio.to_thread(embedded.start, tmp_path, with_redis=False)
    store = Store(services.mongo_url, "outage", call_s_max=0.5)
    behind = WriteBehind(store.worlds, on_fenced=lambda *_: None, now_s=time.monotonic, interval_s=0.05)
    running = asyncio.create_task(behind.run())
    try:
        await store.worlds.claim("garden", "home", 1)
        os.kill(services.pids["mongod"], signal.SIGSTOP)
        for tick in range(50):
            behind.put(world(tick), 1)
        await eventually(lambda: behind.failures > 0)
        with pytest.raises(Unavailable):
            await store.ping()
        assert len(behind) == 1
        assert not await behind.flush(0.1)
        behind.put(world(50), 1)
        os.kill(services.pids["mongod"], signal.SIGCONT)
        await asyncio.wait_for(behind.wait_written(world().key), 20)
        loaded = await store.worlds.load("garden", "home")
        assert loaded is not None
        assert loaded.tick == 50
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        store.close()
        os.kill(services.pids["mongod"], signal.SIGCONT)
        await asyncio.to_thread(services.stop)
