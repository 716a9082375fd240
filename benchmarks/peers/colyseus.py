"""The game of `fanout` on Colyseus: CPU time, bytes and memory per client and tick, and joins per second.

The Node server is pinned to one core, as Tickwire's is; the load is raw clients in this process, on the other. They
implement the minimum of the protocol: a seat from the matchmaker over HTTP, the handshake, JOIN_ROOM and its answer,
then inputs. Patches are counted on arrival, so the figures cover the patches that clients received.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import cast

import aiohttp
import msgspec
import uvloop

from benchmarks import processes
from benchmarks.load import REQUEST, RawClient, masked, send_frames
from benchmarks.server_under_load import LOAD_CORE, SERVER_CORE, Turn
from tickwire.schemas.framing import header_bytes, payload_bytes
from tickwire.server.dev import local_stores
from tickwire.server.dev.local_stores import die_with_parent

FOLDER = Path(__file__).parent / "colyseus"
JOIN_ROOM, ROOM_DATA, ROOM_STATE_PATCH = 10, 13, 15
PATCH_RATE_HZ = 20.0
JOINS_AT_ONCE = 50
INSTALL = ["npm", "install", "--omit=optional", "--no-audit", "--no-fund", "--no-package-lock"]
VARIANTS = ("float32", "int16")


def install() -> Path:
    """Install the packages of package.json once, and return the folder.

    Raises:
        RuntimeError: node or npm is missing, or npm fails.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise RuntimeError("--peers requires node and npm on PATH")
    if not (FOLDER / "node_modules").is_dir():
        done = subprocess.run(INSTALL, cwd=FOLDER, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"npm failed in {FOLDER}: {done.stderr.strip()[-500:]}")
    return FOLDER


def version() -> str:
    """Return the version of Colyseus."""
    package = FOLDER / "node_modules" / "@colyseus" / "core" / "package.json"
    return str(msgspec.json.decode(package.read_bytes())["version"])


def measure(variant: str, *, rooms: int, players: int, input_rate_hz: float, seconds: float) -> Turn:
    """Fill rooms with players, and measure the server.

    Args:
        variant: the variant of the state, one of VARIANTS.
        rooms: the number of rooms.
        players: the number of players in each room.
        input_rate_hz: inputs per second and player.
        seconds: the duration of the measurement.
    """
    folder, port = install(), local_stores.free_port()
    core = processes.CORES[SERVER_CORE % len(processes.CORES)]
    with tempfile.TemporaryFile() as errors:
        server = subprocess.Popen(
            ["taskset", "-c", str(core), "node", "server.mjs", str(port), str(players)],
            cwd=folder,
            env={**os.environ, "NODE_ENV": "production"},
            stdout=subprocess.DEVNULL,
            stderr=errors,
            preexec_fn=die_with_parent,  # noqa: PLW1509
        )
        try:
            return uvloop.run(_play(server.pid, port, variant, rooms * players, input_rate_hz, seconds))
        finally:
            processes.stop(server)


class Player(RawClient):
    """One connection: answers JOIN_ROOM, then counts patches and their bytes."""

    def __init__(self, path: str) -> None:
        super().__init__(b"")
        self.patches = 0
        self.patch_bytes = 0
        self._request = REQUEST.replace(b"GET / ", f"GET {path} ".encode())
        self._data = b""
        self._is_upgraded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        data = self._data + data
        if not self._is_upgraded:
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self._data = head
                return
            self._is_upgraded = True
        self._data = self._frames(data)

    def _frames(self, data: bytes) -> bytes:
        """Handle complete frames, and return the remaining bytes."""
        while len(data) >= 2:
            start, size = header_bytes(data), payload_bytes(data)
            if len(data) < start + size:
                break
            if size:
                self._frame(data[start], start + size)
            data = data[start + size :]
        return data

    def _frame(self, code: int, size: int) -> None:
        if code == JOIN_ROOM and self.transport is not None:
            self.transport.write(masked(bytes((JOIN_ROOM,))))
        elif code == ROOM_STATE_PATCH:
            self.patches += 1
            self.patch_bytes += size
            if not self.is_open.done():
                self.is_open.set_result(None)


async def _play(pid: int, port: int, variant: str, count: int, input_rate_hz: float, seconds: float) -> Turn:
    loop = asyncio.get_running_loop()
    clients: list[Player] = []
    await _until_listening(port)
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=timeout) as http:
        resident, started = processes.resident_bytes(pid), loop.time()
        for start in range(0, count, JOINS_AT_ONCE):
            batch = range(start, min(start + JOINS_AT_ONCE, count))
            clients += await asyncio.gather(*(_join(http, port, variant) for _ in batch))
        await asyncio.wait_for(asyncio.gather(*(client.is_open for client in clients)), 30)
        joined_s = loop.time() - started
    try:
        turned = masked(bytes((ROOM_DATA, 0)) + msgspec.msgpack.encode(0.1))

        async def play(seconds: float) -> list[float]:
            raw = cast("list[RawClient]", clients)
            return await send_frames(raw, lambda number: turned, rate_hz=input_rate_hz, seconds=seconds)

        await play(1.0)
        cpu = processes.cpu_seconds(pid)
        before = [(client.patches, client.patch_bytes) for client in clients]
        lateness = await play(seconds)
        cpu = processes.cpu_seconds(pid) - cpu
        patches = [client.patches - told for client, (told, _) in zip(clients, before, strict=True)]
        octets = sum(client.patch_bytes - told for client, (_, told) in zip(clients, before, strict=True))
        resident = processes.resident_bytes(pid) - resident
    finally:
        for client in clients:
            if client.transport is not None:
                client.transport.abort()
    if min(patches) < 0.5 * seconds * PATCH_RATE_HZ:
        raise RuntimeError(f"not all {count} clients got their patches: the least got {min(patches)}")
    return Turn(
        cpu_us=cpu / sum(patches) * 1e6,
        bytes_per_tick=octets / sum(patches),
        load_lateness_s=statistics.quantiles(lateness, n=100)[98],
        joins_per_second=count / joined_s,
        bytes_per_client=resident / count,
    )


async def _until_listening(port: int) -> None:
    deadline = asyncio.get_running_loop().time() + 20
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return


async def _join(http: aiohttp.ClientSession, port: int, variant: str) -> Player:
    async with http.post(f"/matchmake/joinOrCreate/{variant}", json={}) as answer:
        seat = await answer.json()
    path = f"/{seat['room']['processId']}/{seat['room']['roomId']}?sessionId={seat['sessionId']}"
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: Player(path), "127.0.0.1", port)
    return client


if __name__ == "__main__":
    processes.pin_this(LOAD_CORE)
    for name in VARIANTS:
        print(name, measure(name, rooms=20, players=50, input_rate_hz=10.0, seconds=5.0))
