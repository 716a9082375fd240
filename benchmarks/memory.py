"""How much memory does a session use: an idle one, and one that plays in a room?

The difference of the shard's resident memory before and after the sessions connect, per session. In rooms of 50, the
rooms are included.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import uvloop

from benchmarks import processes
from benchmarks.load import close_clients, masked, open_clients, send_frames
from benchmarks.report import Report, goal, report, row
from benchmarks.rooms import Fan
from benchmarks.server_under_load import SERVER_CORE, server_environ
from tickwire.schemas import SCHEMA_VERSION
from tickwire.schemas.codec import encode_client
from tickwire.schemas.messages import Hello
from tickwire.server.dev import local_stores

SESSIONS, QUICK_SESSIONS = 4000, 1000
SETTLE_S = 3.0


def run(*, quick: bool) -> Report:
    """Run three turns of 4,000 sessions each; quick: one of 1,000."""
    sessions = QUICK_SESSIONS if quick else SESSIONS
    idle: list[float] = []
    playing: list[float] = []
    with tempfile.TemporaryDirectory() as folder, local_stores.running(Path(folder)) as stores:
        for turn in range(1 if quick else 3):
            idle.append(_measure(stores, sessions, "", f"idle{turn}"))
            playing.append(_measure(stores, sessions // 2, Fan.room_type, f"rooms{turn}"))
    rows = [row("idle session", "resident", "B", idle), row("session in a room", "resident", "B", playing)]
    goals = [
        goal("bytes_per_idle_session", sorted(idle)[len(idle) // 2], 9_000),
        goal("bytes_per_room_session", sorted(playing)[len(playing) // 2], 14_000),
    ]
    return report("memory", quick=quick, rows=rows, goals=goals)


def _measure(stores: local_stores.LocalStores, sessions: int, room_type: str, name: str) -> float:
    port, operations = local_stores.free_port(), local_stores.free_port()
    environ = server_environ(stores, port, operations, name) | {
        "TICKWIRE__EDGE__CONNECTIONS_PER_ADDRESS_MAX": "10000"
    }
    server = processes.start(["-m", "tickwire", "serve"], core=SERVER_CORE, environ=environ)
    try:
        processes.wait_http(f"http://127.0.0.1:{operations}/readyz")
        return uvloop.run(_fill(server.pid, port, operations, sessions, room_type))
    finally:
        processes.stop(server)


async def _fill(pid: int, port: int, operations: int, sessions: int, room_type: str) -> float:
    warm = await open_clients(
        port, 50, room_type=room_type
    )  # memory that is allocated once, independent of the number of sessions
    await asyncio.sleep(SETTLE_S)
    before = processes.resident_bytes(pid)
    clients = await open_clients(port, sessions, room_type=room_type)
    hello = masked(encode_client(Hello(SCHEMA_VERSION, "memory")))
    if not room_type:
        await send_frames(clients, lambda number: hello, rate_hz=1, seconds=1)
    await _until(operations, sessions)
    await asyncio.sleep(SETTLE_S)
    grown = processes.resident_bytes(pid) - before
    close_clients(clients + warm)
    return grown / sessions


async def _until(operations: int, sessions: int) -> None:
    deadline_s = time.monotonic() + 60
    while (await asyncio.to_thread(processes.scrape, operations))["tickwire_sessions"] < sessions:
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"not all {sessions} sessions connected within 60 s")
        await asyncio.sleep(0.2)
