"""How much CPU does a tick cost per client? The whole server against a bare writer of the same bytes in one run.

20 rooms of 50 players at 20 Hz, all players moving, inputs at 10 Hz. The cost includes simulation, quantising,
encoding, framing and writing. It is the server's user and system time from the operating system, divided by the
clients' ticks. The bare writer sends frames of the server's mean frame size, and receives and discards the same
inputs. The two take turns, each in its own process on one core; the load is on the other.

With `--peers` the same game runs on Colyseus, and all whole servers play for WARM_S before a measurement, so that
Node has compiled its code. With `--tls` the server is also measured with TLS at the shard, and with `--recorder` with
the flight recorder of each room.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
import uvloop

from benchmarks import processes
from benchmarks.certificates import make_certificate
from benchmarks.load import close_clients, open_clients, send_inputs
from benchmarks.peers import colyseus
from benchmarks.report import Goal, Report, ReportRow, goal, report, row
from benchmarks.rooms import Fan
from benchmarks.server_under_load import (
    LATENESS_S_MAX,
    LOAD_CORE,
    SERVER_CORE,
    Load,
    ServerTurn,
    ServerVariant,
    measure,
)
from tickwire.schemas.fields import pack_input
from tickwire.server.dev import local_stores

ROOMS, PLAYERS, TICK_RATE_HZ, INPUT_RATE_HZ = 20, 50, 20.0, 10.0
WARM_S = 8.0
OURS, BARE, TLS, RECORDED = "tickwire", "bare writer", "tickwire tls", "tickwire recorder"
METRICS = (
    ("cpu_per_client_tick", "us", "cpu_us"),
    ("bytes_per_client_tick", "B", "bytes_per_tick"),
    ("joins_per_second", "1/s", "joins_per_second"),
    ("memory_per_client", "B", "bytes_per_client"),
    ("late_ticks_share", "1", "late_share"),
)

Turns = dict[str, list[ServerTurn]]


class FanoutPlan(msgspec.Struct, frozen=True):
    """The measurements of a run: the load, the number of turns, the variants of the peer and of the server."""

    load: Load
    turns: int
    variants: tuple[str, ...] = ()
    has_tls: bool = False
    has_recorder: bool = False


def run(*, quick: bool, peers: bool = False, tls: bool = False, recorder: bool = False) -> Report:
    """Run the benchmark.

    Args:
        quick: whether it ends within 45 seconds.
        peers: whether Colyseus takes its turns too.
        tls: whether the server over TLS does.
        recorder: whether the server with the flight recorder does.
    """
    plan = _plan(quick=quick, peers=peers, tls=tls, recorder=recorder)
    if plan.variants:
        colyseus.install()
    processes.pin_this(LOAD_CORE)  # and with it the stores, which are its children
    found: Turns = {}
    with tempfile.TemporaryDirectory() as folder, local_stores.running(Path(folder) / "stores") as stores:
        variants: dict[str, ServerVariant] = {}
        if plan.has_tls:
            variants[TLS] = ServerVariant(certificate=make_certificate(Path(folder)))
        if plan.has_recorder:
            variants[RECORDED] = ServerVariant(recordings=Path(folder) / "recordings")
        for number in range(plan.turns):
            print(f"fanout: turn {number + 1} of {plan.turns}", file=sys.stderr)
            for subject, turn in _take_turn(plan, stores, variants, f"fanout-{number}").items():
                found.setdefault(subject, []).append(turn)
    is_late = max(turn.load_lateness_s for turns in found.values() for turn in turns) > LATENESS_S_MAX
    limited_by = "load generator" if is_late else None
    goals = _goals(found, limited_by)
    result = report("fanout", quick=quick, rows=_rows(found), goals=goals, limited_by=limited_by)
    if plan.variants:
        result.versions |= {"colyseus": colyseus.version(), "node": colyseus.node_version()}
    return result


def _plan(*, quick: bool, peers: bool = False, tls: bool = False, recorder: bool = False) -> FanoutPlan:
    """Return the measurements; quick ones with other subjects have one turn, to end within 45 seconds."""
    seconds, turns = (15.0, 4)
    if quick:
        seconds, turns = (3.0, 1) if peers or tls or recorder else (4.0, 2)
    variants: tuple[str, ...] = ()
    if peers:
        variants = colyseus.VARIANTS[:1] if quick else colyseus.VARIANTS
    load = Load(ROOMS * PLAYERS, INPUT_RATE_HZ, seconds, WARM_S if peers else 1.0)
    return FanoutPlan(load, turns, variants, tls, recorder)


def _take_turn(
    plan: FanoutPlan, stores: local_stores.LocalStores, variants: Mapping[str, ServerVariant], name: str
) -> dict[str, ServerTurn]:
    """Measure every subject once."""
    found = {OURS: measure(stores, Fan, plan.load, name=name)}
    found[BARE] = _measure_bare(round(found[OURS].bytes_per_tick), plan.load.seconds)
    for number, (subject, server) in enumerate(variants.items()):
        found[subject] = measure(stores, Fan, plan.load, name=f"{name}-{number}", variant=server)
    for variant in plan.variants:
        found[_peer(variant)] = colyseus.measure(variant, plan.load, rooms=ROOMS)
    return found


def _peer(variant: str) -> str:
    return f"colyseus {colyseus.version()} {variant}"


def _rows(found: Turns) -> list[ReportRow]:
    rows = [row(BARE, "cpu_per_client_tick", "us", [turn.cpu_us for turn in found[BARE]])]
    for subject, turns in found.items():
        if subject == BARE:
            continue
        for metric, unit, attribute in METRICS:
            if metric != "late_ticks_share" or subject in (OURS, TLS, RECORDED):
                rows.append(row(subject, metric, unit, [getattr(turn, attribute) for turn in turns]))
    for subject in found:
        if subject != OURS:
            rows.append(row(f"{OURS} / {subject}", "cpu_ratio", "1", _ratios(found, subject)))
    lateness = [turn.load_lateness_s * 1000 for turns in found.values() for turn in turns]
    return [*rows, row("load", "lateness_p99", "ms", lateness)]


def _ratios(found: Turns, subject: str, attribute: str = "cpu_us") -> list[float]:
    """Return Tickwire's figure divided by that of another subject, for each turn."""
    pairs = zip(found[OURS], found[subject], strict=True)
    return [getattr(ours, attribute) / getattr(other, attribute) for ours, other in pairs]


def _goals(found: Turns, limited_by: str | None) -> list[Goal]:
    goals = [goal("cpu_vs_bare_writer", statistics.median(_ratios(found, BARE)), 1.25, limited_by=limited_by)]
    names = {variant: subject for subject in found for variant in colyseus.VARIANTS if subject.endswith(variant)}
    if "float32" in names:
        cpu = statistics.median(_ratios(found, names["float32"]))
        goals.append(goal("cpu_vs_colyseus", cpu, 0.55, limited_by=limited_by))
    if "int16" in names:
        octets = statistics.median(_ratios(found, names["int16"], "bytes_per_tick"))
        goals.append(goal("bytes_vs_colyseus_int16", octets, 0.25, limited_by=limited_by))
    return goals


def _measure_bare(size: int, seconds: float) -> ServerTurn:
    port = local_stores.free_port()
    arguments = ["-m", "benchmarks.baseline_writer", str(port), str(size), str(ROOMS), str(TICK_RATE_HZ)]
    server = processes.start(arguments, core=SERVER_CORE)
    try:
        return uvloop.run(_listen(server.pid, port, size, seconds))
    finally:
        processes.stop(server)


async def _listen(pid: int, port: int, size: int, seconds: float) -> ServerTurn:
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
        received, cpu = sum(client.bytes_received for client in clients), processes.cpu_seconds(pid)
        lateness = await send_inputs(clients, rate_hz=INPUT_RATE_HZ, payload=payload, first_seq=1000, seconds=seconds)
        cpu = processes.cpu_seconds(pid) - cpu
        received = sum(client.bytes_received for client in clients) - received
    finally:
        close_clients(clients)
    late = statistics.quantiles(lateness, n=100)[98]
    return ServerTurn(cpu / (received / size) * 1e6, float(size), load_lateness_s=late)
