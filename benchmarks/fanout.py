"""How much CPU does a tick cost per client? The whole server against a bare writer of the same bytes in one run.

20 rooms of 50 players at 20 Hz, all players moving, inputs at 10 Hz. The cost includes simulation, quantising,
encoding, framing and writing. It is the server's user and system time from the operating system, divided by the
clients' ticks. The bare writer sends frames of the server's mean frame size, and receives and discards the same
inputs. The two take turns, each in its own process on one core; the load is on the other.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
from pathlib import Path

import uvloop

from benchmarks import processes
from benchmarks.load import close_clients, open_clients, send_inputs
from benchmarks.peers import colyseus
from benchmarks.report import Report, Row, goal, report, row
from benchmarks.rooms import Fan
from benchmarks.server_under_load import LATENESS_S_MAX, LOAD_CORE, SERVER_CORE, Turn, measure
from tickwire.schemas.fields import pack_input
from tickwire.server.dev import local_stores

ROOMS, PLAYERS, TICK_RATE_HZ, INPUT_RATE_HZ = 20, 50, 20.0, 10.0


def run(*, quick: bool, peers: bool = False) -> Report:
    """Runs the benchmark; with `peers`, the same game on Colyseus takes its turns too."""
    seconds, turns = (4.0, 2) if quick else (15.0, 4)
    processes.pin_this(LOAD_CORE)  # and with it the stores, which are its children
    whole: list[Turn] = []
    bare: list[Turn] = []
    others: dict[str, list[Turn]] = {variant: [] for variant in colyseus.VARIANTS if peers}
    with tempfile.TemporaryDirectory() as folder, local_stores.running(Path(folder)) as stores:
        for number in range(turns):
            print(f"fanout: turn {number + 1} of {turns}", file=sys.stderr)
            whole.append(
                measure(
                    stores,
                    Fan,
                    players=ROOMS * PLAYERS,
                    input_rate_hz=INPUT_RATE_HZ,
                    seconds=seconds,
                    name=f"fanout-{number}",
                )
            )
            bare.append(_measure_bare(round(whole[-1].bytes_per_tick), seconds))
            for variant, found in others.items():
                found.append(
                    colyseus.measure(
                        variant, rooms=ROOMS, players=PLAYERS, input_rate_hz=INPUT_RATE_HZ, seconds=seconds
                    )
                )
    ratios = [a.cpu_us / b.cpu_us for a, b in zip(whole, bare, strict=True)]
    turns_of_all = [turn for found in (whole, bare, *others.values()) for turn in found]
    is_late = max(turn.load_lateness_s for turn in turns_of_all) > LATENESS_S_MAX
    limited_by = "load generator" if is_late else None
    rows = [
        row("tickwire", "cpu_per_client_tick", "us", [turn.cpu_us for turn in whole]),
        row("bare writer", "cpu_per_client_tick", "us", [turn.cpu_us for turn in bare]),
        row("tickwire / bare writer", "cpu_ratio", "1", ratios),
        row("tickwire", "bytes_per_client_tick", "B", [turn.bytes_per_tick for turn in whole]),
        row("tickwire", "late_ticks_share", "1", [turn.late_share for turn in whole]),
        row("tickwire", "joins_per_second", "1/s", [turn.joins_per_second for turn in whole]),
        row("tickwire", "memory_per_client", "B", [turn.bytes_per_client for turn in whole]),
        row("load", "lateness_p99", "ms", [turn.load_lateness_s * 1000 for turn in turns_of_all]),
    ]
    goals = [goal("cpu_vs_bare_writer", statistics.median(ratios), 1.5, limited_by=limited_by)]
    for variant, found in others.items():
        rows += _beside(f"colyseus {colyseus.version()} {variant}", whole, found)
    if others:
        cpu = statistics.median(a.cpu_us / b.cpu_us for a, b in zip(whole, others["float32"], strict=True))
        octets = statistics.median(
            a.bytes_per_tick / b.bytes_per_tick for a, b in zip(whole, others["int16"], strict=True)
        )
        goals += [
            goal("cpu_vs_colyseus", cpu, 0.6, limited_by=limited_by),
            goal("bytes_vs_colyseus_int16", octets, 0.25, limited_by=limited_by),
        ]
    return report(
        "fanout",
        quick=quick,
        rows=rows,
        goals=goals,
        limited_by=limited_by,
    )


def _beside(subject: str, whole: list[Turn], found: list[Turn]) -> list[Row]:
    return [
        row(subject, "cpu_per_client_tick", "us", [turn.cpu_us for turn in found]),
        row(subject, "bytes_per_client_tick", "B", [turn.bytes_per_tick for turn in found]),
        row(subject, "joins_per_second", "1/s", [turn.joins_per_second for turn in found]),
        row(subject, "memory_per_client", "B", [turn.bytes_per_client for turn in found]),
        row(
            f"tickwire / {subject}",
            "cpu_ratio",
            "1",
            [a.cpu_us / b.cpu_us for a, b in zip(whole, found, strict=True)],
        ),
    ]


def _measure_bare(size: int, seconds: float) -> Turn:
    port = local_stores.free_port()
    arguments = ["-m", "benchmarks.baseline_writer", str(port), str(size), str(ROOMS), str(TICK_RATE_HZ)]
    server = processes.start(arguments, core=SERVER_CORE)
    try:
        return uvloop.run(_listen(server.pid, port, size, seconds))
    finally:
        processes.stop(server)


async def _listen(pid: int, port: int, size: int, seconds: float) -> Turn:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 10
    while True:
        try:
            clients = await open_clients(port, ROOMS * PLAYERS)
            break
        except OSError:
            if loop.time() > deadline:
                raise
            await asyncio.sleep(0.05)
    try:
        payload = pack_input(Fan.input_fields, {"turn": 0.1})
        await send_inputs(clients, rate_hz=INPUT_RATE_HZ, payload=payload, first_seq=1, seconds=1.0)
        heard, cpu = sum(client.bytes_received for client in clients), processes.cpu_seconds(pid)
        lateness = await send_inputs(clients, rate_hz=INPUT_RATE_HZ, payload=payload, first_seq=1000, seconds=seconds)
        cpu = processes.cpu_seconds(pid) - cpu
        heard = sum(client.bytes_received for client in clients) - heard
    finally:
        close_clients(clients)
    late = statistics.quantiles(lateness, n=100)[98]
    return Turn(cpu / (heard / size) * 1e6, float(size), load_lateness_s=late)
