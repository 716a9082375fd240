"""Players in several languages, for tests in which all clients meet in one room.

A player is a program that is started with the arguments URL, ROOM, SECONDS and NAME. It joins a room of the type
`playground` as NAME, sends inputs and commands, and prints a line of JSON for everything that happens:

    {"event": "joined"}                 also "disconnected" and "reconnected"
    {"tick": 120, "crc": 3735928559}    after each state: the checksum of its world
    {"done": {...}}                     at the end of the round, see `Done`; then it exits with 0
    {"error": "..."}                    then it exits with 1

Other lines, such as the banner of an engine, are ignored."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[2]
SECONDS_MAX = 150
"""A player that has not finished after this time exits with an error."""

EXIT_S_MAX = 20


class ClientUnavailable(Exception):
    """A client cannot run on this machine; the text is the reason."""


class Done(msgspec.Struct):
    """The summary of a player.

    Attributes:
        resumes, sessions_lost: how often its connection was replaced, and how often its session was lost.
        mismatches: frames whose checksum differed from that of its world.
        resyncs: the keyframes that it has requested.
        sent: the number of inputs that it has sent.
        acknowledged: the newest input that the room has confirmed.
        counts: the replies to its command `count`.
        beats: the numbers of the events that it has received.
        crc, tick: the checksum and the tick of its last world.
        names: the field `name` of all squares, sorted.
    """

    resumes: int
    sessions_lost: int
    mismatches: int
    resyncs: int
    sent: int
    acknowledged: int
    counts: list[int]
    beats: list[int]
    crc: int
    tick: int
    names: list[str]


class Line(msgspec.Struct):
    """A line of a player: one of the fields is set, or both of `tick` and `crc`."""

    event: str = ""
    tick: int = 0
    crc: int = 0
    done: Done | None = None
    error: str = ""


class PlayerLog:
    """Everything that a player has reported.

    Attributes:
        checksums: the checksum of its world at each tick.
        events: how often it has reported each event.
        done: its summary; None while it plays.
        error: the reason for which it stopped.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.checksums: dict[int, int] = {}
        self.events: dict[str, int] = {}
        self.done: Done | None = None
        self.error = ""

    def add(self, text: str) -> None:
        """Add a line that the player has printed.

        Raises:
            AssertionError: a tick has two checksums.
        """
        if not text.startswith("{"):
            return
        line = msgspec.json.decode(text, type=Line)
        self.done = line.done or self.done
        self.error = line.error or self.error
        if line.event:
            self.events[line.event] = self.events.get(line.event, 0) + 1
        if line.tick:
            known = self.checksums.setdefault(line.tick, line.crc)
            assert known == line.crc, f"{self.name} has two checksums of tick {line.tick}"

    def count(self, event: str) -> int:
        """Return how often the player has reported an event."""
        return self.events.get(event, 0)


class PlayerProcess:
    """A player as a program of its own. Use it as an async context manager.

    Args:
        log: receives its lines.
        command: the command line, without the player's arguments.
    """

    def __init__(self, log: PlayerLog, command: Sequence[str], url: str, room: str) -> None:
        self.log = log
        self._command = [*command, url, room, str(SECONDS_MAX), log.name]
        self._process: asyncio.subprocess.Process | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._complaints = b""

    async def __aenter__(self) -> PlayerProcess:
        self._process = await asyncio.create_subprocess_exec(
            *self._command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._tasks = [asyncio.create_task(work) for work in (self._read_lines(), self._read_complaints())]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await asyncio.gather(*self._tasks)

    async def wait_until_ended(self) -> None:
        """Return once the program has ended by itself.

        Raises:
            AssertionError: it has failed.
        """
        assert self._process is not None
        try:
            async with asyncio.timeout(EXIT_S_MAX):
                code = await self._process.wait()
                await asyncio.wait(self._tasks)
        except TimeoutError as error:
            raise AssertionError(f"{self.log.name} is done, and has not exited in {EXIT_S_MAX} s") from error
        assert code == 0, f"{self.log.name}: {self.log.error} {self._complaints.decode()}"

    def check(self) -> None:
        """Check that the program runs or has ended without an error.

        Raises:
            AssertionError: it has failed.
        """
        assert self._process is not None
        has_failed = self.log.error or self._process.returncode not in (None, 0)
        assert not has_failed, f"{self.log.name}: {self.log.error} {self._complaints.decode()}"

    async def _read_lines(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.log.add(line.decode().strip())

    async def _read_complaints(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self._complaints += line
