"""`python -m benchmarks NAME [--json] [--quick]`."""

from __future__ import annotations

import importlib
from enum import StrEnum
from typing import Annotated

import msgspec
import typer

from benchmarks.report import Report


class Name(StrEnum):
    """The benchmarks."""

    BANDWIDTH = "bandwidth"
    ENCODE = "encode"
    FANOUT = "fanout"
    BIG_ROOM = "big_room"
    EDGE = "edge"
    SOAK = "soak"
    JOIN = "join"
    QUEUE = "queue"
    FLUSH = "flush"
    RECOVER = "recover"
    SWARM = "swarm"
    CAPACITY = "capacity"
    LATENCY = "latency"
    MEMORY = "memory"
    ROOM_MIGRATION = "room_migration"
    DECODE = "decode"


WITH_PEERS = (Name.FANOUT, Name.BANDWIDTH)


def main(
    name: Annotated[Name, typer.Argument(help="the benchmark")],
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="take at most 45 seconds")] = False,
    peers: Annotated[bool, typer.Option("--peers", help="also measure other servers; requires node and npm")] = False,
) -> None:
    """Run one benchmark, together with its peers."""
    benchmark = importlib.import_module(f"benchmarks.{name.value}")
    if peers and name not in WITH_PEERS:
        raise typer.BadParameter(f"only {' and '.join(WITH_PEERS)} have peers")
    found: Report = benchmark.run(quick=quick, peers=True) if peers else benchmark.run(quick=quick)
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return
    for row in found.rows:
        typer.echo(
            f"{row.subject:24} {row.metric:32} {row.median:12.3f} {row.unit:4} ({row.min} to {row.max}, n={row.n})"
        )
    for goal in found.goals:
        verdict = {True: "holds", False: "MISSED", None: f"not measured: {found.limited_by}"}[goal.holds]
        bound = "at most" if goal.better == "lower" else "at least"
        typer.echo(f"goal {goal.name}: {goal.value} ({bound} {goal.goal}) {verdict}")


if __name__ == "__main__":
    typer.run(main)
