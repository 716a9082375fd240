"""How many players does one worker of the swarm carry without being late itself?

Wanderers in rooms of 50 at 20 Hz, inputs at 10 Hz, every world verified; one worker process on one core, the server
on another. Players are added in steps until the 99th percentile of the worker's own lateness is above 20 ms. A step
does not count if the server is late, because a late server sends fewer states. Then two workers run under a master;
on a machine with two cores they share one.
"""

from __future__ import annotations

from benchmarks import processes, swarm_runner
from benchmarks.report import Report, ReportRow, at_least, report, row
from benchmarks.rooms import Fan
from benchmarks.swarm_runner import ShardMonitor, Shares
from tickwire.loadtest.load_plan import Step
from tickwire.loadtest.summary import Summary

STEP, MOST = 300, 3600
QUICK_STEP, QUICK_MOST = 850, 2550
GOAL = 2500
TWO_WORKERS = 600
LATE_TICKS_MAX = 0.01
"""The share of the server's ticks that may start late."""
WAITING_MAX = 0.1
"""The share of time in which the worker may wait for its core because another process runs on it."""


def run(*, quick: bool) -> Report:
    """Run the steps three times; quick: three large steps, once."""
    step, most, seconds, rate = (QUICK_STEP, QUICK_MOST, 5, 350) if quick else (STEP, MOST, 12, 200)
    rows: list[ReportRow] = []
    carried: list[float] = []
    limits: list[str | None] = []
    lateness_ms: list[float] = []
    for _ in range(1 if quick else 3):
        with swarm_runner.one_shard() as shard, ShardMonitor(shard) as monitor:
            found = swarm_runner.swarm(
                shard.url, "-u", str(most), "-r", str(rate), "--shape", "steps", "--step-players", str(step),
                "--step-seconds", str(seconds), "--warmup", "2", "--slo", "input_p99=10s", "--room", Fan.room_type,
                on_start=monitor.watch_worker,
            )  # fmt: skip
        shares = [monitor.shares_between(one.start, one.end) for one in found.steps]
        players, limited_by = find_carried(found.steps, shares)
        carried.append(float(players))
        limits.append(limited_by)
        lateness_ms.append(found.load_lateness_p99_ms)
        rows += _rows_of_last_step(found.steps[-1], shares[-1])
    rows.insert(0, row("one worker", "players", "1", carried))
    rows.insert(1, row("one worker", "lateness_p99_of_all_steps", "ms", lateness_ms))
    if not quick:
        two = _two_workers()
        rows.append(row("two workers on a core", "players_seated", "1", [float(two.seated)]))
        rows.append(row("two workers on a core", "lateness_p99", "ms", [two.load_lateness_p99_ms]))
    limited_by = limits[carried.index(min(carried))]
    goals = [at_least("players_per_worker", min(carried), GOAL, limited_by=limited_by)]
    return report("swarm", quick=quick, rows=rows, goals=goals, limited_by=limited_by)


def _two_workers() -> Summary:
    with swarm_runner.one_shard() as shard:
        arguments = ("-u", str(TWO_WORKERS), "-r", "100", "-t", "30s", "--room", Fan.room_type)
        return swarm_runner.swarm(shard.url, *arguments, count=2)


def find_carried(steps: list[Step], shares: list[Shares]) -> tuple[int, str | None]:
    """Return the players of the last step that counts, and the limit of the steps; None if it was the worker.

    Args:
        steps: the steps of a run.
        shares: the loads of the processes during each step.
    """
    carried = 0
    for step, share in zip(steps, shares, strict=True):
        late = f"{share.late_ticks:.0%} of its ticks were late at {step.players} players"
        is_server_late = share.late_ticks > LATE_TICKS_MAX
        if step.is_load and not is_server_late:
            is_alone = len(processes.CORES) > 1 and share.worker_waiting <= WAITING_MAX
            return carried, None if is_alone else "other processes on the core of the worker"
        if not step.holds or is_server_late:
            reason = late if is_server_late else step.reason
            return carried, None if carried >= GOAL else f"the server: {reason}"
        carried = step.players
    return carried, None if carried >= GOAL else "the number of players"


def _rows_of_last_step(step: Step, shares: Shares) -> list[ReportRow]:
    subject = f"{step.players} players"
    return [
        row(subject, "worker_core_share", "1", [shares.worker]),
        row(subject, "worker_waiting_share", "1", [shares.worker_waiting]),
        row(subject, "server_core_share", "1", [shares.server]),
        row(subject, "server_late_ticks_share", "1", [shares.late_ticks]),
    ]
