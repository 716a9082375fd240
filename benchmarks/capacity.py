"""How many players does one shard hold within its service levels?

Rooms of 50 at 20 Hz, inputs at 10 Hz. The shard has a core of its own, the load has the others.

1. The swarm alone, every world verified: more and more players, until a level breaks, or the swarm itself is late.
   That is what is known beyond doubt, and what the swarm carries.
2. Beyond that: 300 players of the swarm among others that only fill rooms, joining and sending as players do, and
   reading without looking. More and more of those, until a level breaks.

A level breaks as players see it (one state in a hundred late by more than half an interval, an input that is seen
after more than 75 ms at the 99th percentile, a failure of any kind), as the server sees it (a tick is later than 10
ms at the 99th percentile), or because one who fills a room is told nothing for a second. Where the load is the
first to be late, that is said, and the figure is what was held until then.
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
from benchmarks.report import Report, Row, at_least, report, row
from benchmarks.rooms import Fan
from tickwire.loadtest.local_run import LocalShard
from tickwire.loadtest.summary import Summary
from tickwire.server.dev import local_stores

TICK_LATENESS_S_MAX = 0.010
LEVELS = ("late_ticks=1%", "missed_ticks=0.1%", "input_p99=75ms", "failures=0")
MOST_PER_WORKER = 3000
GOAL = 4000
LOOKING = 300
MORE = 250
FILLED_MAX = 6000


class Held(msgspec.Struct):
    """What is known so far."""

    players: int = 0
    limited_by: str | None = None


def run(*, quick: bool) -> Report:
    """Climbs by 250 players; quick: the swarm alone, by 700, for a few seconds."""
    count = swarm_runner.workers()
    rows, found, held = _swarm_alone(count, quick=quick)
    rows.append(row("load", "players_that_the_swarm_carries", "1", [float(found.last_good)]))
    rows.append(row("load", "workers", "1", [float(count)]))
    if not quick and held.limited_by is not None:
        rows += _among_others(held)
    rows.append(row("tickwire", "players", "1", [float(held.players)]))
    goals = [at_least("players_per_core", held.players, GOAL, limited_by=held.limited_by)]
    return report("capacity", quick=quick, rows=rows, goals=goals, limited_by=held.limited_by)


def _swarm_alone(count: int, *, quick: bool) -> tuple[list[Row], Summary, Held]:
    step, seconds = (700, 5) if quick else (250, 20)
    most = 1400 if quick else MOST_PER_WORKER * count
    levels = [part for level in LEVELS for part in ("--slo", level)]
    with swarm_runner.one_shard() as shard, swarm_runner.Watch(shard) as watch:
        found = swarm_runner.swarm(
            shard.url, "-u", str(most), "-r", "200", "--shape", "steps", "--step-players", str(step * count),
            "--step-seconds", str(seconds), "--warmup", "3", "--room", Fan.room_type, *levels, count=count,
            report=None if quick else Path("benchmarks/results/capacity.html"),
        )  # fmt: skip
    rows: list[Row] = []
    held = Held(limited_by="load generator")  # unless something else ends it
    for one in found.steps:
        cpu, late_s, _ = watch.between(one.start, one.end)
        rows += _rows(f"swarm of {one.players}", cpu, late_s)
        if not one.is_load and (not one.holds or late_s > TICK_LATENESS_S_MAX):
            held.limited_by = None
            break
        if not one.holds:
            break
        held.players = one.players
    return rows, found, held


def _among_others(held: Held) -> list[Row]:
    """Goes on where the swarm could not; changes `held`."""
    rows: list[Row] = []
    first = held.players - LOOKING
    with swarm_runner.one_shard() as shard, swarm_runner.Watch(shard) as watch, _fillers(shard) as add:
        while sum(filler.count for filler in add.running) + LOOKING < FILLED_MAX:
            add.more(first if not add.running else MORE)
            players = sum(filler.count for filler in add.running) + LOOKING
            arguments = ("-u", str(LOOKING), "-r", "100", "-t", "25s", "--reset-stats", "--room", Fan.room_type)
            levels = [part for level in LEVELS for part in ("--slo", level)]
            found = swarm_runner.swarm(shard.url, *arguments, *levels)
            now = time.time()  # the swarm has been gone for two seconds, at most
            cpu, late_s, _ = watch.between(now - 20.0, now - 3.0)
            rows += _rows(f"{players}, of whom {LOOKING} look", cpu, late_s)
            held.limited_by = "load generator" if found.outcome == "load was late" else None
            if found.outcome != "held" or late_s > TICK_LATENESS_S_MAX or not add.are_all_told():
                for verdict in found.verdicts:
                    print(f"capacity: {players}: {verdict}", file=sys.stderr)
                return rows
            held.players = players
    held.limited_by = "load generator"  # there is more than was tried
    return rows


def _rows(subject: str, cpu: float, late_s: float) -> list[Row]:
    return [
        row(subject, "server_core_share", "1", [cpu]),
        row(subject, "tick_lateness_p99", "ms", [late_s * 1e3]),
    ]


class Filler:
    """A process that fills rooms."""

    def __init__(self, shard: LocalShard, count: int, core: int) -> None:
        self.count = count
        self.process = subprocess.Popen(
            ["taskset", "-c", str(core), sys.executable, "-m", "benchmarks.load_clients", str(shard.port), str(count),
             Fan.room_type],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            preexec_fn=local_stores.die_with_parent,  # noqa: PLW1509
        )  # fmt: skip
        assert self.process.stdout is not None
        self.process.stdout.readline()  # all play


class Fillers:
    """All of them."""

    def __init__(self, shard: LocalShard) -> None:
        self.running: list[Filler] = []
        self._shard = shard

    def more(self, count: int) -> None:
        """So many more; returns when they play."""
        cores = processes.CORES[1:] or processes.CORES
        self.running.append(Filler(self._shard, count, cores[len(self.running) % len(cores)]))

    def are_all_told(self) -> bool:
        """Whether nobody is forgotten: a filler ends when somebody is."""
        return all(filler.process.poll() is None for filler in self.running)


@contextmanager
def _fillers(shard: LocalShard) -> Iterator[Fillers]:
    fillers = Fillers(shard)
    try:
        yield fillers
    finally:
        for filler in fillers.running:
            filler.process.kill()
            filler.process.wait()
