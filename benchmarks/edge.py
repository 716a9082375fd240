"""How much CPU does a frame cost, sent and received? Compared: an asyncio protocol, websockets' server, and picows.

500 connections on loopback, all on uvloop. Sent: 113-byte frames, 20 per second to each client. Received: 32-byte
messages with a random mask, 10 per second from each client, one per write. The cost is the server's CPU time divided
by the frames that arrived. Each server runs in its own process on one core, the load on the other. The servers take
turns, and a ratio compares two servers of the same turn.
"""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import os
import signal
import ssl
import statistics
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import uvloop

from benchmarks import processes
from benchmarks.certificates import make_certificate
from benchmarks.load import LoadClient, close_clients, open_clients, send_frames
from benchmarks.report import Report, ReportRow, goal, report, row
from tickwire.server.dev.local_stores import free_port

FRAME_BYTES, MESSAGE_BYTES = 113, 32
OUT_RATE_HZ, IN_RATE_HZ = 20.0, 10.0
SERVER_CORE, LOAD_CORE = 0, 1
LATENESS_S_MAX = 0.02
BARE, OURS, WEBSOCKETS, PICOWS = "bare writer", "tickwire", "websockets", "picows"
GOALS = (
    ("out_vs_bare_writer", "out", BARE, 1.25),
    ("out_vs_websockets", "out", WEBSOCKETS, 0.75),
    ("in_vs_websockets", "in", WEBSOCKETS, 0.5),
)


class EdgeTurn(msgspec.Struct):
    """One measurement of a server: microseconds per frame, and the lateness of the load."""

    out_us: float
    in_us: float
    lateness_s: float


class MeasuredServer(msgspec.Struct, frozen=True):
    """A measured server, and the file to which it writes its count of received frames."""

    pid: int
    port: int
    has_tls: bool
    count_file: Path


def run(*, quick: bool) -> Report:
    """Run the benchmark."""
    turns, connections, seconds = (1, 300, 1.5) if quick else (5, 500, 5.0)
    processes.pin_this(LOAD_CORE)
    subjects = [(name, False) for name in (BARE, OURS, WEBSOCKETS)]
    if importlib.util.find_spec("picows") is not None:
        subjects.append((PICOWS, False))
    else:
        print("edge: picows is not installed, and left out", file=sys.stderr)
    subjects += [(BARE, True), (OURS, True)]
    found: dict[tuple[str, bool], list[EdgeTurn]] = {subject: [] for subject in subjects}
    with tempfile.TemporaryDirectory() as folder:
        files = make_certificate(Path(folder))
        for number, (subject, turn) in itertools.product(range(turns), found.items()):
            name, has_tls = subject
            print(f"edge: turn {number + 1} of {turns}, {name}{' tls' if has_tls else ''}", file=sys.stderr)
            turn.append(_measure(name, files if has_tls else None, Path(folder), connections, seconds))
    lateness = [turn.lateness_s for turns_of in found.values() for turn in turns_of]
    limited_by = "load generator" if max(lateness) > LATENESS_S_MAX else None
    goals = [
        goal(name, statistics.median(_ratios(found, way, peer)), wanted, limited_by=limited_by)
        for name, way, peer, wanted in GOALS
    ]
    rows = [*_rows(found), row("load", "lateness_p99", "ms", [late * 1000 for late in lateness])]
    return report("edge", quick=quick, rows=rows, goals=goals, limited_by=limited_by)


def _rows(found: dict[tuple[str, bool], list[EdgeTurn]]) -> list[ReportRow]:
    rows = []
    for way in ("out", "in"):
        for (name, has_tls), turns in found.items():
            shown = f"{name} tls" if has_tls else name
            rows.append(row(shown, f"cpu_per_frame_{way}", "us", [getattr(turn, f"{way}_us") for turn in turns]))
        for name, has_tls in found:
            if name != OURS:
                shown = f"{OURS} / {name}{' tls' if has_tls else ''}"
                rows.append(row(shown, f"cpu_ratio_{way}", "1", _ratios(found, way, name, has_tls=has_tls)))
    return rows


def _ratios(
    found: dict[tuple[str, bool], list[EdgeTurn]], way: str, peer: str, *, has_tls: bool = False
) -> list[float]:
    pairs = zip(found[OURS, has_tls], found[peer, has_tls], strict=True)
    return [getattr(ours, f"{way}_us") / getattr(theirs, f"{way}_us") for ours, theirs in pairs]


def _measure(name: str, files: tuple[Path, Path] | None, folder: Path, connections: int, seconds: float) -> EdgeTurn:
    port, count_file = free_port(), folder / "count"
    arguments = ["-m", "benchmarks.edge_servers", name, str(port), str(FRAME_BYTES), str(count_file)]
    server = processes.start([*arguments, *map(str, files or ())], core=SERVER_CORE)
    try:
        measured = MeasuredServer(server.pid, port, files is not None, count_file)
        return uvloop.run(_load(measured, connections, seconds))
    finally:
        processes.stop(server)


async def _load(server: MeasuredServer, connections: int, seconds: float) -> EdgeTurn:
    tls = ssl._create_unverified_context() if server.has_tls else None
    await _listening(server.port)
    clients = await open_clients(server.port, connections, tls=tls)
    try:
        out_us, late_out = await _measure_out(server.pid, clients, seconds)
        in_us, late_in = await _measure_in(server.pid, clients, server.count_file, seconds)
    finally:
        close_clients(clients)
    return EdgeTurn(out_us, in_us, max(late_out, late_in))


async def _measure_out(pid: int, clients: list[LoadClient], seconds: float) -> tuple[float, float]:
    os.kill(pid, signal.SIGUSR1)
    await asyncio.sleep(0.3)
    received, cpu = _bytes(clients), processes.cpu_seconds(pid)
    lateness = []
    ended = time.monotonic() + seconds
    while (now := time.monotonic()) < ended:
        await asyncio.sleep(0.005)
        lateness.append(time.monotonic() - now - 0.005)
    cpu, received = processes.cpu_seconds(pid) - cpu, _bytes(clients) - received
    os.kill(pid, signal.SIGUSR1)
    await asyncio.sleep(0.1)
    return cpu / (received / FRAME_BYTES) * 1e6, statistics.quantiles(lateness, n=100)[98]


async def _measure_in(pid: int, clients: list[LoadClient], count_file: Path, seconds: float) -> tuple[float, float]:
    await send_frames(clients, _message, rate_hz=IN_RATE_HZ, seconds=0.3)
    before, cpu = await _received_count(pid, count_file), processes.cpu_seconds(pid)
    lateness = await send_frames(clients, _message, rate_hz=IN_RATE_HZ, seconds=seconds)
    cpu = processes.cpu_seconds(pid) - cpu
    return cpu / (await _received_count(pid, count_file) - before) * 1e6, statistics.quantiles(lateness, n=100)[98]


def _message(number: int) -> bytes:
    """Return a client's frame with a random mask. The unmasked payload is arbitrary."""
    return bytes((0x82, 0x80 | MESSAGE_BYTES)) + os.urandom(4) + bytes(MESSAGE_BYTES)


def _bytes(clients: list[LoadClient]) -> int:
    return sum(client.bytes_received for client in clients)


async def _received_count(pid: int, count_file: Path) -> int:
    return await asyncio.to_thread(_read_received_count, pid, count_file)


def _read_received_count(pid: int, count_file: Path) -> int:
    count_file.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR2)
    deadline = time.monotonic() + 5
    while not count_file.exists() or not count_file.read_text():
        if time.monotonic() > deadline:
            raise TimeoutError("the server did not write its count of received messages")
        time.sleep(0.01)
    return int(count_file.read_text())


async def _listening(port: int) -> None:
    deadline = time.monotonic() + 15
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
