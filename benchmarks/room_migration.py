"""How long is a player's blackout when its room moves to another shard?

20 rooms of 50 on one shard, all players moving at 20 Hz, inputs at 10 Hz. Players have tokens and connect to two
shards in turn, so that half of them are redirected to the rooms. The shard with the rooms receives SIGTERM, and moves
them to the other shard, through which the redirected players connected. All players belong to a swarm, verify their
worlds, and measure their blackout: from the last state of the old shard to the first state of the new one. No
session, event or seat may be lost. Both shards share a core, unlike in production; the swarm has the other.
"""

from __future__ import annotations

import asyncio
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

from benchmarks import processes, swarm_runner
from benchmarks.report import Report, goal, report, row
from benchmarks.rooms import Fan
from tickwire.client.client import connect
from tickwire.loadtest.local_fleet import TOKEN_SECRET, LocalShard, entries, fleet, player_tokens
from tickwire.loadtest.summary import Summary
from tickwire.loadtest.swarm import Tokens

ROOMS, QUICK_ROOMS = 20, 6
SEATED_S_MAX = 60.0
PLAYERS_A_ROOM = Fan.max_players - 1
"""One seat is for the player that creates the room."""
ROOM_NAME = "hall"


def run(*, quick: bool) -> Report:
    """Run three turns of 20 rooms; quick: one of 6."""
    rooms = QUICK_ROOMS if quick else ROOMS
    found = [_turn(rooms, quick=quick) for _ in range(1 if quick else 3)]
    p99 = [one.times["blackout"].p99_ms for one, _ in found]
    lost = [sum(sum(reasons.values()) for reasons in one.failures.values()) for one, _ in found]
    rows = [
        row("players", "blackout_p50", "ms", [one.times["blackout"].p50_ms for one, _ in found]),
        row("players", "blackout_p99", "ms", p99),
        row("players", "blackout_max", "ms", [one.times["blackout"].max_ms for one, _ in found]),
        row("players", "moved", "1", [float(one.times["blackout"].count) for one, _ in found]),
        row("players", "seated_at_the_end", "1", [float(one.seated) for one, _ in found]),
        row("players", "failures", "1", [float(one) for one in lost]),
        row("shard", "drain", "s", [drain_s for _, drain_s in found]),
    ]
    # A late swarm can only make the figures too high.
    limited_by = None if not any(lost) else f"failures: {[one.failures for one, _ in found]}"
    goals = [goal("blackout_p99_ms", statistics.median(p99), 250, limited_by=limited_by)]
    return report("room_migration", quick=quick, rows=rows, goals=goals, limited_by=limited_by)


def _turn(rooms: int, *, quick: bool) -> tuple[Summary, float]:
    """Run one swarm and one drain. Return the swarm's summary and the duration of the drain."""
    environ = {"TICKWIRE__EDGE__HANDSHAKES_PER_SECOND_MAX": "100000", "TICKWIRE__CAPACITY__LOAD_MAX": "0.99"}
    core = processes.CORES[swarm_runner.SERVER_CORE]
    players = rooms * PLAYERS_A_ROOM
    with (
        fleet(1, rooms="benchmarks.rooms", environ=environ, cpu=core) as shards,
        player_tokens() as tokens,
        _rooms_on(shards[0], rooms),
    ):
        entry = shards[0].another()
        shards.append(entry)
        entry.wait_ready()
        seconds = players / 100 + (15 if quick else 25)
        found: list[Summary] = []
        named = ("--room", Fan.room_type, "--room-name", ROOM_NAME, "--room-players", str(PLAYERS_A_ROOM))
        arguments = ("-u", str(players), "-r", "100", "-t", f"{seconds:.0f}s", *named, *tokens, *entries([entry]))
        playing = threading.Thread(
            target=lambda: found.append(swarm_runner.swarm(shards[0].url, *arguments)), name="swarm"
        )
        playing.start()
        took_s = _drain(shards[0], players + rooms)  # here: a shard dies with the thread that has started it
        playing.join()
        return found[0], took_s


@contextmanager
def _rooms_on(shard: LocalShard, count: int) -> Iterator[None]:
    """Make rooms on a shard, while it is the only one, and keep one player in each."""
    made, is_over = threading.Event(), threading.Event()

    async def hold() -> None:
        async with AsyncExitStack() as stack:
            tokens = Tokens(secret=TOKEN_SECRET)
            for number in range(count + 1):  # the swarm's numbers begin in the middle of the first name
                token = tokens.create_token(f"holder {number}", time.time())
                client = await stack.enter_async_context(connect(shard.url, token=token))
                await client.join(Fan.room_type, name=f"{ROOM_NAME} {number}")
            made.set()
            await asyncio.to_thread(is_over.wait)

    holding = threading.Thread(target=lambda: asyncio.run(hold()), name="holders")
    holding.start()
    try:
        if not made.wait(SEATED_S_MAX):
            raise TimeoutError("the rooms were not made")
        yield
    finally:
        is_over.set()
        holding.join()


def _drain(shard: LocalShard, players: int) -> float:
    """Wait until all players are seated, then stop the shard. Return how long that took."""
    until_s = time.monotonic() + SEATED_S_MAX
    while processes.scrape(shard.operations_port).get('tickwire_joins_total{result="seated"}', 0) < players:
        if time.monotonic() > until_s:
            raise TimeoutError("not all were seated")
        time.sleep(0.2)
    time.sleep(3.0)
    started_s = time.monotonic()
    shard.stop(signal.SIGTERM)
    return time.monotonic() - started_s
