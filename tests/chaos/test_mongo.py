"""Outages of MongoDB: rooms keep running, memory stays bounded, and transactions get a retryable error.

Readiness and metrics report the outage. After it everything is saved, and no transaction was committed twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pymongo.errors import PyMongoError

from tests.harness.mongo_process import MongoProcess, MongoSet
from tests.harness.polling import eventually
from tests.harness.shard_process import readiness, running, scrape, settings_of
from tests.harness.store_process import fill_disk, small_disk
from tests.harness.tcp_proxy import TcpProxy
from tickwire.client.client import Client, connect
from tickwire.client.updates import ReplyReceived, Update
from tickwire.schemas.messages import ErrorCode, Reply
from tickwire.server.config import MongoSettings, Settings
from tickwire.server.shard import Shard

DEADLINE_S = 2.0
Trouble = Callable[[], AbstractAsyncContextManager[None]]


@pytest.fixture
async def mongo(tmp_path: Path) -> AsyncIterator[MongoProcess]:
    made = MongoProcess(tmp_path / "mongo")
    await made.start()
    yield made
    made.wake()
    made.kill()


@pytest.fixture
def settings(redis_url: str, redis_namespace: str, mongo: MongoProcess) -> Settings:
    return through(settings_of(redis_url, redis_namespace, mongo.url, "game"), mongo.url)


def through(settings: Settings, url: str) -> Settings:
    rooms = ["tests.harness.sample_rooms", "tickwire.examples.market"]
    store = MongoSettings(url, "game", deadline_s=DEADLINE_S, migrate=True)
    return msgspec.structs.replace(settings, rooms=rooms, mongo=store)


async def ask_once(client: Client, data: bytes, command_id: int) -> Reply:
    """Send a command once and return its Reply; the client itself would retry after UNAVAILABLE."""
    replies: list[Reply] = []
    receive = client.core.receive

    def note(message: bytes, *, now_us: int) -> Update | None:
        update = receive(message, now_us=now_us)
        if isinstance(update, ReplyReceived) and update.reply.id == command_id:
            replies.append(update.reply)
        return update

    client.core.receive = note  # type: ignore[method-assign]
    try:
        client._session.send(data)
        await client.wait_for(lambda: bool(replies), 8 * DEADLINE_S)
    finally:
        client.core.receive = receive  # type: ignore[method-assign]
    return replies[0]


async def ask(client: Client, name: str, payload: Any = None) -> tuple[Reply, bytes]:
    """Send a new command once; return the Reply and the encoded message, to repeat it."""
    command_id, data = client.core.command(name, payload)
    client.core.abandon_command(command_id)
    return await ask_once(client, data, command_id), data


def has_come_again(reply: Reply) -> bool:
    return not reply.ok and reply.error is ErrorCode.UNAVAILABLE


async def repeat(client: Client, data: bytes, command_id: int) -> Reply:
    """Send a command until it is decided: MongoDB may still hold locks of a transaction from the outage."""
    async with asyncio.timeout(60):
        while has_come_again(reply := await ask_once(client, data, command_id)):
            await asyncio.sleep(reply.retry_after_ms / 1000)
    return reply


async def goes_on(client: Client) -> None:
    tick = client.world.tick
    await client.wait_for(lambda: client.world.tick > tick + 5)


async def gold_of(shard: Shard) -> int:
    """Return the gold of all players, after comparing all holdings with the ledger."""
    held = 0
    async for player in shard.parts.store.database["players"].find():
        held += player["holdings"].get("gold", 0)
        assert await shard.parts.store.ledger.sums(player["_id"]) == player["holdings"]
    return held


async def lives_through(
    shard: Shard, trouble: Trouble, *, then: Callable[[], Awaitable[None]] | None = None
) -> list[float]:
    """Check a shard before, during and after an outage. Return the latency of each command during it."""
    answered: list[float] = []
    loop = asyncio.get_running_loop()
    async with connect(shard.url) as gardener, connect(shard.url) as trader:
        await gardener.join("garden", name="home")
        await trader.join("market", name="home")
        assert (await ask(trader, "work"))[0].ok
        await eventually(lambda: shard.parts.write_behind.saves >= 2)
        async with trouble():
            await gardener.command("plant", {"x": 1.0})
            undecided: dict[int, bytes] = {}
            for _ in range(2):
                started = loop.time()
                reply, data = await ask(trader, "work")
                answered.append(loop.time() - started)
                assert reply.ok or has_come_again(reply)
                if has_come_again(reply):
                    undecided[reply.id] = data
            assert undecided, "MongoDB stayed available"
            await eventually(lambda: "mongo" in shard.parts.health.reasons, 30, "readiness reports MongoDB")
            status, body = await asyncio.to_thread(readiness, shard.parts.operations.port)
            assert (status, list(body["reasons"])) == (503, ["mongo"])
            for x in range(2, 6):
                await gardener.command("plant", {"x": float(x)})
                await goes_on(gardener)
            await goes_on(trader)
            metrics = await asyncio.to_thread(scrape, shard.parts.operations.port)
            assert metrics["tickwire_ready"] == 0
            assert metrics["tickwire_storage_lag_seconds"] > 0
            assert metrics["tickwire_storage_waiting_worlds"] <= 2, "one entry per room"
            assert metrics["tickwire_storage_failures_total"] > 0
            assert metrics['tickwire_transactions_total{result="unavailable"}'] == len(undecided)
            if then is not None:
                await then()
        await eventually(lambda: shard.parts.health.is_ready, 40, "ready again")
        await eventually(lambda: len(shard.parts.write_behind) == 0, 20, "all rooms are saved")
        for command_id, data in undecided.items():
            assert (await repeat(trader, data, command_id)).ok
        assert await gold_of(shard) == 30, "three commands, some of them sent twice"
        assert (await ask(trader, "purse"))[0].payload == msgspec.msgpack.encode({"gold": 30})

        async def is_stored() -> bool:
            world = await shard.parts.store.worlds.load("garden", "home")
            return world is not None and world.tables["flowers"].count == 5

        await eventually(is_stored)
        metrics = await asyncio.to_thread(scrape, shard.parts.operations.port)
        assert (metrics["tickwire_ready"], metrics["tickwire_transactions_waiting"]) == (1, 0)
        for client in (gardener, trader):
            await goes_on(client)
            assert (client.resumes, client.core.mismatches) == (0, 0)
    return answered


async def test_primary_that_steps_down_loses_no_transaction(settings: Settings, mongo: MongoProcess) -> None:
    @asynccontextmanager
    async def trouble() -> AsyncIterator[None]:
        await asyncio.to_thread(mongo.step_down, 20)
        yield

    async with running(settings) as shard:
        assert max(await lives_through(shard, trouble)) < 4 * DEADLINE_S


@pytest.mark.timeout(400)
async def test_a_primary_that_is_lost_is_followed_to_another_member(
    redis_url: str, redis_namespace: str, tmp_path: Path
) -> None:
    """Three members: writes that a majority has acknowledged survive an election."""
    mongos = MongoSet(tmp_path / "set")
    try:
        await mongos.start()
        settings = through(settings_of(redis_url, redis_namespace, mongos.url, "game"), mongos.url)
        async with running(settings) as shard, connect(shard.url) as gardener, connect(shard.url) as trader:
            await gardener.join("garden", name="home")
            await trader.join("market", name="home")
            for _ in range(5):
                assert (await ask(trader, "work"))[0].ok
            working = [asyncio.create_task(trader.command("work", timeout_s=40)) for _ in range(5)]
            lost = mongos.primary()
            assert lost is not None
            lost.kill()
            await gardener.command("plant", {"x": 1.0})
            assert await asyncio.gather(*working) == [10] * 5
            await goes_on(gardener)
            await eventually(lambda: shard.parts.health.is_ready and len(shard.parts.write_behind) == 0, 40)
            assert mongos.primary() not in (None, lost)
            assert await gold_of(shard) == 100
            world = await shard.parts.store.worlds.load("garden", "home")
            assert world is not None
            assert world.tables["flowers"].count == 1
            assert (gardener.resumes, trader.resumes) == (0, 0)
    finally:
        mongos.kill()


async def test_killed_and_restarted_mongod_loses_no_transaction(settings: Settings, mongo: MongoProcess) -> None:
    @asynccontextmanager
    async def trouble() -> AsyncIterator[None]:
        mongo.kill()
        yield
        await mongo.start()

    async with running(settings) as shard:
        assert max(await lives_through(shard, trouble)) < 4 * DEADLINE_S


async def test_paused_mongod_loses_no_transaction(settings: Settings, mongo: MongoProcess) -> None:
    @asynccontextmanager
    async def trouble() -> AsyncIterator[None]:
        mongo.pause()
        try:
            yield
        finally:
            mongo.wake()

    async with running(settings) as shard:
        assert max(await lives_through(shard, trouble)) < 4 * DEADLINE_S


async def test_too_slow_mongod_loses_no_transaction(settings: Settings, mongo: MongoProcess) -> None:
    async with TcpProxy(mongo.port) as proxy:
        url = f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true"

        @asynccontextmanager
        async def trouble() -> AsyncIterator[None]:
            proxy.delay_s = 2 * DEADLINE_S
            yield
            proxy.delay_s = 0.0

        async with running(through(settings, url)) as shard:
            assert max(await lives_through(shard, trouble)) < 4 * DEADLINE_S


async def test_slow_mongod_delays_only_transactions(settings: Settings, mongo: MongoProcess) -> None:
    async with TcpProxy(mongo.port) as proxy:
        url = f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true"
        async with running(through(settings, url)) as shard, connect(shard.url) as trader:
            await trader.join("market", name="home")
            proxy.delay_s = 0.05
            assert (await ask(trader, "work"))[0].ok
            assert shard.parts.health.is_ready
            await goes_on(trader)
            proxy.delay_s = 0.0


@pytest.mark.timeout(400)
async def test_unreachable_mongod_for_a_minute_loses_no_transaction(settings: Settings, mongo: MongoProcess) -> None:
    async with TcpProxy(mongo.port) as proxy:
        url = f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true"
        loop = asyncio.get_running_loop()

        @asynccontextmanager
        async def trouble() -> AsyncIterator[None]:
            proxy.stall()
            began = loop.time()
            yield
            await asyncio.sleep(max(0.0, 60 - (loop.time() - began)))
            proxy.reconnect()

        async with running(through(settings, url)) as shard:
            assert max(await lives_through(shard, trouble)) < 4 * DEADLINE_S


@pytest.mark.timeout(400)
async def test_full_disk_loses_no_acknowledged_write(redis_url: str, redis_namespace: str, tmp_path: Path) -> None:
    """A mongod that cannot write exits. Restarted with free space, it has all acknowledged writes."""
    try:
        disk = small_disk(tmp_path / "disk", 400)
        disk.__enter__()
    except OSError as error:
        pytest.skip(str(error))
    mongo = MongoProcess(tmp_path / "disk" / "mongo")
    filler = tmp_path / "disk" / "filler"
    try:
        await mongo.start()
        settings = through(settings_of(redis_url, redis_namespace, mongo.url, "game"), mongo.url)

        @asynccontextmanager
        async def trouble() -> AsyncIterator[None]:
            with mongo.client() as others:
                others["others"]["logs"].insert_one({})
            await asyncio.to_thread(fill_disk, filler)
            await eventually(lambda: asyncio.to_thread(write_until_it_ends, mongo), 30, "the disk is full")
            yield
            filler.unlink()
            await mongo.start()

        async with running(settings) as shard:
            assert max(await lives_through(shard, trouble)) < 4 * DEADLINE_S
    finally:
        mongo.kill()
        disk.__exit__(None, None, None)


def write_until_it_ends(mongo: MongoProcess) -> bool:
    """Write as another application on the same disk; return whether mongod has exited."""
    with suppress(PyMongoError), mongo.client() as client:
        for _ in range(1000):
            client["others"]["logs"].insert_one({"data": b"x" * 500_000})
    return not mongo.is_alive
