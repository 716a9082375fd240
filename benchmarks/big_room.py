"""Can one core tick a room of 1,000 players? A map with grid interest, 20 Hz, all players moving, inputs at 10 Hz.

The time of a tick includes inputs, simulation, quantising, assignment to cells, encoding, and composing and writing
each client's frame. The load is on the other core.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks import processes
from benchmarks.report import Report, goal, report, row
from benchmarks.rooms import Crowd
from benchmarks.server_under_load import LATENESS_S_MAX, LOAD_CORE, Load, measure
from tickwire.server.dev import local_stores

PLAYERS, INPUT_RATE_HZ, TICK_P99_MS_MAX = 1000, 10.0, 10.0


def run(*, quick: bool) -> Report:
    """Run the benchmark."""
    seconds, turns = (8.0, 1) if quick else (30.0, 3)
    processes.pin_this(LOAD_CORE)  # and the stores, which are its children
    found = []
    with tempfile.TemporaryDirectory() as folder, local_stores.running(Path(folder)) as stores:
        for number in range(turns):
            print(f"big_room: turn {number + 1} of {turns}", file=sys.stderr)
            load = Load(PLAYERS, INPUT_RATE_HZ, seconds)
            found.append(measure(stores, Crowd, load, name=f"big-room-{number}"))
    is_late = max(turn.load_lateness_s for turn in found) > LATENESS_S_MAX
    limited_by = "load generator" if is_late else None
    tick_ms = [turn.tick_s * 1000 for turn in found]
    rows = [
        row("tickwire", "tick_p99", "ms", tick_ms),
        row("tickwire", "cpu_per_client_tick", "us", [turn.cpu_us for turn in found]),
        row("tickwire", "bytes_per_client_tick", "B", [turn.bytes_per_tick for turn in found]),
        row("tickwire", "late_ticks_share", "1", [turn.late_share for turn in found]),
        row("load", "lateness_p99", "ms", [turn.load_lateness_s * 1000 for turn in found]),
    ]
    goals = [goal("tick_p99_ms", statistics.median(tick_ms), TICK_P99_MS_MAX, limited_by=limited_by)]
    return report("big_room", quick=quick, rows=rows, goals=goals, limited_by=limited_by)
