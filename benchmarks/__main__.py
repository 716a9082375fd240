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
    SCENE = "scene"
    ENCODE = "encode"
    FANOUT = "fanout"
    BIG_ROOM = "big_room"
    ROOM_TICK = "room_tick"
    EDGE = "edge"
    SOAK = "soak"
    JOIN = "join"
    QUEUE = "queue"
    FLUSH = "flush"
    FLIGHT_RECORDER = "flight_recorder"
    RECOVER = "recover"
    SWARM = "swarm"
    CAPACITY = "capacity"
    LATENCY = "latency"
    LATENESS = "lateness"
    MEMORY = "memory"
    ROOM_MIGRATION = "room_migration"
    DECODE = "decode"
    LOGIN = "login"
    TOKEN_CHECK = "token_check"
    SIMULATED_PLAY = "simulated_play"


WITH_PEERS = (Name.FANOUT, Name.BANDWIDTH)
ONLY_FANOUT = (Name.FANOUT,)


def main(  # noqa: PLR0913 each is an option of the command
    name: Annotated[Name, typer.Argument(help="the benchmark")],
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="take at most 45 seconds")] = False,
    peers: Annotated[bool, typer.Option("--peers", help="also measure other servers; requires npm")] = False,
    tls: Annotated[bool, typer.Option("--tls", help="also measure the server with TLS")] = False,
    recorder: Annotated[
        bool, typer.Option("--recorder", help="also measure the server with flight recorders")
    ] = False,
) -> None:
    """Run one benchmark, together with its peers."""
    benchmark = importlib.import_module(f"benchmarks.{name.value}")
    options: dict[str, bool] = {}
    for option, is_set, those in (
        ("peers", peers, WITH_PEERS),
        ("tls", tls, ONLY_FANOUT),
        ("recorder", recorder, ONLY_FANOUT),
    ):
        if is_set and name not in those:
            raise typer.BadParameter(f"--{option} is an option of {' and '.join(those)}")
        if is_set:
            options[option] = True
    found: Report = benchmark.run(quick=quick, **options)
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
