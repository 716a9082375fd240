"""How many players does one shard hold within its service levels?

Rooms of 50 at 20 Hz, inputs at 10 Hz. The shard has one core, the load has the others.

1. A swarm that verifies every world: players are added in steps until a level breaks, or the swarm itself is late.
   The result is verified, and shows how many players the swarm carries.
2. Beyond that number: 300 players of the swarm, and load clients that join and send inputs as players do, but do not
   decode the state. Load clients are added until a level breaks.

A level breaks for players (1 % of the states are late by more than half an interval, the 99th percentile of the time
from an input to its state is above 75 ms, or any failure occurs), for the server (the 99th percentile of tick
lateness is above 10 ms), or if a load client receives no state for a second. If the load is late first, the report
says so, and the figure is the number that held until then.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from benchmarks import processes, swarm_runner
from benchmarks.report import Report, ReportRow, at_least, report, row
from benchmarks.rooms import Fan
from tickwire.loadtest.local_fleet import LocalShard
from tickwire.loadtest.summary import Summary
from tickwire.server.dev import local_stores

TICK_LATENESS_S_MAX = 0.010
LEVELS = ("late_ticks=1%", "missed_ticks=0.1%", "input_p99=75ms", "failures=0")
MOST_PER_WORKER = 3000
GOAL = 3800
VERIFYING = 300
STEP = 250
FILLED_MAX = 6000


class Held(msgspec.Struct):
    """The number of players that held so far, and the limit."""

    players: int = 0
    limited_by: str | None = None


def run(*, quick: bool) -> Report:
    """Add 250 players per step; quick: only the swarm, with 700 players per step, for a few seconds."""
    count = swarm_runner.workers()
    rows, found, held = _swarm_alone(count, quick=quick)
    rows.append(row("load", "players_that_the_swarm_carries", "1", [float(found.last_good)]))
    rows.append(row("load", "workers", "1", [float(count)]))
    if not quick and held.limited_by is not None:
        rows += _among_others(held)
    rows.append(row("tickwire", "players", "1", [float(held.players)]))
    goals = [at_least("players_per_core", held.players, GOAL, limited_by=held.limited_by)]
    return report("capacity", quick=quick, rows=rows, goals=goals, limited_by=held.limited_by)


def _swarm_alone(count: int, *, quick: bool) -> tuple[list[ReportRow], Summary, Held]:
    step, seconds = (700, 5) if quick else (250, 20)
    most = 1400 if quick else MOST_PER_WORKER * count
    levels = [part for level in LEVELS for part in ("--slo", level)]
    with swarm_runner.one_shard() as shard, swarm_runner.ShardMonitor(shard) as monitor:
        found = swarm_runner.swarm(
            shard.url, "-u", str(most), "-r", "200", "--shape", "steps", "--step-players", str(step * count),
            "--step-seconds", str(seconds), "--warmup", "3", "--room", Fan.room_type, *levels, count=count,
            report=None if quick else Path("benchmarks/results/capacity.html"),
        )  # fmt: skip
    rows: list[ReportRow] = []
    held = Held(limited_by="load generator")  # unless the server ends it
    for one in found.steps:
        cpu, late_s, _ = monitor.between(one.start, one.end)
        rows += _rows(f"swarm of {one.players}", cpu, late_s)
        if not one.is_load and (not one.holds or late_s > TICK_LATENESS_S_MAX):
            held.limited_by = None
            break
        if not one.holds:
            break
        held.players = one.players
    return rows, found, held


def _among_others(held: Held) -> list[ReportRow]:
    """Add load clients beyond the swarm's limit. Changes `held`."""
    rows: list[ReportRow] = []
    first = held.players - VERIFYING
    with (
        swarm_runner.one_shard() as shard,
        swarm_runner.ShardMonitor(shard) as monitor,
        _load_processes(shard) as add,
    ):
        while sum(process.count for process in add.running) + VERIFYING < FILLED_MAX:
            add.start(first if not add.running else STEP)
            players = sum(process.count for process in add.running) + VERIFYING
            arguments = ("-u", str(VERIFYING), "-r", "100", "-t", "25s", "--reset-stats", "--room", Fan.room_type)
            levels = [part for level in LEVELS for part in ("--slo", level)]
            found = swarm_runner.swarm(shard.url, *arguments, *levels)
            now = time.time()  # the swarm ended at most two seconds ago
            cpu, late_s, _ = monitor.between(now - 20.0, now - 3.0)
            rows += _rows(f"{players}, of whom {VERIFYING} verify", cpu, late_s)
            held.limited_by = "load generator" if found.outcome == "load was late" else None
            if found.outcome != "held" or late_s > TICK_LATENESS_S_MAX or not add.are_all_running():
                for verdict in found.verdicts:
                    print(f"capacity: {players}: {verdict}", file=sys.stderr)
                return rows
            held.players = players
    held.limited_by = "load generator"  # the shard may hold more
    return rows


def _rows(subject: str, cpu: float, late_s: float) -> list[ReportRow]:
    return [
        row(subject, "server_core_share", "1", [cpu]),
        row(subject, "tick_lateness_p99", "ms", [late_s * 1e3]),
    ]


class LoadProcess:
    """A process of load clients."""

    def __init__(self, shard: LocalShard, count: int, core: int) -> None:
        self.count = count
        self.process = subprocess.Popen(
            ["taskset", "-c", str(core), sys.executable, "-m", "benchmarks.load_clients", str(shard.port), str(count),
             Fan.room_type],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            preexec_fn=local_stores.die_with_parent,  # noqa: PLW1509
        )  # fmt: skip
        assert self.process.stdout is not None
        self.process.stdout.readline()  # waits until all clients play


class LoadProcesses:
    """All processes of load clients."""

    def __init__(self, shard: LocalShard) -> None:
        self.running: list[LoadProcess] = []
        self._shard = shard

    def start(self, count: int) -> None:
        """Start load clients, and return when they play."""
        cores = processes.CORES[1:] or processes.CORES
        self.running.append(LoadProcess(self._shard, count, cores[len(self.running) % len(cores)]))

    def are_all_running(self) -> bool:
        """Return whether all clients receive states: a process ends if one of its clients does not."""
        return all(process.process.poll() is None for process in self.running)


@contextmanager
def _load_processes(shard: LocalShard) -> Iterator[LoadProcesses]:
    load_processes = LoadProcesses(shard)
    try:
        yield load_processes
    finally:
        for process in load_processes.running:
            process.process.kill()
            process.process.wait()
