"""How many players can one shard seat per second? From the first byte of a connection to the first state.

Four subjects, each measured alone:
    server       the whole path: connect, Hello, Join, a room found or created in Redis, Joined. One shard on one
                 core; the players and Redis on the other
    connected    the same with open sessions: Join to Joined
    matchmaker   only placement, without server and sockets: one process on one core, Redis on the other
    upkeep       the requests of a shard with UPKEEP_ROOMS rooms to Redis each second: heartbeat and renewals

The CPU time of Redis is reported for each, because Redis limits the size of a fleet.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import msgspec
import uvloop

from benchmarks import processes
from benchmarks.load import REQUEST, masked
from benchmarks.report import Goal, Report, report, row
from benchmarks.server_under_load import LOAD_CORE, SERVER_CORE, server_environ
from tickwire.matchmaking import Matchmaker, PlaceRequest, ShardInfo
from tickwire.schemas import SCHEMA_VERSION
from tickwire.schemas.codec import encode_client
from tickwire.schemas.messages import Hello, Join
from tickwire.server.dev import local_stores

JOINS_PER_SECOND_MIN = 1500.0
AT_ONCE = 128
UPKEEP_ROOMS, UPKEEP_ROUNDS = 80, 200
BUSY_SHARE = 0.9
"""A process that used more than this share of its core was the limit."""
IN_JOINED = b"movers"
"""The name of the room's table, which only Joined and later messages contain."""


class JoinTurn(msgspec.Struct):
    """One measurement: joins per second, and their cost in microseconds of CPU time per join."""

    joins_per_second: float
    server_us: float
    redis_us: float
    load_share: float
    latency_ms: float = 0.0


class Joiner(asyncio.Protocol):
    """One player: connects, sends Hello, and sends Join when `join` is called."""

    def __init__(self, does_join: bool) -> None:
        loop = asyncio.get_running_loop()
        self.is_welcome: asyncio.Future[None] = loop.create_future()
        self.is_seated: asyncio.Future[None] = loop.create_future()
        self.transport: asyncio.Transport | None = None
        self._first = masked(encode_client(Hello(SCHEMA_VERSION, "load"))) + (_JOIN if does_join else b"")
        self._is_first = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        if self._is_first:
            self._is_first = False
            self.transport.write(self._first)
        elif not self.is_welcome.done():
            self.is_welcome.set_result(None)
        if not self.is_seated.done() and IN_JOINED in data:
            self.is_seated.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        for waiting in (self.is_welcome, self.is_seated):
            if not waiting.done():
                waiting.set_exception(exc or ConnectionResetError("refused"))
                waiting.exception()  # marks it as retrieved; waiting tasks still raise it

    def join(self) -> None:
        """Request a seat."""
        assert self.transport is not None
        self.transport.write(_JOIN)


_JOIN = masked(encode_client(Join("fan")))


def run(*, quick: bool) -> Report:
    """Runs the benchmark."""
    players, turns = (1500, 1) if quick else (3000, 3)
    processes.pin_this(LOAD_CORE)
    whole: list[JoinTurn] = []
    connected: list[JoinTurn] = []
    alone: list[JoinTurn] = []
    upkeep: list[float] = []
    with tempfile.TemporaryDirectory() as folder, local_stores.running(Path(folder)) as stores:
        for number in range(turns):
            print(f"join: turn {number + 1} of {turns}", file=sys.stderr)
            whole.append(_with_server(stores, players, f"whole-{number}", is_connected=False))
            connected.append(_with_server(stores, players, f"connected-{number}", is_connected=True))
            alone.append(_alone(stores, players * 4, f"alone-{number}"))
            upkeep.append(uvloop.run(_upkeep(stores, f"upkeep-{number}")))
    limited_by = "load generator" if max(turn.load_share for turn in whole) > BUSY_SHARE else None
    rows = []
    for subject, found in (("server", whole), ("connected", connected), ("matchmaker", alone)):
        rows += [
            row(subject, "joins_per_second", "1/s", [turn.joins_per_second for turn in found]),
            row(subject, "cpu_per_join", "us", [turn.server_us for turn in found]),
            row(subject, "redis_cpu_per_join", "us", [turn.redis_us for turn in found]),
            row(subject, "latency_p99", "ms", [turn.latency_ms for turn in found]),
        ]
    rows.append(row("upkeep", "redis_cpu_per_shard_second", "us", upkeep))
    rows.append(row("load", "share_of_core", "1", [turn.load_share for turn in whole]))
    rate = statistics.median(turn.joins_per_second for turn in whole)
    holds = None if limited_by and rate < JOINS_PER_SECOND_MIN else rate >= JOINS_PER_SECOND_MIN
    goals = [Goal("joins_per_second", round(rate, 1), JOINS_PER_SECOND_MIN, "higher", holds)]
    return report("join", quick=quick, rows=rows, goals=goals, limited_by=None if holds else limited_by)


def _with_server(stores: local_stores.LocalStores, players: int, name: str, *, is_connected: bool) -> JoinTurn:
    port, operations = local_stores.free_port(), local_stores.free_port()
    environ = server_environ(stores, port, operations, name) | {
        "TICKWIRE__EDGE__CONNECTIONS_PER_ADDRESS_MAX": "10000",
        # Rooms tick meanwhile: it is the storm that is measured, not how full the shard may be.
        "TICKWIRE__CAPACITY__LOAD_MAX": "10",
    }
    server = processes.start(["-m", "tickwire", "serve"], core=SERVER_CORE, environ=environ)
    try:
        processes.wait_http(f"http://127.0.0.1:{operations}/readyz")
        return uvloop.run(_storm(server.pid, stores.pids["redis-server"], port, players, is_connected=is_connected))
    finally:
        processes.stop(server)


async def _storm(server: int, redis: int, port: int, players: int, *, is_connected: bool) -> JoinTurn:
    loop = asyncio.get_running_loop()
    joiners: list[Joiner] = []
    latencies: list[float] = []

    async def connect() -> Joiner:
        _, joiner = await loop.create_connection(lambda: Joiner(not is_connected), "127.0.0.1", port)
        joiners.append(joiner)
        await (joiner.is_welcome if is_connected else joiner.is_seated)
        return joiner

    async def connect_timed() -> None:
        started = time.monotonic()
        await connect()
        latencies.append(time.monotonic() - started)

    async def ask(joiner: Joiner) -> None:
        started = time.monotonic()
        joiner.join()
        await joiner.is_seated
        latencies.append(time.monotonic() - started)

    try:
        if is_connected:
            await _at_once([connect] * players)
        before = processes.cpu_seconds(server), processes.cpu_seconds(redis), time.process_time()
        started = time.monotonic()
        if is_connected:
            await _at_once([lambda j=joiner: ask(j) for joiner in list(joiners)])  # type: ignore[misc]
        else:
            await _at_once([connect_timed] * players)
        elapsed = time.monotonic() - started
        after = processes.cpu_seconds(server), processes.cpu_seconds(redis), time.process_time()
    finally:
        for joiner in joiners:
            if joiner.transport is not None:
                joiner.transport.abort()
    return JoinTurn(
        players / elapsed,
        (after[0] - before[0]) / players * 1e6,
        (after[1] - before[1]) / players * 1e6,
        (after[2] - before[2] + after[1] - before[1]) / elapsed,
        statistics.quantiles(latencies, n=100)[98] * 1000,
    )


async def _at_once(works: list[Callable[[], object]]) -> None:
    """Runs them all, AT_ONCE at a time."""
    queue = list(reversed(works))

    async def worker() -> None:
        while queue:
            await asyncio.wait_for(queue.pop()(), 30)  # type: ignore[arg-type]

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


def _alone(stores: local_stores.LocalStores, joins: int, name: str) -> JoinTurn:
    """In this process, which moves to the server's core; Redis stays where it is."""
    before = os.sched_getaffinity(0)
    processes.pin_this(SERVER_CORE)
    try:
        return uvloop.run(_place(stores, joins, name))
    finally:
        os.sched_setaffinity(0, before)


async def _place(stores: local_stores.LocalStores, joins: int, name: str) -> JoinTurn:
    matchmaker = Matchmaker.from_url(stores.redis_url, namespace=name)
    await matchmaker.directory.register(ShardInfo("a", "ws://a", "1", room_types=("fan",), rooms_max=10_000))
    latencies: list[float] = []
    players = iter(range(joins))

    async def worker() -> None:
        for number in players:
            started = time.monotonic()
            wish = PlaceRequest(room_type="fan", players=(f"p{number}",), shard_id="a", seats=50, seat_here=True)
            await matchmaker.placement.place(wish)
            latencies.append(time.monotonic() - started)

    redis = stores.pids["redis-server"]
    cpu, own, started = processes.cpu_seconds(redis), time.process_time(), time.monotonic()
    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    elapsed = time.monotonic() - started
    turn = JoinTurn(
        joins / elapsed,
        (time.process_time() - own) / joins * 1e6,
        (processes.cpu_seconds(redis) - cpu) / joins * 1e6,
        0.0,
        statistics.quantiles(latencies, n=100)[98] * 1000,
    )
    await matchmaker.aclose()
    return turn


async def _upkeep(stores: local_stores.LocalStores, name: str) -> float:
    """Microseconds of Redis for one second's upkeep of one shard."""
    matchmaker = Matchmaker.from_url(stores.redis_url, namespace=name)
    await matchmaker.directory.register(ShardInfo("a", "ws://a", "1", room_types=("fan",)))
    rooms = []
    for room in range(UPKEEP_ROOMS):
        wish = PlaceRequest(
            room_type="fan",
            players=[f"{room}.{n}" for n in range(50)],
            shard_id="a",
            seats=50,
            create_id=f"room {room}",
            seat_here=True,
        )
        placed = await matchmaker.placement.place(wish)
        rooms.append((placed.room_id, placed.epoch))
    before = processes.cpu_seconds(stores.pids["redis-server"])
    for _ in range(UPKEEP_ROUNDS):
        await matchmaker.directory.heartbeat("a", load=0.5, players=4000, rooms=UPKEEP_ROOMS)
        await matchmaker.leases.renew(rooms, "a")
    used = processes.cpu_seconds(stores.pids["redis-server"]) - before
    await matchmaker.aclose()
    return used / UPKEEP_ROUNDS * 1e6
