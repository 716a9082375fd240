"""How late do ticks start as a core fills up? A curve of the busy share of the core and the lateness of ticks.

Rooms of 50 at 20 Hz, all players moving, inputs at 10 Hz. The server is on one core, and raw clients that do not
decode the state are on the other. Players are added in steps; each step settles before it is measured. The run ends
when the core is full, when ticks are later than LATENESS_MS_END, or when the load itself is late.

The goal is the largest 99th percentile of all steps whose busy share is at most BUSY_SHARE. It is not decided if no
step came near that share. Steps in which the load was late, or the server waited for its core because other processes
used it, do not count.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator
from typing import NamedTuple

import msgspec
import uvloop

from benchmarks import processes
from benchmarks.load import LoadClient, close_clients, open_clients, send_inputs
from benchmarks.report import Goal, Report, ReportRow, goal, report, row
from benchmarks.rooms import Fan
from benchmarks.server_under_load import LATENESS_S_MAX, LOAD_CORE, percentile
from benchmarks.swarm_runner import LATENESS, one_shard
from tickwire.loadtest.local_fleet import LocalShard
from tickwire.schemas.fields import pack_input

INPUT_RATE_HZ = 10.0
BUSY_SHARE = 0.85
FINE_SHARE = 0.6
NEAR_SHARE = 0.75
"""The goal is decided if a step with a busy share of at most BUSY_SHARE reached this one."""
FULL_SHARE = 0.97
WAIT_SHARE_MAX = 0.03
"""If the server was ready and waited for its core for more than this, other processes were measured too."""
LATENESS_MS_MAX, LATENESS_MS_END = 10.0, 60.0
PLAYERS_MAX = 6000


class LatenessStep(msgspec.Struct, frozen=True):
    """The steps of a run: players added in each, seconds to settle, and seconds of measurement.

    From a busy share of FINE_SHARE on, `fine_players` are added in each.
    """

    players: int
    fine_players: int
    settle_s: float
    seconds: float
    players_max: int = PLAYERS_MAX


class LatenessPoint(msgspec.Struct, frozen=True):
    """One point of the curve.

    Args:
        players: the number of players.
        busy_share: the CPU time of the server divided by the time.
        p50_ms: the median of the lateness of ticks.
        p99_ms: the 99th percentile.
        load_late_ms: the 99th percentile of the lateness of the load.
        wait_share: the share of the time in which the server was ready to run and waited for its core.
    """

    players: int
    busy_share: float
    p50_ms: float
    p99_ms: float
    load_late_ms: float
    wait_share: float = 0.0


def run(*, quick: bool) -> Report:
    """Add 250 players per step, and 50 near the limit, up to a full core; quick: three steps of 500."""
    step = LatenessStep(500, 500, 1.5, 5.0, 1500) if quick else LatenessStep(250, 50, 3.0, 12.0)
    processes.pin_this(LOAD_CORE)
    with one_shard() as shard:
        points = uvloop.run(_measure(shard, step))
    limited_by = find_limit(points)
    worst = max((point.p99_ms for point in points if _counts(point)), default=0.0)
    goals: list[Goal] = [goal("tick_lateness_p99_ms_at_85_percent", worst, LATENESS_MS_MAX, limited_by=limited_by)]
    rows = [one for point in points for one in _rows(point)]
    return report("lateness", quick=quick, rows=rows, goals=goals, limited_by=limited_by)


def find_limit(points: list[LatenessPoint]) -> str | None:
    """Return why the goal is not decided, or None."""
    if any(_counts(point) and point.p99_ms > LATENESS_MS_MAX for point in points):
        return None  # missed, at whatever load
    busiest = max((point.busy_share for point in points if _counts(point)), default=0.0)
    if busiest >= NEAR_SHARE:
        return None
    if any(point.wait_share > WAIT_SHARE_MAX for point in points):
        return "other processes on the server's core"
    return "load generator" if any(not _is_load_on_time(point) for point in points) else "the number of players"


def _counts(point: LatenessPoint) -> bool:
    is_alone = point.wait_share <= WAIT_SHARE_MAX
    return point.busy_share <= BUSY_SHARE and _is_load_on_time(point) and is_alone


def _is_load_on_time(point: LatenessPoint) -> bool:
    return point.load_late_ms <= LATENESS_S_MAX * 1000


def _rows(point: LatenessPoint) -> list[ReportRow]:
    subject = f"{point.players} players"
    return [
        row(subject, "server_core_share", "1", [point.busy_share]),
        row(subject, "tick_lateness_p50", "ms", [point.p50_ms]),
        row(subject, "tick_lateness_p99", "ms", [point.p99_ms]),
        row(subject, "load_lateness_p99", "ms", [point.load_late_ms]),
        row(subject, "server_waits_for_core_share", "1", [point.wait_share]),
    ]


async def _measure(shard: LocalShard, step: LatenessStep) -> list[LatenessPoint]:
    points = []
    async for point in _points(shard, step):
        print(f"lateness: {point}", file=sys.stderr)
        points.append(point)
        if point.busy_share > FULL_SHARE or point.p99_ms > LATENESS_MS_END or not _is_load_on_time(point):
            break
    return points


async def _points(shard: LocalShard, step: LatenessStep) -> AsyncIterator[LatenessPoint]:
    """Add players, and yield a point for each step."""
    clients: list[LoadClient] = []
    added = step.players
    payload, first_seq = pack_input(Fan.input_fields, {"turn": 0.1}), 1
    try:
        while len(clients) < step.players_max:
            clients += await open_clients(shard.port, added, room_type=Fan.room_type)
            for seconds in (step.settle_s, step.seconds):
                before = await _sample(shard)
                late = await send_inputs(
                    clients, rate_hz=INPUT_RATE_HZ, payload=payload, first_seq=first_seq, seconds=seconds
                )
                first_seq += int(seconds * INPUT_RATE_HZ) + 1
            point = point_between(before, await _sample(shard), len(clients), late)
            added = step.players if point.busy_share < FINE_SHARE else step.fine_players
            yield point
    finally:
        close_clients(clients)


class Sample(NamedTuple):
    """The metrics of the server, and its CPU time and waiting time in seconds, at a time."""

    metrics: dict[str, float]
    cpu_s: float
    wait_s: float
    time_s: float


async def _sample(shard: LocalShard) -> Sample:
    pid = shard.process.pid
    metrics = await asyncio.to_thread(processes.scrape, shard.operations_port)
    return Sample(metrics, processes.cpu_seconds(pid), processes.wait_seconds(pid), time.monotonic())


def point_between(before: Sample, after: Sample, players: int, late_s: list[float]) -> LatenessPoint:
    """Return the point of the curve for the time between two samples.

    Args:
        before: the sample at the start.
        after: the sample at the end.
        players: the number of players.
        late_s: the lateness of the load's batches, in seconds.
    """
    grown = {name: value - before.metrics.get(name, 0.0) for name, value in after.metrics.items()}
    p50, p99 = (percentile(grown, LATENESS, share) * 1000 for share in (0.5, 0.99))
    elapsed_s = after.time_s - before.time_s
    return LatenessPoint(
        players,
        (after.cpu_s - before.cpu_s) / elapsed_s,
        p50,
        p99,
        statistics.quantiles(late_s, n=100)[98] * 1000,
        (after.wait_s - before.wait_s) / elapsed_s,
    )
