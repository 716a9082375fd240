"""Shards are killed while players earn. Other shards restore their rooms and sessions.

Restored worlds are at most a second old, and the holdings of all players match the replies that they received.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import pytest

from tests.chaos.test_fleet import comes_back as keeps_trying
from tests.harness.polling import eventually
from tests.harness.sample_rooms import Estate
from tests.harness.shard_process import ShardProcess, scrape, settings_of, with_short_lease
from tests.harness.tcp_proxy import TcpProxy
from tickwire.client.client import Client, connect
from tickwire.matchmaking import Matchmaker
from tickwire.server.config import Settings
from tickwire.server.storage import MongoStore

ROOMS, PLAYERS = 4, 4


class EarningClient:
    """A player that earns until `is_over`, and adds up the replies."""

    def __init__(self, client: Client, room_name: str) -> None:
        self.client = client
        self.room_name = room_name
        self.earned = 0
        self.heard: list[int] = []
        self.is_over = False

    async def play(self) -> None:
        while not self.is_over:
            self.earned += await self.client.command("work", timeout_s=40)
            self.heard.append(self.ticks)
            await asyncio.sleep(0.05 * random.random())

    @property
    def ticks(self) -> int:
        world = self.client.core.world
        return int(world.table("clocks").column("ticks")[0]) if world is not None and world.tick else 0

    async def purse(self) -> int:
        purse = await self.client.command("purse", timeout_s=40)
        return int(purse.get("gold", 0))


@pytest.fixture
async def fleet(
    redis_url: str, redis_namespace: str, mongo_url: str, mongo_database: str, tmp_path: Path
) -> AsyncIterator[tuple[Settings, list[ShardProcess]]]:
    settings = with_short_lease(settings_of(redis_url, redis_namespace, mongo_url, mongo_database))
    shards = [ShardProcess(settings, tmp_path) for _ in range(3)]
    await asyncio.gather(*(shard.ready() for shard in shards))
    yield settings, shards
    for shard in shards:
        shard.process.kill()
        shard.process.wait()


async def test_rooms_and_sessions_of_a_killed_shard_continue_without_a_lost_transaction(
    fleet: tuple[Settings, list[ShardProcess]],
) -> None:
    settings, shards = fleet
    async with TcpProxy(shards[0].port) as proxy, AsyncExitStack() as stack:
        players = []
        for number in range(ROOMS * PLAYERS):
            proxy.target_port = shards[number % len(shards)].port
            client = await stack.enter_async_context(connect(f"ws://127.0.0.1:{proxy.port}"))
            players.append(EarningClient(client, f"estate {number % ROOMS}"))
            await client.join("estate", name=players[-1].room_name)
        playing = [asyncio.create_task(player.play()) for player in players]
        for round_number in range(2):
            await eventually(lambda: all(len(player.heard) > 5 for player in players), 60)
            await asyncio.sleep(1.0)  # changes that are not saved yet
            # A client that reached its room through the proxy without a redirect does not know the shard's address.
            where = {player.room_name: await locate_room(settings, player) for player in players}
            victim = next(shard for shard in shards if shard.url in where.values())
            theirs = [player for player in players if where[player.room_name] == victim.url]
            assert theirs
            names = {player.room_name for player in theirs}
            before: dict[str, int] = {}

            async def saves_in_time() -> bool:
                for name in names:  # noqa: B023
                    before[name] = max(player.ticks for player in theirs if player.room_name == name)  # noqa: B023
                metrics = await asyncio.to_thread(scrape, victim.operations_port)  # noqa: B023
                return metrics["tickwire_storage_lag_seconds"] <= 0.5

            await eventually(saves_in_time, what="the machine writes as fast as the rooms change")
            victim.kill()
            proxy.target_port = next(shard.port for shard in shards if shard is not victim)
            await asyncio.gather(*(comes_back(player) for player in theirs))
            for player in theirs:
                age_ticks = before[player.room_name] - player.ticks
                assert age_ticks <= Estate.tick_rate_hz, f"round {round_number}: the world is {age_ticks} ticks old"
                player.heard.clear()
            shards[shards.index(victim)] = again = ShardProcess(settings, victim.log.parent, port=victim.port)
            await again.ready()
            for player in players:
                player.heard.clear()
        for player in players:
            player.is_over = True
        await asyncio.gather(*playing)
        assert [player.client.sessions_lost for player in players] == [0] * len(players)
        for player in players:
            assert await player.purse() == player.earned
    store = MongoStore(settings.mongo.url, settings.mongo.database)
    held = [one["holdings"] async for one in store.database["players"].find()]
    assert sum(one["gold"] for one in held) == sum(player.earned for player in players)
    for one in [one["_id"] async for one in store.database["players"].find()]:
        assert await store.ledger.sums(one) == (await store.players.load([one]))[one].holdings
    store.close()


async def locate_room(settings: Settings, player: EarningClient) -> str:
    joined = player.client.core.joined
    assert joined is not None
    async with aclosing(Matchmaker.from_url(settings.redis.url, namespace=settings.redis.namespace)) as fleet:
        home = await fleet.directory.locate_room(joined.room_id)
    assert home is not None
    return home.url


async def comes_back(player: EarningClient) -> None:
    """Return once the player has a new Joined and a state of the restored room."""
    client, joined = player.client, player.client.core.joined
    await client.wait_for(lambda: client.core.joined is not joined and player.ticks > 0, 40)
    assert client.resumes > 0


async def test_shard_that_was_paused_past_its_lease_commits_no_transaction(
    fleet: tuple[Settings, list[ShardProcess]],
) -> None:
    """Commands to the former owner are not committed there, and its client is redirected."""
    settings, shards = fleet
    async with connect(shards[0].url) as one:
        await one.join("estate", name="home")
        sleeper = next(shard for shard in shards if shard.url == one.url)
        player = EarningClient(one, "home")
        for _ in range(3):
            player.earned += await one.command("work")
        await eventually(lambda: player.ticks > 20, 20)
        sleeper.process.send_signal(signal.SIGSTOP)
        asking = [asyncio.create_task(one.command("work", timeout_s=40)) for _ in range(5)]
        other = next(shard for shard in shards if shard is not sleeper)
        two = await keeps_trying(other.url, "home", "estate")
        epoch = await epoch_of(settings)
        sleeper.process.send_signal(signal.SIGCONT)
        player.earned += sum(await asyncio.gather(*asking))
        await one.wait_for(lambda: one.url == two.url and one.is_connected, 30)
        assert await player.purse() == player.earned == 8
        assert (one.sessions_lost, await epoch_of(settings)) == (0, epoch)
        await two.close()


async def epoch_of(settings: Settings) -> int:
    store = MongoStore(settings.mongo.url, settings.mongo.database)
    try:
        world = await store.database["worlds"].find_one({"_id": "estate/home"}) or {}
        return int(world["epoch"])
    finally:
        store.close()


async def test_a_room_that_begins_again_after_a_crash_repeats_no_key_that_its_id_is_part_of(
    fleet: tuple[Settings, list[ShardProcess]],
) -> None:
    """The room is not durable: a new one starts, and its rounds count from 1."""
    settings, shards = fleet
    paid = 0
    for _ in range(2):
        alive = [shard for shard in shards if shard.process.poll() is None]
        client = await keeps_trying(alive[0].url, "main", "bank")
        assert client.core.joined is not None
        key = f"{client.core.joined.room_id}/round 1"
        assert await client.command("under a key", {"key": key, "to": "ann", "amount": 5}) == "paid"
        paid += 5
        store = MongoStore(settings.mongo.url, settings.mongo.database)
        assert (await store.players.load(["ann"]))["ann"].holdings == {"gold": paid}
        store.close()
        home = await locate_room(settings, EarningClient(client, "main"))
        next(shard for shard in alive if shard.url == home).kill()
        await client.close()
