"""How many players does one shard hold within its service levels?

Rooms of 50 at 20 Hz, inputs at 10 Hz; the swarm verifies every world. The shard has a core of its own, the swarm has
the others. More and more players, until a level breaks as players see it (one state in a hundred late by more than
half an interval, an input that is seen after more than 75 ms at the 99th percentile, any failure), or as the server
sees it (a tick is later than 10 ms at the 99th percentile). Where the swarm is the first to be late, what it carries
is all that is known, and is said.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import swarming
from benchmarks.report import Report, at_least, report, row
from benchmarks.rooms import Fan

TICK_LATENESS_S_MAX = 0.010
LEVELS = ("late_ticks=1%", "missed_ticks=0.1%", "input_p99=75ms", "failures=0")
MOST_PER_WORKER = 3000
GOAL = 4000


def run(*, quick: bool) -> Report:
    """Climbs by 250 players a worker; quick: by 700, for a few seconds."""
    count = swarming.workers()
    step, seconds = (700, 5) if quick else (250, 20)
    most = 1400 if quick else MOST_PER_WORKER * count
    levels = [part for level in LEVELS for part in ("--slo", level)]
    picture = None if quick else Path("benchmarks/results/capacity.html")
    with swarming.one_shard() as shard, swarming.Watch(shard) as watch:
        found = swarming.swarm(
            shard.url, "-u", str(most), "-r", "200", "--shape", "steps", "--step-players", str(step * count),
            "--step-seconds", str(seconds), "--settle", "3", "--room", Fan.room_type, *levels, count=count,
            report=picture,
        )  # fmt: skip
    rows, holds = [], 0
    limited_by: str | None = None
    for one in found.steps:
        cpu, late_s, late_share = watch.between(one.start, one.end)
        name = f"{one.players} players"
        rows.append(row(name, "server_core_share", "1", [cpu]))
        rows.append(row(name, "tick_lateness_p99", "ms", [late_s * 1e3]))
        rows.append(row(name, "late_ticks_share", "1", [late_share]))
        if one.is_load:
            limited_by = "load generator"
            break
        if not one.holds or late_s > TICK_LATENESS_S_MAX:
            break
        holds = one.players
    else:
        limited_by = "load generator"  # there is more than was asked for
    rows.append(row("tickwire", "players", "1", [float(holds)]))
    rows.append(row("load", "players_that_it_carries", "1", [float(found.last_good)]))
    rows.append(row("load", "workers", "1", [float(count)]))
    goals = [at_least("players_per_core", holds, GOAL, limited_by=limited_by)]
    return report("capacity", quick=quick, rows=rows, goals=goals, limited_by=limited_by)
