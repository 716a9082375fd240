"""How many players does one worker of the swarm carry without being late itself?

Wanderers in rooms of 50 at 20 Hz, inputs at 10 Hz, every world verified; one worker process on one core, the server
on another. Players are added in steps until the 99th percentile of the worker's own lateness is above 20 ms. Then two
workers run under a master; on a machine with two cores they share one.
"""

from __future__ import annotations

from benchmarks import swarm_runner
from benchmarks.report import Report, at_least, report, row
from benchmarks.rooms import Fan
from tickwire.loadtest.load_plan import Step
from tickwire.loadtest.summary import Summary

STEP, MOST = 300, 3000
QUICK_STEP = 800
GOAL = 2500
TWO_WORKERS = 600


def run(*, quick: bool) -> Report:
    """Run the steps three times; quick: two large steps, once."""
    step, most, seconds = (QUICK_STEP, 2 * QUICK_STEP, 6) if quick else (STEP, MOST, 12)
    carried: list[float] = []
    lateness_ms: list[float] = []
    for _ in range(1 if quick else 3):
        with swarm_runner.one_shard() as shard:
            found = swarm_runner.swarm(
                shard.url, "-u", str(most), "-r", "200", "--shape", "steps", "--step-players", str(step),
                "--step-seconds", str(seconds), "--warmup", "2", "--slo", "input_p99=10s", "--room", Fan.room_type,
            )  # fmt: skip
        carried.append(float(found.last_good))
        lateness_ms.append(found.load_lateness_p99_ms)
        limited_by = _other_than_load(found.steps)
    rows = [row("one worker", "players", "1", carried)]
    rows.append(row("one worker", "lateness_p99_of_all_steps", "ms", lateness_ms))
    if not quick:
        two = _two_workers()
        rows.append(row("two workers on a core", "players_seated", "1", [float(two.seated)]))
        rows.append(row("two workers on a core", "lateness_p99", "ms", [two.load_lateness_p99_ms]))
    goals = [at_least("players_per_worker", min(carried), GOAL, limited_by=limited_by)]
    return report("swarm", quick=quick, rows=rows, goals=goals, limited_by=limited_by)


def _two_workers() -> Summary:
    with swarm_runner.one_shard() as shard:
        arguments = ("-u", str(TWO_WORKERS), "-r", "100", "-t", "30s", "--room", Fan.room_type)
        return swarm_runner.swarm(shard.url, *arguments, count=2)


def _other_than_load(steps: list[Step]) -> str | None:
    """Return what ended the steps, if it was not the worker and the goal was not reached before."""
    last = steps[-1]
    if last.is_load or last.players > GOAL:
        return None
    return "the number of players" if last.holds else f"the server: {last.reason}"
