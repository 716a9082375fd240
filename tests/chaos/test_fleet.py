"""Shard processes that are killed and restarted, and stores that stop answering for a while."""

from __future__ import annotations

import asyncio
import math
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.harness.polling import eventually, eventually_joins
from tests.harness.shard_process import ShardProcess, readiness, running, settings_of, with_short_lease
from tests.harness.worlds import agree, flowers_of
from tickwire.client.client import Client, ClientError, Disconnected, Refused, connect
from tickwire.schemas.messages import ErrorCode
from tickwire.server.config import Settings
from tickwire.server.dev import local_stores
from tickwire.server.shard import Shard
from tickwire.server.storage import MongoStore


def x_of(client: Client) -> float:
    """Return where the client's player is; NaN until the state has arrived that follows a Joined."""
    joined, walkers = client.core.joined, client.world.table("walkers")
    assert joined is not None
    return float(walkers.entity(joined.entity)["x"]) if joined.entity in walkers.ids else math.nan


async def comes_back(url: str, room_name: str, room_type: str = "garden") -> Client:
    """Connect and join, retrying while shards start and stop; return the client."""
    async with asyncio.timeout(30):
        while True:
            client = Client(url, token="", build="test")
            try:
                await client.open()
                await eventually_joins(client, room_type, room_name, timeout_s=5)
                return client
            except (ClientError, TimeoutError):
                await client.close()
                await asyncio.sleep(0.1)


async def test_two_shards_a_killed_and_restarted_server_and_three_clients_agree_on_the_world(
    redis_url: str, redis_namespace: str, mongo_url: str, mongo_database: str, tmp_path: Path
) -> None:
    settings = with_short_lease(settings_of(redis_url, redis_namespace, mongo_url, mongo_database))
    first, second = ShardProcess(settings, tmp_path), ShardProcess(settings, tmp_path)
    try:
        await asyncio.gather(first.ready(), second.ready())
        async with connect(first.url) as one, connect(second.url) as two, connect(second.url) as three:
            for client in (one, two, three):
                await client.join("garden", name="home")
            assert {one.url, two.url, three.url} == {first.url}, "all are redirected to the owner of the room"
            await two.command("plant", {"x": 7.0})
            await three.send_input({"dx": 1.0})
            await three.wait_for(lambda: three.core.acknowledged_seq == 1)
            await agree(one, two, three)
            tick = one.world.tick
            # World state is written behind, at most a second old: two seconds of ticks later it is safe.
            await one.wait_for(lambda: one.world.tick > tick + 40)
            sessions = [client.core.resume_token.partition(".")[0] for client in (one, two, three)]
            joined = three.core.joined
            first.kill()
            await two.wait_for(lambda: not two.is_connected)
            await two.wait_for(lambda: two.is_connected, 30)
            assert two.url == second.url, "the lease expired: this shard owns the room now"
            restarted = ShardProcess(settings, tmp_path, port=first.port)
            try:
                await restarted.ready()
                for client in (one, two, three):
                    await client.wait_for(lambda client=client: client.is_connected and client.url == second.url, 30)  # type: ignore[misc]
                assert [c.core.resume_token.partition(".")[0] for c in (one, two, three)] == sessions
                assert [c.sessions_lost for c in (one, two, three)] == [0, 0, 0]
                # Until the next Joined it has the world of the lost shard.
                await three.wait_for(lambda: three.core.joined is not joined)
                await three.wait_for(lambda: flowers_of(three) == [7.0])
                assert x_of(three) == 1.0, "the player is where it had moved to"
                await three.send_input({"dx": 1.0})
                await three.wait_for(lambda: x_of(three) == 2.0)
                newcomer = await comes_back(restarted.url, "home")
                assert newcomer.url == second.url, "the restarted shard redirects to where the room is now"
                assert await newcomer.command("planted") == 1
                await agree(one, two, three, newcomer)
                await newcomer.close()
            finally:
                assert restarted.stop() == 0
    finally:
        first.kill()
        assert second.stop() == 0, second.log.read_text()


async def stored_world(settings: Settings, key: str) -> dict[str, Any]:
    store = MongoStore(settings.mongo.url, settings.mongo.database)
    try:
        return await store.database["worlds"].find_one({"_id": key}) or {}
    finally:
        store.close()


@pytest.fixture
async def own_stores(tmp_path: Path) -> AsyncIterator[local_stores.LocalStores]:
    """Stores for one test only, which may stop them."""
    services = await asyncio.to_thread(local_stores.start, tmp_path / "stores")
    try:
        yield services
    finally:
        for pid in services.pids.values():
            os.kill(pid, signal.SIGCONT)
        await asyncio.to_thread(services.stop)


@pytest.fixture
def own_settings(own_stores: local_stores.LocalStores, redis_namespace: str) -> Settings:
    return settings_of(own_stores.redis_url, redis_namespace, own_stores.mongo_url, "chaos")


async def test_rooms_tick_on_without_redis_and_joins_get_a_retryable_error(
    own_settings: Settings, own_stores: local_stores.LocalStores
) -> None:
    async with running(own_settings) as shard, connect(shard.url) as inside, connect(shard.url) as outside:
        await inside.join("garden", name="home")
        os.kill(own_stores.pids["redis-server"], signal.SIGSTOP)
        with pytest.raises(Refused) as refused:
            await outside.join("garden", name="home")
        assert (refused.value.error.code, refused.value.error.retryable) == (ErrorCode.UNAVAILABLE, True)
        await eventually(lambda: "redis" in shard.parts.health.reasons)
        status, body = await asyncio.to_thread(readiness, shard.parts.operations.port)
        assert (status, list(body["reasons"])) == (503, ["redis"])
        tick = inside.world.tick
        await inside.send_input({"dx": 1.0})
        await inside.wait_for(lambda: inside.world.tick > tick and inside.core.acknowledged_seq == 1)
        os.kill(own_stores.pids["redis-server"], signal.SIGCONT)
        await eventually(lambda: shard.parts.health.is_ready, 20)
        joined = await eventually_joins(outside, "garden", "home")
        assert inside.core.joined is not None
        assert joined.room_id == inside.core.joined.room_id, "the lease was restored: it is still the same room"


async def test_rooms_tick_on_without_mongo_and_saving_resumes_by_itself(
    own_settings: Settings, own_stores: local_stores.LocalStores
) -> None:
    async with running(own_settings) as shard, connect(shard.url) as client:
        await client.join("garden", name="home")
        os.kill(own_stores.pids["mongod"], signal.SIGSTOP)
        await client.command("plant", {"x": 1.0})
        await eventually(lambda: "mongo" in shard.parts.health.reasons, 20)
        tick = client.world.tick
        await client.wait_for(lambda: client.world.tick > tick)
        await client.command("plant", {"x": 2.0})
        async with connect(shard.url) as other:
            with pytest.raises(Refused) as refused:
                await other.join("garden", name="another, which must be loaded")
            assert (refused.value.error.code, refused.value.error.retryable) == (ErrorCode.UNAVAILABLE, True)
        os.kill(own_stores.pids["mongod"], signal.SIGCONT)
        await eventually(lambda: shard.parts.health.is_ready, 20)
    async with running(own_settings) as shard, connect(shard.url) as client:
        await eventually_joins(client, "garden", "home")
        await client.wait_for(lambda: flowers_of(client) == [1.0, 2.0])


async def test_a_room_that_closed_while_mongo_was_away_is_never_opened_from_its_old_state(
    own_settings: Settings, own_stores: local_stores.LocalStores
) -> None:
    async with running(own_settings) as first, running(own_settings) as second:
        async with connect(first.url) as client:
            await client.join("garden", name="home")
            await client.command("plant", {"x": 1.0})
            await eventually(lambda: first.parts.write_behind.saves > 0)
            os.kill(own_stores.pids["mongod"], signal.SIGSTOP)
            await client.command("plant", {"x": 2.0})
        await eventually(lambda: len(first.parts.host) == 0, what="the empty room is closed")
        async with connect(second.url) as other:
            with pytest.raises(Refused) as refused:
                await other.join("garden", name="home")
            assert refused.value.error.retryable
            os.kill(own_stores.pids["mongod"], signal.SIGCONT)
            await eventually_joins(other, "garden", "home", timeout_s=30)
            await other.wait_for(lambda: flowers_of(other) == [1.0, 2.0])


async def test_a_shard_that_starts_before_its_stores_says_which_it_waits_for_and_then_takes_players(
    own_settings: Settings, own_stores: local_stores.LocalStores
) -> None:
    for pid in own_stores.pids.values():
        os.kill(pid, signal.SIGSTOP)
    shard = Shard(own_settings)
    await shard.start()
    try:
        for store, url in (("redis", own_stores.redis_url), ("mongo", own_stores.mongo_url)):
            host = urlsplit(url).netloc
            await eventually(lambda store=store, host=host: host in shard.parts.health.reasons[store], 20)
        status, body = await asyncio.to_thread(readiness, shard.parts.operations.port)
        assert (status, sorted(body["reasons"])) == (503, ["mongo", "redis"])
        for pid in own_stores.pids.values():
            os.kill(pid, signal.SIGCONT)
        await eventually(lambda: shard.parts.health.is_ready, 30)
        async with connect(shard.url) as client:
            await eventually_joins(client, "garden", "home")
    finally:
        for pid in own_stores.pids.values():
            os.kill(pid, signal.SIGCONT)
        await shard.stop()


async def test_shard_paused_past_its_lease_writes_nothing_and_redirects_its_players(
    redis_url: str, redis_namespace: str, mongo_url: str, mongo_database: str, tmp_path: Path
) -> None:
    settings = with_short_lease(settings_of(redis_url, redis_namespace, mongo_url, mongo_database))
    sleeper, other = ShardProcess(settings, tmp_path), ShardProcess(settings, tmp_path)
    try:
        await asyncio.gather(sleeper.ready(), other.ready())
        async with connect(sleeper.url) as left_behind:
            await left_behind.join("garden", name="home")
            await left_behind.command("plant", {"x": 1.0})
            tick = left_behind.world.tick
            await left_behind.wait_for(lambda: left_behind.world.tick > tick + 40)
            await left_behind.command("plant", {"x": 3.0})  # not written yet, or just now
            sleeper.process.send_signal(signal.SIGSTOP)
            client = await comes_back(other.url, "home")
            await client.command("plant", {"x": 2.0})
            owned = await stored_world(settings, "garden/home")
            sleeper.process.send_signal(signal.SIGCONT)
            await left_behind.wait_for(lambda: left_behind.is_connected and left_behind.url == other.url, 30)
            assert left_behind.sessions_lost == 0, "its session was restored with the room"
            tick = client.world.tick
            await client.wait_for(lambda: client.world.tick > tick + 40)
            flowers = set(flowers_of(client))
            assert flowers in ({1.0, 2.0}, {1.0, 2.0, 3.0}), "everything that was saved in time is restored"
            await agree(client, left_behind)
            now = await stored_world(settings, "garden/home")
            assert now["epoch"] == owned["epoch"], "the former owner wrote nothing"
            assert now["save"] >= owned["save"]
            await client.close()
        assert other.stop() == 0
        again = await comes_back(sleeper.url, "home")
        await again.wait_for(lambda: set(flowers_of(again)) == flowers)
        await again.close()
    except Disconnected as lost:
        raise AssertionError(sleeper.log.read_text()) from lost
    finally:
        sleeper.process.send_signal(signal.SIGCONT)
        sleeper.stop()
        other.stop()


async def test_non_durable_room_has_one_owner_after_its_shard_was_paused(
    redis_url: str, redis_namespace: str, mongo_url: str, mongo_database: str, tmp_path: Path
) -> None:
    """The former owner learns it from the renewal of its lease, because it does not write to MongoDB."""
    settings = with_short_lease(settings_of(redis_url, redis_namespace, mongo_url, mongo_database))
    one, two = ShardProcess(settings, tmp_path), ShardProcess(settings, tmp_path)
    try:
        await asyncio.gather(one.ready(), two.ready())
        async with connect(one.url) as left_behind:
            await left_behind.join("duel", name="final")
            tick = left_behind.world.tick
            await left_behind.send_input({"dx": 1.0})
            await left_behind.wait_for(lambda: left_behind.world.tick > tick)
            sleeper, other = (one, two) if left_behind.url == one.url else (two, one)
            sleeper.process.send_signal(signal.SIGSTOP)
            client = await comes_back(other.url, "final", "duel")
            sleeper.process.send_signal(signal.SIGCONT)
            await left_behind.wait_for(lambda: left_behind.core.world is None, timeout_s=20)
            tick = client.world.tick
            await client.wait_for(lambda: client.world.tick > tick)
            await client.close()
    finally:
        for shard in (one, two):
            shard.process.send_signal(signal.SIGCONT)
            shard.stop()
