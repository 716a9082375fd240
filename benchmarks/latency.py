"""How long does it take from the due time of an input to the first state that includes it?

Wanderers in rooms of 50 at 20 Hz, inputs at 10 Hz, on loopback. The load is half of the players that a shard holds on
this machine, or that the swarm carries: 700 players per worker. An input waits for the next tick, half an interval on
average and one interval at most. The rest is added by the server, the swarm and the path between them.
"""

from __future__ import annotations

from benchmarks import swarm_runner
from benchmarks.report import Report, goal, report, row
from benchmarks.rooms import Fan

PLAYERS_PER_WORKER = 700
INTERVAL_MS = 1e3 / Fan.tick_rate_hz


def run(*, quick: bool) -> Report:
    """Run three turns of 40 s; quick: one of 20 s."""
    count = swarm_runner.workers()
    found = []
    for _ in range(1 if quick else 3):
        with swarm_runner.one_shard() as shard:
            arguments = ("-u", str(PLAYERS_PER_WORKER * count), "-r", "100", "--room", Fan.room_type, "--reset-stats")
            found.append(swarm_runner.swarm(shard.url, *arguments, "-t", "20s" if quick else "40s", count=count))
    over = [one.times["input"].p99_ms - INTERVAL_MS for one in found]
    rows = [
        row("tickwire", "input_p50", "ms", [one.times["input"].p50_ms for one in found]),
        row("tickwire", "input_p99", "ms", [one.times["input"].p99_ms for one in found]),
        row("tickwire", "input_p99_over_interval", "ms", over),
        row("tickwire", "tick_jitter_p99", "ms", [one.times["jitter"].p99_ms for one in found]),
        row("load", "lateness_p99", "ms", [one.load_lateness_p99_ms for one in found]),
        row("load", "players", "1", [float(one.seated) for one in found]),
    ]
    limited_by = "load generator" if any(one.outcome == "load was late" for one in found) else None
    goals = [goal("input_p99_over_interval_ms", sorted(over)[len(over) // 2], 6, limited_by=limited_by)]
    return report("latency", quick=quick, rows=rows, goals=goals, limited_by=limited_by)
