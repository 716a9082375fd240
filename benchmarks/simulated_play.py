"""How long does a harness take to simulate play? An arena of 50 players, each with an input a tick, without sockets.

`simulated_hour` is the time of an hour at the speed of the measured part: the run of an hour itself is not quick
enough for a benchmark. `TICKWIRE_HOUR=1` runs the whole hour.
"""

from __future__ import annotations

import logging
import os
import random
from time import perf_counter, process_time

import structlog

from benchmarks.report import Report, report, row
from tickwire.examples.arena import Arena
from tickwire.testing import HarnessClient, Network, RoomHarness

PLAYERS, SEED, HOUR_S = 50, 7, 3600
NETWORKS = {
    "perfect network": Network(),
    "20 to 90 ms, 2 % loss": Network(latency_ms=(20, 90), loss=0.02),
}


def run(*, quick: bool) -> Report:
    """Run the benchmark."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    seconds = 10 if quick else 60
    if os.environ.get("TICKWIRE_HOUR"):
        seconds = HOUR_S
    rows = []
    for name, network in NETWORKS.items():
        wall_s, cpu_s = simulate(network, seconds)
        rows.append(row(name, "cpu_per_tick", "ms", [cpu_s * 1000 / (seconds * Arena.tick_rate_hz)]))
        rows.append(row(name, "simulated_hour", "s", [wall_s * HOUR_S / seconds]))
    return report("simulated_play", quick=quick, rows=rows, goals=[])


def simulate(network: Network, seconds: int) -> tuple[float, float]:
    """Return the time and the CPU time of this many seconds of play, and check that all worlds are equal after it."""
    rng = random.Random(SEED)
    with RoomHarness(Arena, seed=SEED, network=network) as room:
        pilots = [room.join(f"pilot {number}") for number in range(PLAYERS)]
        room.run(seconds=1)
        started_s, cpu_s = perf_counter(), process_time()
        for _ in range(int(seconds * Arena.tick_rate_hz)):
            steer(pilots, rng)
            room.run(ticks=1)
        taken = perf_counter() - started_s, process_time() - cpu_s
        room.check_convergence()
        return taken


def steer(pilots: list[HarnessClient], rng: random.Random) -> None:
    """Send an input of each pilot."""
    for pilot in pilots:
        pilot.input(thrust=rng.random(), turn=rng.uniform(-1, 1), fire=rng.random() < 0.1)
