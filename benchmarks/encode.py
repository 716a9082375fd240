"""How long does encoding a tick's state take? From the game's floats to the frame that all clients of a room receive.

The same run also measures the same state in other encodings (see `bandwidth`), each encoded once. A time is the
median of many ticks of a moving world. It excludes all other work of a room.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from time import perf_counter

import numpy as np

from benchmarks.bandwidth import COUNTS, TICK_S, msgpack_patch, plain_flatbuffers
from benchmarks.receiver import StateReader
from benchmarks.report import Report, ReportRow, report, row
from benchmarks.rooms import Movers, move, spawn
from tickwire.schemas.messages import StateDescription
from tickwire.server.replication.replicator import Replicator

ROUNDS = 5


def run(*, quick: bool) -> Report:
    """Run the benchmark."""
    ticks = 100 if quick else 500
    rows: list[ReportRow] = []
    for count in COUNTS:
        found: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            for name, seconds in measure(count, ticks).items():
                found.setdefault(name, []).append(seconds * 1e6)
        rows += [row(name, f"time_{count}", "us", values) for name, values in found.items()]
    return report("encode", quick=quick, rows=rows, goals=[])


def measure(count: int, ticks: int) -> dict[str, float]:
    """The median of each step, seconds."""
    random = np.random.default_rng(count)
    movers = Movers()
    for _ in range(count):
        spawn(movers, random)
    replication = Replicator((movers,))
    everyone = replication.everyone
    receiver = StateReader(StateDescription((Movers.describe("movers"),)))
    times: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[[], object]) -> None:
        started = perf_counter()
        work()
        times.setdefault(name, []).append(perf_counter() - started)

    replication.capture(1)
    data, _ = replication.update(None, everyone)
    receiver.apply(data)
    for tick in range(2, ticks + 2):
        turning = random.random(count) < 0.1
        movers.heading[turning] += random.normal(0, 0.5, int(turning.sum())).astype(np.float32)
        move(movers, TICK_S)
        timed("tickwire: quantise and cut", lambda tick=tick: replication.capture(tick))  # type: ignore[misc]
        timed("tickwire: encode and frame", lambda: replication.prepare(everyone))
        timed("tickwire: decode", lambda: receiver.apply(everyone.data))
        timed("flatbuffers keyframe", lambda: plain_flatbuffers(movers))
        timed("msgpack patch", lambda: msgpack_patch(_columns(movers)))
    return {name: statistics.median(values) for name, values in times.items()}


def _columns(movers: Movers) -> tuple[list[float], ...]:
    return movers.ids.tolist(), movers.x.tolist(), movers.y.tolist(), movers.heading.tolist()
