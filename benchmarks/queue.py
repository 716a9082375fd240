"""How many matchmaking tickets per second does one queue process, and how good are the matches?

Players arrive alone or as parties of two to four, with normally distributed skills; skill windows widen. One process
on one core is both queue agent and leader, as a shard is; a real Redis is on the other. WAITING tickets wait at any
time: each matched ticket is replaced by another.

The benchmark fails if a player is in two matches. Skill spread and waiting times are those of the matches.
"""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import structlog
import uvloop

from benchmarks import processes
from benchmarks.report import Goal, Report, report, row
from benchmarks.server_under_load import LOAD_CORE, SERVER_CORE
from tickwire.matchmaking import Matchmaker, ShardInfo
from tickwire.matchmaking.environment import MatchmakerEnvironment
from tickwire.matchmaking.queue import (
    MatchQuality,
    Mode,
    QueueAgent,
    QueueNotification,
    QueuePosition,
    QueueRequest,
    Queues,
    Rules,
)
from tickwire.matchmaking.redis_connection import RedisConnection
from tickwire.server.dev import local_stores
from tickwire.server.process import GC_THRESHOLD

TICKETS_PER_SECOND_MIN = 12_000.0
WAITING = 10_000
"""The number of waiting tickets."""
SIZES = (1, 2, 3, 4)
WEIGHTS = (60, 25, 10, 5)
MODE = Mode(
    "ranked",
    Rules(
        room_type="fan",
        teams=2,
        team_size=5,
        skill_window=50,
        skill_window_per_s=25,
        skill_window_max=400,
        timeout_s=60,
    ),
)


class QueueTurn(msgspec.Struct):
    """One measurement; costs in microseconds of CPU time per ticket."""

    tickets_per_second: float
    players_per_second: float
    own_us: float
    redis_us: float
    waits_s: list[float]
    spreads: list[float]
    gaps: list[float]
    parties_together: float
    latencies_ms: list[int]
    unmatched: int


class PartySource:
    """Enqueues parties, and replaces each matched party by another."""

    def __init__(self, agent: QueueAgent, rng: random.Random) -> None:
        self.matched_tickets = self.matched_players = self.enqueued = self.matched_twice = 0
        self.other_ends = self.parties = self.parties_together = 0
        self._agent = agent
        # Created in advance, so that their creation is not measured.
        sizes = rng.choices(SIZES, WEIGHTS, k=100_000)
        self._parties = [(size, rng.gauss(1500, 300), rng.uniform(10, 90)) for size in sizes]
        self._waiting = 0

    def fill(self) -> None:
        """Enqueue parties until WAITING tickets wait."""
        for _ in range(WAITING - self._waiting):
            self._enqueue()

    def _enqueue(self) -> None:
        size, skill, latency = self._parties[self.enqueued % len(self._parties)]
        self.enqueued += 1
        self._waiting += 1
        party = (f"party {self.enqueued}", size) if size > 1 else None
        notified: set[int] = set()
        ends: set[tuple[str, int]] = set()
        for member in range(size):

            def on_update(update: QueuePosition | QueueNotification, member: int = member) -> None:
                if not isinstance(update, QueueNotification):
                    return
                self.matched_twice += member in notified
                notified.add(member)
                ends.add((update.match_id, update.team))
                self.matched_players += update.kind == "found"
                self.other_ends += update.kind != "found"
                if len(notified) == size:
                    self.matched_tickets += 1
                    self._waiting -= 1
                    self.parties += size > 1
                    self.parties_together += size > 1 and len(ends) == 1

            request = QueueRequest(skill, {"": latency}, party=party)
            self._agent.enqueue(f"p{self.enqueued}.{member}", request, on_update)


def run(*, quick: bool) -> Report:
    """Run the benchmark."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    seconds, turns = (8.0, 1) if quick else (20.0, 3)
    processes.pin_this(LOAD_CORE)  # and Redis, which is its child
    found: list[QueueTurn] = []
    with tempfile.TemporaryDirectory() as folder, local_stores.running(Path(folder), with_mongo=False) as stores:
        processes.pin_this(SERVER_CORE)
        for number in range(turns):
            print(f"queue: turn {number + 1} of {turns}", file=sys.stderr)
            found.append(uvloop.run(_match(stores, f"queue-{number}", seconds)))
    rate = statistics.median(turn.tickets_per_second for turn in found)
    waits, spreads = [w for turn in found for w in turn.waits_s], [s for turn in found for s in turn.spreads]
    latencies = [float(ms) for turn in found for ms in turn.latencies_ms]
    gaps = [gap for turn in found for gap in turn.gaps]
    rows = [
        row("queue", "tickets_per_second", "1/s", [turn.tickets_per_second for turn in found]),
        row("queue", "players_per_second", "1/s", [turn.players_per_second for turn in found]),
        row("queue", "cpu_per_ticket", "us", [turn.own_us for turn in found]),
        row("queue", "redis_cpu_per_ticket", "us", [turn.redis_us for turn in found]),
        row("quality", "wait_p50", "s", [_percentile(waits, 50)]),
        row("quality", "wait_p95", "s", [_percentile(waits, 95)]),
        row("quality", "wait_p99", "s", [_percentile(waits, 99)]),
        row("quality", "skill_spread_p50", "skill", [_percentile(spreads, 50)]),
        row("quality", "skill_spread_p95", "skill", [_percentile(spreads, 95)]),
        row("quality", "team_gap_p50", "skill", [_percentile(gaps, 50)]),
        row("quality", "team_gap_p95", "skill", [_percentile(gaps, 95)]),
        row("quality", "latency_p50", "ms", [_percentile(latencies, 50)]),
        row("quality", "latency_p95", "ms", [_percentile(latencies, 95)]),
        row("quality", "parties_together", "1", [turn.parties_together for turn in found]),
    ]
    holds = rate >= TICKETS_PER_SECOND_MIN
    goals = [Goal("tickets_per_second", round(rate, 1), TICKETS_PER_SECOND_MIN, "higher", holds)]
    return report("queue", quick=quick, rows=rows, goals=goals)


async def _match(stores: local_stores.LocalStores, name: str, seconds: float) -> QueueTurn:
    connection = RedisConnection.from_url(stores.redis_url)
    matchmaker = Matchmaker(connection, namespace=name, environment=MatchmakerEnvironment(rng=random.Random(1)))
    await connection.client.execute_command(
        "FLUSHALL"
    )  # otherwise the rooms of the previous turn expire meanwhile, at a cost
    shard = ShardInfo("a", "ws://a", "1", room_types=("fan",), rooms_max=10_000_000, load_max=1e9)
    await matchmaker.directory.register(shard)
    qualities: list[MatchQuality] = []
    queues = Queues(
        [(MODE, 10)],
        matchmaker,
        shard_id="a",
        region="",
        on_match=lambda mode, quality: qualities.append(quality),
    )
    parties = PartySource(queues.agents[MODE.name], random.Random(2))
    running = asyncio.create_task(queues.run())

    async def keep_full() -> None:
        while True:
            parties.fill()
            await matchmaker.directory.heartbeat("a", load=0.1, players=0, rooms=0)
            await asyncio.sleep(0.02)

    filling = asyncio.create_task(keep_full())
    redis = stores.pids["redis-server"]
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)  # as a shard does
    await asyncio.sleep(2.0)
    before = parties.matched_tickets, parties.matched_players, processes.cpu_seconds(redis), time.process_time()
    qualities.clear()
    started = time.monotonic()
    await asyncio.sleep(seconds)
    elapsed = time.monotonic() - started
    tickets = parties.matched_tickets - before[0]
    turn = QueueTurn(
        tickets / elapsed,
        (parties.matched_players - before[1]) / elapsed,
        (time.process_time() - before[3]) / tickets * 1e6,
        (processes.cpu_seconds(redis) - before[2]) / tickets * 1e6,
        [wait for quality in qualities for wait in quality.waits_s],
        [quality.skill_spread for quality in qualities],
        [quality.team_gap for quality in qualities],
        parties.parties_together / parties.parties,
        [ms for quality in qualities for ms in quality.latencies_ms],
        parties.other_ends,
    )
    for task in (filling, running):
        task.cancel()
    await asyncio.gather(filling, running, return_exceptions=True)
    await queues.close()
    await matchmaker.aclose()
    if parties.matched_twice:
        raise RuntimeError(f"{parties.matched_twice} players were in two matches")
    return turn


def _percentile(values: list[float], share: int) -> float:
    return statistics.quantiles(values, n=100)[share - 1]
