"""What does a tick cost a client? The whole server beside a bare writer of the same bytes, in one run.

20 rooms of 50 players at 20 Hz, everyone moving, inputs at 10 Hz; simulation, quantising, encoding, framing and
writing. The server's own user and system time, read from the operating system, divided by the clients' ticks.
The bare writer sends frames of the mean size that the server sent, and hears and discards the same inputs.
The two run by turns, each in a process of its own on one core; the load is on the other.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
from pathlib import Path

import msgspec
import uvloop

from benchmarks import processes
from benchmarks.load import close_clients, open_clients, send_inputs
from benchmarks.report import Report, goal, report, row
from benchmarks.rooms import Fan
from schemas.fields import pack_input
from server import embedded

ROOMS, PLAYERS, TICK_RATE_HZ, INPUT_RATE_HZ = 20, 50, 20.0, 10.0
SERVER_CORE, LOAD_CORE = 0, 1
LATENESS_S_MAX = 0.02


class Turn(msgspec.Struct):
    """One measurement of one subject."""

    cpu_us: float
    bytes_per_tick: float
    late_share: float
    load_lateness_s: float


def run(*, quick: bool) -> Report:
    """Runs the benchmark."""
    seconds, turns = (4.0, 2) if quick else (15.0, 4)
    processes.pin_this(LOAD_CORE)  # and with it the stores, which are its children
    whole: list[Turn] = []
    bare: list[Turn] = []
    with tempfile.TemporaryDirectory() as folder, embedded.running(Path(folder)) as stores:
        for number in range(turns):
            print(f"fanout: turn {number + 1} of {turns}", file=sys.stderr)
            whole.append(_measure_tickwire(stores, number, seconds))
            bare.append(_measure_bare(round(whole[-1].bytes_per_tick), seconds))
    ratios = [a.cpu_us / b.cpu_us for a, b in zip(whole, bare, strict=True)]
    is_late = max(turn.load_lateness_s for turn in whole + bare) > LATENESS_S_MAX
    limited_by = "load generator" if is_late else None
    rows = [
        row("tickwire", "cpu_per_client_tick", "us", [turn.cpu_us for turn in whole]),
        row("bare writer", "cpu_per_client_tick", "us", [turn.cpu_us for turn in bare]),
        row("tickwire / bare writer", "cpu_ratio", "1", ratios),
        row("tickwire", "bytes_per_client_tick", "B", [turn.bytes_per_tick for turn in whole]),
        row("tickwire", "late_ticks_share", "1", [turn.late_share for turn in whole]),
        row("load", "lateness_p99", "ms", [turn.load_lateness_s * 1000 for turn in whole + bare]),
    ]
    value = statistics.median(ratios)
    return report(
        "fanout",
        quick=quick,
        rows=rows,
        goals=[goal("cpu_vs_bare_writer", value, 1.5, limited_by=limited_by)],
        limited_by=limited_by,
    )


def _measure_tickwire(stores: embedded.Services, number: int, seconds: float) -> Turn:
    port, operations = embedded.free_port(), embedded.free_port()
    environ = {
        "TICKWIRE__ROOMS": "benchmarks.rooms",
        "TICKWIRE__LISTEN__PORT": str(port),
        "TICKWIRE__LISTEN__PLAINTEXT": "true",
        "TICKWIRE__OPERATIONS__PORT": str(operations),
        "TICKWIRE__REDIS__URL": stores.redis_url,
        "TICKWIRE__REDIS__NAMESPACE": f"fanout-{number}",
        "TICKWIRE__MONGO__URL": stores.mongo_url,
        "TICKWIRE__LOGGING__LEVEL": "warning",
    }
    server = processes.start(["-m", "server", "serve"], core=SERVER_CORE, environ=environ)
    try:
        processes.wait_http(f"http://127.0.0.1:{operations}/readyz")
        return uvloop.run(_play(server.pid, port, operations, seconds))
    finally:
        processes.stop(server)


async def _play(pid: int, port: int, operations: int, seconds: float) -> Turn:
    clients = await open_clients(port, ROOMS * PLAYERS, room_type=Fan.room_type)
    try:
        await _until_seated(operations, len(clients))
        payload = pack_input(Fan.input_fields, {"turn": 0.1})
        await send_inputs(clients, rate_hz=INPUT_RATE_HZ, payload=payload, first_seq=1, seconds=1.0)
        before, cpu = await asyncio.to_thread(processes.scrape, operations), processes.cpu_seconds(pid)
        lateness = await send_inputs(clients, rate_hz=INPUT_RATE_HZ, payload=payload, first_seq=1000, seconds=seconds)
        cpu = processes.cpu_seconds(pid) - cpu
        after = await asyncio.to_thread(processes.scrape, operations)
    finally:
        close_clients(clients)
    grown = {name: after[name] - before.get(name, 0.0) for name in after}
    client_ticks = grown["tickwire_player_ticks_total"]
    return Turn(
        cpu_us=cpu / client_ticks * 1e6,
        bytes_per_tick=grown["tickwire_state_bytes_total"] / client_ticks,
        late_share=grown["tickwire_ticks_late_total"] / grown["tickwire_ticks_total"],
        load_lateness_s=statistics.quantiles(lateness, n=100)[98],
    )


async def _until_seated(operations: int, count: int) -> None:
    deadline = asyncio.get_running_loop().time() + 60
    while True:
        metrics = await asyncio.to_thread(processes.scrape, operations)
        if metrics.get('tickwire_joins_total{result="seated"}', 0) == count:
            return
        if asyncio.get_running_loop().time() > deadline:
            raise RuntimeError(f"not all {count} players were seated: {metrics}")
        await asyncio.sleep(0.1)


def _measure_bare(size: int, seconds: float) -> Turn:
    port = embedded.free_port()
    arguments = ["-m", "benchmarks.bare", str(port), str(size), str(ROOMS), str(TICK_RATE_HZ)]
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
    return Turn(cpu / (heard / size) * 1e6, float(size), 0.0, statistics.quantiles(lateness, n=100)[98])
