"""The game of `fanout` on Colyseus: CPU time, bytes and memory per client and tick, and joins per second.

The Node server is pinned to one core, as Tickwire's is; the load is raw clients in this process, on the other. They
implement the minimum of the protocol: a seat from the matchmaker over HTTP, the handshake, JOIN_ROOM and its answer,
the first state, then inputs. Node is that of package.json (npm's `node` package), or the one on PATH where npm has
none.

Every patch is decoded: one client of each room is recorded and decoded by Colyseus' own decoder after the measurement
(colyseus/decode.mjs), and the patches of all others have to be the same, in the same order, without a gap.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import struct
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import cast

import aiohttp
import msgspec
import uvloop

from benchmarks import processes
from benchmarks.load import REQUEST, LoadClient, cut_frames, masked, send_frames
from benchmarks.server_under_load import LOAD_CORE, SERVER_CORE, Load, ServerTurn
from tickwire.server.dev import local_stores
from tickwire.server.dev.local_stores import die_with_parent

FOLDER = Path(__file__).parent / "colyseus"
JOIN_ROOM, ROOM_DATA, ROOM_STATE, ROOM_STATE_PATCH = 10, 13, 14, 15
PATCH_RATE_HZ = 20.0
JOINS_AT_ONCE = 50
FLIGHT_S = 0.5
"""After this, a patch has reached the recorded client of its room too."""
INSTALL = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"]
VARIANTS = ("float32", "int16")


class Patches(msgspec.Struct):
    """The result of decode.mjs."""

    rooms: int
    patches: int
    unmoved: int
    players: int


def install() -> Path:
    """Install the packages of package.json once, and return the folder.

    Raises:
        RuntimeError: node or npm is missing, or npm fails.
    """
    if shutil.which("npm") is None:
        raise RuntimeError("--peers requires npm on PATH")
    marker = FOLDER / "node_modules" / ".installed"
    wanted = (FOLDER / "package.json").read_text()
    if not marker.exists() or marker.read_text() != wanted:
        done = subprocess.run(INSTALL, cwd=FOLDER, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"npm failed in {FOLDER}: {done.stderr.strip()[-500:]}")
        marker.write_text(wanted)
    return FOLDER


def node() -> str:
    """Return the path of Node: that of the installed packages, or the one on PATH.

    Raises:
        RuntimeError: Node is missing.
    """
    own = install() / "node_modules" / "node" / "bin" / "node"
    found = str(own) if own.exists() else shutil.which("node")
    if found is None:
        raise RuntimeError("--peers requires node on PATH, because npm could not install it")
    return found


def version() -> str:
    """Return the version of Colyseus."""
    package = FOLDER / "node_modules" / "@colyseus" / "core" / "package.json"
    return str(msgspec.json.decode(package.read_bytes())["version"])


def node_version() -> str:
    """Return the version of Node."""
    return subprocess.run([node(), "--version"], capture_output=True, text=True, check=True).stdout.strip()


def measure(variant: str, load: Load, *, rooms: int = 1) -> ServerTurn:
    """Fill rooms with players, and measure the server.

    Args:
        variant: the variant of the state, one of VARIANTS.
        load: the players of all rooms.
        rooms: the number of rooms.
    """
    folder, port = install(), local_stores.free_port()
    core = processes.CORES[SERVER_CORE % len(processes.CORES)]
    seats = load.players // rooms
    with tempfile.TemporaryFile() as errors:
        server = subprocess.Popen(
            ["taskset", "-c", str(core), node(), "server.mjs", str(port), str(seats)],
            cwd=folder,
            env={**os.environ, "NODE_ENV": "production"},
            stdout=subprocess.DEVNULL,
            stderr=errors,
            preexec_fn=die_with_parent,  # noqa: PLW1509
        )
        try:
            return uvloop.run(_play(server.pid, port, variant, load))
        except Exception as error:
            errors.seek(0)
            error.add_note(f"Colyseus wrote: {errors.read()[-1000:].decode(errors='replace')}")
            raise
        finally:
            processes.stop(server)


class ColyseusClient(LoadClient):
    """One connection: answers JOIN_ROOM, then counts patches and their bytes.

    Attributes:
        patch_hashes: the hash of every patch since the join.
        recorded: all messages; None if they are not kept.
    """

    def __init__(self, path: str) -> None:
        super().__init__(b"")
        self.patch_bytes = 0
        self.patch_hashes: list[int] = []
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
        payloads, self._data = cut_frames(data)
        for payload in payloads:
            self._receive(payload)

    def _receive(self, payload: bytes) -> None:
        code = payload[0]
        if self.recorded is not None:
            self.recorded.append(payload)
        if code == ROOM_STATE_PATCH:
            self.patch_hashes.append(hash(payload))
            self.patch_bytes += len(payload) + (2 if len(payload) < 126 else 4)
        elif code == JOIN_ROOM and self.transport is not None:
            self.transport.write(masked(bytes((JOIN_ROOM,))))
        elif code == ROOM_STATE and not self.has_state.done():
            self.has_state.set_result(None)


async def _play(pid: int, port: int, variant: str, load: Load) -> ServerTurn:
    loop, count = asyncio.get_running_loop(), load.players
    members: dict[str, list[ColyseusClient]] = defaultdict(list)
    await _until_listening(port)
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=timeout) as http:
        resident, started = processes.resident_bytes(pid), loop.time()
        for start in range(0, count, JOINS_AT_ONCE):
            batch = range(start, min(start + JOINS_AT_ONCE, count))
            await asyncio.gather(*(_join(http, port, variant, members) for _ in batch))
        clients = [client for room in members.values() for client in room]
        await asyncio.wait_for(asyncio.gather(*(client.has_state for client in clients)), 30)
        joined_s = loop.time() - started
    try:
        turned = masked(bytes((ROOM_DATA, 0)) + msgspec.msgpack.encode(0.1))

        async def play(seconds: float) -> list[float]:
            raw = cast("list[LoadClient]", clients)
            return await send_frames(raw, lambda number: turned, rate_hz=load.input_rate_hz, seconds=seconds)

        await play(load.warm_s)
        cpu = processes.cpu_seconds(pid)
        before = [(len(client.patch_hashes), client.patch_bytes) for client in clients]
        lateness = await play(load.seconds)
        cpu = processes.cpu_seconds(pid) - cpu
        after = [(len(client.patch_hashes), client.patch_bytes) for client in clients]
        resident = processes.resident_bytes(pid) - resident
        hashes = {client: client.patch_hashes[:end] for client, (end, _) in zip(clients, after, strict=True)}
        await asyncio.sleep(FLIGHT_S)
    finally:
        for room in members.values():
            for client in room:
                if client.transport is not None:
                    client.transport.abort()
    await asyncio.to_thread(check_patches, list(members.values()), hashes)
    grown = [
        (ends - starts, octets - earlier) for (starts, earlier), (ends, octets) in zip(before, after, strict=True)
    ]
    patches, octets = sum(number for number, _ in grown), sum(octets for _, octets in grown)
    if min(number for number, _ in grown) < 0.5 * load.seconds * PATCH_RATE_HZ:
        raise RuntimeError(f"a client received only {min(grown)[0]} patches in {load.seconds} s")
    return ServerTurn(
        cpu_us=cpu / patches * 1e6,
        bytes_per_tick=octets / patches,
        load_lateness_s=statistics.quantiles(lateness, n=100)[98],
        joins_per_second=count / joined_s,
        bytes_per_client=resident / count,
    )


def check_patches(rooms: list[list[ColyseusClient]], hashes: dict[ColyseusClient, list[int]]) -> None:
    """Decode the patches of each room's first client, and compare those of the others with them.

    Args:
        rooms: the clients of each room; the first is recorded.
        hashes: the hashes of the patches of each client that were counted.

    Raises:
        RuntimeError: a client lacks a patch, or has another one; or a patch cannot be decoded, or moves no player.
    """
    for first, *others in rooms:
        for client in others:
            if not is_run_of(hashes[client], first.patch_hashes):
                raise RuntimeError("a client received other patches than the recorded one of its room")
    with tempfile.NamedTemporaryFile() as file:
        for number, (first, *_) in enumerate(rooms):
            for message in first.recorded or ():
                file.write(struct.pack("<II", number, len(message)) + message)
        file.flush()
        command = [node(), "decode.mjs", file.name]
        done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise RuntimeError(f"the patches cannot be decoded: {done.stderr.strip()[-500:]}")
    found = msgspec.json.decode(done.stdout, type=Patches)
    expected = Patches(len(rooms), sum(len(first.patch_hashes) for first, *_ in rooms), 0, sum(map(len, rooms)))
    # While players join, a patch may hold nothing but the new player.
    if msgspec.structs.replace(found, unmoved=0) != expected or found.unmoved > 0.02 * found.patches:
        raise RuntimeError(f"the decoded patches are {found}, and should be {expected}")


def is_run_of(part: list[int], whole: list[int]) -> bool:
    """Return whether `part` is in `whole`, without a gap."""
    if not part:
        return False
    try:
        start = whole.index(part[0])
    except ValueError:
        return False
    return whole[start : start + len(part)] == part


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


async def _join(
    http: aiohttp.ClientSession, port: int, variant: str, members: dict[str, list[ColyseusClient]]
) -> None:
    """Join a room; the first client of a room is recorded."""
    async with http.post(f"/matchmake/joinOrCreate/{variant}", json={}) as answer:
        seat = await answer.json()
    room_id = seat["roomId"]
    path = f"/{seat['processId']}/{room_id}?sessionId={seat['sessionId']}"
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: ColyseusClient(path), "127.0.0.1", port)
    client.recorded = None if members[room_id] else []
    members[room_id].append(client)


if __name__ == "__main__":
    processes.pin_this(LOAD_CORE)
    for name in VARIANTS:
        print(name, measure(name, Load(1000, 10.0, 5.0), rooms=20))
