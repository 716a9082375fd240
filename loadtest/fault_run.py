"""Runs a local fleet and a swarm under faults: `python -m tickwire.loadtest.fault_run --seconds 300 --seed 1`.

The run stops and continues shards and restarts the stores while the swarm plays, and fails if any session, seat or
result is lost or wrong. Arguments after `--` are the swarm's.
"""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import Annotated

import typer

from tickwire.loadtest.faults import Fault, FaultKind, schedule_faults
from tickwire.loadtest.local_fleet import ROOMS, LocalShard, entries, fleet_and_stores, player_tokens, start_swarm
from tickwire.server.dev import local_stores

LONG_RUN_S = 120.0
"""The duration from which on a run has stalls that are longer than a lease."""
SWARM = [
    "--users", "60", "--spawn-rate", "20", "--room-players", "20",
    "--mix", "wanderer=8 reconnector=3 spender=3 churner=1",
    "--slo", "lost_sessions=0", "--slo", "gave_up=0", "--slo", "lost_seats=0",
]  # fmt: skip


def main(
    arguments: Annotated[list[str] | None, typer.Argument(help="arguments of the swarm, after --")] = None,
    shards: Annotated[int, typer.Option(min=2, max=16)] = 2,
    rooms: Annotated[str, typer.Option(help="modules that offer ROOMS")] = ROOMS,
    seconds: Annotated[int, typer.Option(min=40, help="the duration of the run")] = 300,
    seed: Annotated[int, typer.Option(help="the seed of the schedule")] = 1,
) -> None:
    """Start a fleet, run a swarm against it while faults occur, and exit with the swarm's exit code."""
    rng = random.Random(seed)  # noqa: S311 - reproducible for the same seed
    faults = schedule_faults(seconds, shards, rng, has_long_stalls=seconds >= LONG_RUN_S)
    given = [*SWARM, *(arguments or []), "--run-time", f"{seconds}s"]  # the caller's arguments override the defaults
    with fleet_and_stores(shards, rooms=rooms) as (running, stores), player_tokens() as tokens:
        process = start_swarm(running[0].url, [*given, *tokens, *entries(running[1:])])
        try:
            _inject_all(faults, process, running, stores)
            process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.wait()
    raise typer.Exit(process.returncode)


def _inject_all(
    faults: Sequence[Fault],
    swarm: subprocess.Popen[bytes],
    shards: list[LocalShard],
    stores: local_stores.LocalStores,
) -> None:
    """Cause the faults at their times, until the swarm ends."""
    started_s = time.monotonic()
    for fault in faults:
        _wait_while_running(swarm, started_s + fault.at_s)
        if swarm.poll() is None:
            _inject(fault, shards, stores)


def _wait_while_running(process: subprocess.Popen[bytes], until_s: float) -> None:
    while process.poll() is None and time.monotonic() < until_s:
        time.sleep(0.05)


def _inject(fault: Fault, shards: list[LocalShard], stores: local_stores.LocalStores) -> None:
    """Cause one fault, and return after its end."""
    started_s = time.monotonic()
    match fault.kind:
        case FaultKind.STALL | FaultKind.LONG_STALL:
            shard = shards[fault.shard].process
            shard.send_signal(signal.SIGSTOP)
            time.sleep(fault.seconds)
            shard.send_signal(signal.SIGCONT)
        case FaultKind.RESTART_REDIS:
            stores.restart("redis-server", is_sudden=fault.is_sudden)
        case FaultKind.RESTART_MONGO:
            stores.restart("mongod", is_sudden=fault.is_sudden)
    where = f" of shard {fault.shard}" if fault.seconds else " by SIGKILL" if fault.is_sudden else ""
    typer.echo(f"{fault.at_s:6.1f} s: {fault.kind}{where}, {time.monotonic() - started_s:.1f} s")


if __name__ == "__main__":
    typer.run(main)
