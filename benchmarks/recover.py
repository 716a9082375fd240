"""How long does recovery take after a shard is killed?

One shard has durable rooms of twenty players each; another shard is empty. All players repeat a command that earns
gold and is written before its Reply. Then the first shard receives SIGKILL. Its leases expire (`lease_s` after the
last renewal), the clients connect to the other shard, each room is restored from its last save, and each session is
resumed.

    first_player_back, last_player_back   seconds from the kill to the first state of the player's restored room
    after_lease                           the same for the last player, minus the lease: the duration of recovery
    state_lost                            the largest loss of a world: seconds between the last state that its players
                                          received and the save that it was restored from

The benchmark fails if a session is lost, or if a player's gold differs from the sum of its Replies.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from benchmarks import processes
from benchmarks.report import Report, goal, report, row
from benchmarks.rooms import BusyEstate
from benchmarks.server_under_load import LOAD_CORE, SERVER_CORE, server_environ
from tickwire.client.client import Client
from tickwire.server.config import RedisSettings
from tickwire.server.dev import local_stores
from tickwire.server.observability import logs

PLAYERS_A_ROOM = BusyEstate.max_players
LEASE_S = RedisSettings().lease_s
LAST_PLAYER_BACK_S_MAX = LEASE_S + 5.0
"""The lease, the quarter of a lease over which clients spread, and the recovery itself."""
EARN_EVERY_S = 1.0
AT_ONCE = 50
RECONNECT_S_MAX = 60.0


class RecoveryTurn(msgspec.Struct):
    """One kill of a shard."""

    first_s: float
    last_s: float
    state_lost_s: float


def run(*, quick: bool) -> Report:
    """Run the benchmark."""
    sizes, turns = ([20], 1) if quick else ([5, 20, 40], 2)
    logs.configure(format="console", level="warning")
    processes.pin_this(LOAD_CORE)
    found: dict[int, list[RecoveryTurn]] = {size: [] for size in sizes}
    with tempfile.TemporaryDirectory() as folder, local_stores.running(Path(folder)) as stores:
        for number in range(turns):
            for size in sizes:
                print(f"recover: turn {number + 1} of {turns}, {size} rooms", file=sys.stderr)
                found[size].append(_turn(stores, size, f"recover-{number}-{size}"))
    rows = []
    for size, all_turns in found.items():
        subject = f"{size} rooms, {size * PLAYERS_A_ROOM} players"
        rows += [
            row(subject, "first_player_back", "s", [turn.first_s for turn in all_turns]),
            row(subject, "last_player_back", "s", [turn.last_s for turn in all_turns]),
            row(subject, "after_lease", "s", [turn.last_s - LEASE_S for turn in all_turns]),
            row(subject, "state_lost", "s", [turn.state_lost_s for turn in all_turns]),
        ]
    last = statistics.median(turn.last_s for turn in found[20])
    goals = [
        goal("last_player_back_s", last, LAST_PLAYER_BACK_S_MAX),
        goal("state_lost_s", max(turn.state_lost_s for turns in found.values() for turn in turns), 1.0),
    ]
    return report("recover", quick=quick, rows=rows, goals=goals)


def _turn(stores: local_stores.LocalStores, rooms: int, name: str) -> RecoveryTurn:
    common = {
        "TICKWIRE__EDGE__CONNECTIONS_PER_ADDRESS_MAX": "10000",
        "TICKWIRE__EDGE__ROOMS_PER_MINUTE_PER_ADDRESS_MAX": "100000",
        "TICKWIRE__CAPACITY__LOAD_MAX": "10",
        "TICKWIRE__MONGO__DATABASE": name,
        "TICKWIRE__TICKETS__KEYS__ONE": "a key of the fleet's that is long enough",
        "TICKWIRE__TICKETS__CURRENT": "one",
    }
    shards: list[subprocess.Popen[bytes]] = []

    def kill() -> None:
        shards[0].kill()

    def start() -> str:
        port, operations = local_stores.free_port(), local_stores.free_port()
        environ = server_environ(stores, port, operations, name) | common
        shards.append(processes.start(["-m", "tickwire", "serve"], core=SERVER_CORE, environ=environ))
        processes.wait_http(f"http://127.0.0.1:{operations}/readyz")
        return f"ws://127.0.0.1:{port}"

    try:
        return uvloop.run(_play(start, kill, rooms))
    finally:
        for shard in shards:
            processes.stop(shard)


class EarningPlayer:
    """One player that earns until `is_over` is set, and adds up its Replies."""

    def __init__(self, url: str, room_name: str) -> None:
        self.client = Client(url, build="load")
        self.room_name = room_name
        self.earned = 0
        self.recovered_ticks = 0
        self.recovered_s = 0.0
        self.is_over = False

    async def join(self) -> None:
        """Connect and join the player's room."""
        await self.client.open()
        await self.client.join("estate", name=self.room_name)
        await self.client.wait_for(lambda: self.ticks > 0)

    async def earn(self) -> None:
        """Repeat the command. Each command is answered eventually, also across the kill."""
        while not self.is_over:
            await asyncio.sleep(EARN_EVERY_S * random.uniform(0.5, 1.5))
            self.earned += bool(await self.client.command("work", timeout_s=RECONNECT_S_MAX))

    @property
    def ticks(self) -> int:
        """The number of ticks in the last state that this player received; 0 without a state."""
        world = self.client.core.world
        column: Any = world.table("clocks").column("ticks") if world is not None and world.tick else []
        return int(column[0]) if len(column) else 0

    async def wait_recovered(self, killed_s: float, first: str) -> None:
        """Wait for the first state of the restored room."""
        client, joined = self.client, self.client.core.joined
        await client.wait_for(lambda: client.core.joined is not joined and self.ticks > 0, RECONNECT_S_MAX)
        assert client.url != first
        self.recovered_s, self.recovered_ticks = time.monotonic() - killed_s, self.ticks


async def _play(start: Callable[[], str], kill: Callable[[], None], rooms: int) -> RecoveryTurn:
    first = await asyncio.to_thread(start)
    names = [f"estate {number}" for number in range(rooms)]
    makers = [EarningPlayer(first, name) for name in names]
    for maker in makers:  # with a single shard, all rooms are created there
        await maker.join()
    second = await asyncio.to_thread(start)
    players = [EarningPlayer(second, name) for name in names for _ in range(PLAYERS_A_ROOM - 1)]
    for at in range(0, len(players), AT_ONCE):
        await asyncio.gather(*(player.join() for player in players[at : at + AT_ONCE]))
    for maker in makers:
        await maker.client.close()
    assert {player.client.url for player in players} == {first}
    earning = [asyncio.create_task(player.earn()) for player in players]
    await asyncio.sleep(3.0)
    kill()
    killed_s = time.monotonic()
    await asyncio.wait([asyncio.create_task(_lost(player)) for player in players])
    seen = {name: max(player.ticks for player in players if player.room_name == name) for name in names}
    await asyncio.gather(*(player.wait_recovered(killed_s, first) for player in players))
    lost = [seen[player.room_name] - player.recovered_ticks for player in players]
    await _check(players, earning)
    for player in players:
        await player.client.close()
    back = [player.recovered_s for player in players]
    return RecoveryTurn(min(back), max(back), max(lost) / BusyEstate.tick_rate_hz)


async def _lost(player: EarningPlayer) -> None:
    await player.client.wait_for(lambda: not player.client.is_connected, RECONNECT_S_MAX)


async def _check(players: list[EarningPlayer], earning: list[asyncio.Task[None]]) -> None:
    """Check that no session and no gold was lost, and that no command ran twice."""
    for player in players:
        player.is_over = True
    await asyncio.gather(*earning)
    for player in players:
        owned = (await player.client.command("purse", timeout_s=RECONNECT_S_MAX)).get("gold", 0)
        if player.client.sessions_lost or owned != player.earned:
            lost = player.client.sessions_lost
            raise RuntimeError(f"earned {player.earned}, owns {owned}, sessions lost: {lost}")
