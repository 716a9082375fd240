"""Does the server leak memory or lose data when clients drop and reconnect continuously?

500 players in rooms of 50 on one shard in its own process. Each player drops its connection after some seconds (a
reset, a close, or a connection that stays half-open while the next one takes over), stays disconnected for a while,
and resumes. Every player verifies its world by the frames' checksums, checks that the room's notes arrive once and in
order, and sends commands whose replies contain how often they ran. The shard's memory is read when all players are
seated, and at the end.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import cast

import msgspec
import uvloop

from benchmarks import processes
from benchmarks.load import REQUEST, masked
from benchmarks.report import Report, report, row
from benchmarks.rooms import Soak
from tickwire.client.core import ClientCore
from tickwire.client.options import JoinOptions
from tickwire.client.updates import EventReceived, EventsLost, ReplyReceived, Welcomed
from tickwire.schemas.framing import FIN_BINARY, HEADER_BYTES, payload_bytes
from tickwire.server.dev import local_stores

PLAYERS, ROOMS = 500, 10
SERVER_CORE, LOAD_CORE = 0, 1
STAYS_S, AWAY_S_MAX = (4.0, 20.0), 6.0
COMMAND_EVERY_S, PING_EVERY_S = 2.0, 2.5
SETTLE_S = 10.0


def run(*, quick: bool) -> Report:
    """Run the soak for ten minutes; quick: twenty seconds."""
    seconds = 20.0 if quick else 600.0
    processes.pin_this(LOAD_CORE)
    with tempfile.TemporaryDirectory() as folder, local_stores.running(Path(folder)) as stores:
        port, operations = local_stores.free_port(), local_stores.free_port()
        environ = {
            "TICKWIRE__ROOMS": "benchmarks.rooms",
            "TICKWIRE__LISTEN__PORT": str(port),
            "TICKWIRE__LISTEN__PLAINTEXT": "true",
            "TICKWIRE__OPERATIONS__PORT": str(operations),
            "TICKWIRE__REDIS__URL": stores.redis_url,
            "TICKWIRE__MONGO__URL": stores.mongo_url,
            "TICKWIRE__MONGO__MIGRATE": "true",
            "TICKWIRE__LOGGING__LEVEL": "warning",
            "TICKWIRE__DRAIN_TIMEOUT_S": "0",  # no other shard could take the rooms
        }
        server = processes.start(["-m", "tickwire", "serve"], core=SERVER_CORE, environ=environ)
        try:
            processes.wait_http(f"http://127.0.0.1:{operations}/readyz")
            return uvloop.run(_soak(server.pid, port, operations, seconds, quick=quick))
        finally:
            processes.stop(server)


async def _soak(pid: int, port: int, operations: int, seconds: float, *, quick: bool) -> Report:
    players = [SoakPlayer(port, f"room {number % ROOMS}", random.Random(number)) for number in range(PLAYERS)]
    tasks = [asyncio.create_task(player.run()) for player in players]
    try:
        await _until(lambda: all(player.core.world is not None for player in players), 60, "all are seated")
        await asyncio.sleep(SETTLE_S)
        before, started = await asyncio.to_thread(processes.scrape, operations), time.monotonic()
        memory = [processes.resident_bytes(pid) / 1e6]
        for player in players:
            player.is_dropping = True
        while time.monotonic() - started < seconds:
            await asyncio.sleep(min(30.0, seconds / 4))
            memory.append(processes.resident_bytes(pid) / 1e6)
            print(f"soak: {time.monotonic() - started:4.0f} s, {memory[-1]:.1f} MB", file=sys.stderr)
        for player in players:
            player.is_dropping = False
        await asyncio.sleep(SETTLE_S)
        memory.append(processes.resident_bytes(pid) / 1e6)
        after = await asyncio.to_thread(processes.scrape, operations)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return _report(players, memory, {name: after[name] - before.get(name, 0.0) for name in after}, quick=quick)


def _report(players: list[SoakPlayer], memory: list[float], grown: dict[str, float], *, quick: bool) -> Report:
    found: Counter[str] = Counter()
    for player in players:
        found += player.found
        found["checksum_mismatches"] += player.core.mismatches
        found["resyncs"] += player.core.resyncs
        found["events_missed"] += player.core.events_missed
        found["commands_unanswered"] += player.core.commands_unanswered > 1  # the last command may still be in flight
    rows = [
        row("shard", "resident_start", "MB", memory[:1]),
        row("shard", "resident_end", "MB", memory[-1:]),
        row("shard", "resident_all", "MB", memory),
        row("shard", "late_ticks_share", "1", [grown["tickwire_ticks_late_total"] / grown["tickwire_ticks_total"]]),
        row("players", "player_ticks", "1", [grown["tickwire_player_ticks_total"]]),
    ]
    names = ("drops", "resumes", "notes", "commands", "half_open", "sessions_lost", "notes_wrong", "replies_wrong")
    more = ("checksum_mismatches", "resyncs", "events_missed", "events_lost", "commands_unanswered")
    rows += [row("players", name, "1", [float(found[name])]) for name in (*names, *more)]
    return report("soak", quick=quick, rows=rows, goals=[])


class SoakPlayer:
    """One player: a core, its successive connections, and the errors that it found."""

    def __init__(self, port: int, room_name: str, rng: random.Random) -> None:
        self.core = ClientCore()
        self.found: Counter[str] = Counter()
        self.is_dropping = False
        self._port = port
        self._room_name = room_name
        self._rng = rng
        self._connection: SoakConnection | None = None
        self._last_note = self._commands = 0

    async def run(self) -> None:
        """Connect, play, drop and reconnect, until cancelled."""
        await asyncio.sleep(self._rng.uniform(0, 5))
        while True:
            with suppress(OSError):
                self._connection = await self._connect()
                await self._play(self._connection)
                self._drop(self._connection)
            self._connection = None
            await asyncio.sleep(self._rng.uniform(0, AWAY_S_MAX))

    async def _connect(self) -> SoakConnection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: SoakConnection(self), "127.0.0.1", self._port)
        return connection

    async def _play(self, connection: SoakConnection) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._rng.uniform(*STAYS_S)
        command_at, ping_at = loop.time() + COMMAND_EVERY_S, loop.time() + PING_EVERY_S
        while not connection.is_lost and (loop.time() < until or not self.is_dropping):
            await asyncio.sleep(0.2)
            if connection.is_welcome:
                self._send_commands(connection)
            if self.core.world is not None and connection.is_welcome and loop.time() > command_at:
                command_at += COMMAND_EVERY_S
                self._commands += 1
                self.found["commands"] += 1
                self.core.command("count", self._commands)
                connection.send(self.core.input({"turn": self._rng.uniform(-1, 1)}))
            if connection.is_welcome and loop.time() > ping_at:
                ping_at += PING_EVERY_S
                connection.send(self.core.ping(1))

    def _drop(self, connection: SoakConnection) -> None:
        self.found["drops"] += 1
        kind = self._rng.choice(("reset", "close", "half-open"))
        if kind == "half-open":
            self.found["half_open"] += 1
            connection.leave_open()
        elif kind == "close":
            connection.close()
        else:
            connection.abort()

    def _send_commands(self, connection: SoakConnection) -> None:
        for data in self.core.commands_due(time.monotonic_ns() // 1000):
            connection.send(data)

    def receive(self, connection: SoakConnection, data: bytes) -> None:
        """Handle a message of the newest connection."""
        match self.core.receive(data, now_us=time.monotonic_ns() // 1000):
            case Welcomed(welcome, has_resumed, _):
                connection.is_welcome = True
                self.found["resumes" if has_resumed else "sessions"] += 1
                self.found["sessions_lost"] += not has_resumed and self._last_note > 0
                connection.send(self.core.ping(1))
                if not welcome.room_id and not welcome.is_joining:
                    self._last_note = self._commands = 0
                    connection.send(self.core.join(Soak.room_type, JoinOptions(name=self._room_name)))
            case EventReceived(event, _) if event.name == "note":
                note = msgspec.msgpack.decode(event.payload)
                self.found["notes"] += 1
                self.found["notes_wrong"] += note != self._last_note + 1
                self._last_note = note
            case ReplyReceived(reply, is_decided=True):
                number, runs = msgspec.msgpack.decode(reply.payload) if reply.ok else (0, -1)
                self.found["replies_wrong"] += number != runs
            case EventsLost():
                self.found["events_lost"] += 1
        while self.core.outgoing:
            connection.send(self.core.outgoing.popleft())
        if connection.is_welcome:
            self._send_commands(connection)


class SoakConnection(asyncio.Protocol):
    """One connection of a player."""

    def __init__(self, player: SoakPlayer) -> None:
        self.is_lost = self.is_welcome = False
        self._player = player
        self._data = b""
        self._is_open = self._is_ignoring = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(REQUEST)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True

    def data_received(self, data: bytes) -> None:
        if self._is_ignoring:
            return
        self._data += data
        if not self._is_open:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            self._is_open, self._data = True, self._data[end + 4 :]
            self.send(self._player.core.hello(build="soak"))
        at, size = 0, len(self._data)
        while size - at >= 4 and not self._is_ignoring:
            head, start = self._data[at], at + HEADER_BYTES[self._data[at + 1]]
            length = payload_bytes(self._data, at)
            if size < start + length:
                break
            if head == FIN_BINARY:
                self._player.receive(self, self._data[start : start + length])
            elif (
                head != 0x89
            ):  # a WebSocket ping, which the server sends to silent clients, needs no answer: a Ping follows soon
                self.abort()
            at = start + length
        self._data = self._data[at:]

    def send(self, message: bytes) -> None:
        """Send a message."""
        if self._transport is not None and not self.is_lost:
            self._transport.write(masked(message))

    def close(self) -> None:
        """Close with a close frame, without waiting for the answer."""
        self._is_ignoring = True
        if self._transport is not None:
            self._transport.write(b"\x88\x82\0\0\0\0\x03\xe9")
            self._transport.close()

    def abort(self) -> None:
        """Reset the connection."""
        self._is_ignoring = True
        if self._transport is not None:
            self._transport.abort()

    def leave_open(self) -> None:
        """Stop reading without a close, as a phone that lost its network. The connection is dropped after 15 s."""
        self._is_ignoring = True
        if self._transport is not None:
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(15.0, self._transport.abort)


async def _until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        await asyncio.sleep(0.1)
