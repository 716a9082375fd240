"""A player in a process of its own, which a test kills. Its client keeps the session in a file.

    python -m tests.harness.stored_player URL FILE TOKEN

Each line of its input is a command of the room, as JSON: [name, payload]. It prints a line of JSON once it has a
seat, and one for each command: its result and the events so far.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from tickwire.client import connect
from tickwire.server.dev.local_stores import die_with_parent

TIMEOUT_S = 30.0


class SessionFile:
    """Keeps a session in a file: the storage of an application."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> str | None:
        return self.path.read_text() if self.path.exists() else None

    def save(self, text: str) -> None:
        part = self.path.with_suffix(".part")  # a kill while it is written leaves the previous text
        part.write_text(text)
        part.replace(self.path)

    def clear(self) -> None:
        self.path.unlink(missing_ok=True)

    def read(self) -> Any:
        """Return the decoded text."""
        return msgspec.json.decode(self.path.read_text())


class StoredPlayer:
    """A player's process.

    Args:
        process: the process.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def command(self, name: str, payload: Any) -> Any:
        """Run a command. Return its result and the (number, name, payload) of all events so far."""
        await self.send(name, payload)
        return await self.next()

    async def send(self, name: str, payload: Any) -> None:
        """Send a command, and do not wait for its result."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode([name, payload]) + b"\n")
        await self._process.stdin.drain()

    async def next(self) -> Any:
        """Return what the player prints next."""
        assert self._process.stdout is not None
        async with asyncio.timeout(TIMEOUT_S):
            line = await self._process.stdout.readline()
        assert line, "the player has ended"
        return msgspec.json.decode(line)

    async def kill(self) -> None:
        """End the process without a close."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


@asynccontextmanager
async def stored_player(url: str, file: SessionFile, token: str = "") -> AsyncIterator[StoredPlayer]:
    """Run a player; kill it at the end of the block if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.harness.stored_player",
        url,
        str(file.path),
        token,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        preexec_fn=die_with_parent,
    )
    player = StoredPlayer(process)
    try:
        yield player
    finally:
        await player.kill()


async def main(url: str, file: str, token: str) -> None:
    """Play until the process is killed."""
    lines: asyncio.StreamReader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with connect(url, token=token, session_storage=SessionFile(Path(file))) as client:
        await client.wait_for(lambda: client.room is not None or not client.resumes)
        room = client.room if client.room is not None else await client.join("diary")
        report({"entity": room.entity, "room_id": room.room_id, "resumes": client.resumes})
        while line := await lines.readline():
            name, payload = msgspec.json.decode(line)
            result = await client.command(name, payload)
            report([result, [(event.number, event.name, event.payload) for event in client.events]])


def report(value: Any) -> None:
    """Print a line for the test."""
    print(msgspec.json.encode(value).decode(), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
