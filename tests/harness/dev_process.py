"""The commands of the CLI, and `tickwire dev`, as processes of their own."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.harness.polling import eventually
from tickwire.server.dev.local_stores import die_with_parent, free_port
from tickwire.server.dev.runner import Access, read_access

ROOT = Path(__file__).parents[2]

CHOOSE_PORTS = {
    "TICKWIRE__OPERATIONS__PORT": "0",
    "TICKWIRE__API__PORT": "0",
    "TICKWIRE__API__OPERATIONS_PORT": "0",
}


def run_command(*arguments: str, given: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end.

    Args:
        arguments: the arguments of `tickwire`.
        given: the standard input.
        environ: further environment variables.
    """
    return subprocess.run(
        [sys.executable, "-m", "tickwire", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        input=given,
        env={**os.environ, **environ},
    )


class DevProcess:
    """A running `tickwire dev`.

    Args:
        data: its data folder.
        arguments: further arguments.
        port: the port for players; 0: a free one.
        cwd: the working directory.
        environ: further environment variables.
    """

    def __init__(self, data: Path, *arguments: str, port: int = 0, cwd: Path = ROOT, **environ: str) -> None:
        self.data = data
        self.port = port or free_port()
        self.output = data.parent / f"dev-{self.port}.log"
        command = [sys.executable, "-m", "tickwire", "dev", "--port", str(self.port), "--data", str(data), *arguments]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                stdout=output,
                stderr=output,
                cwd=cwd,
                # Two that start together would both find the default ports free.
                env={**os.environ, "PYTHONUNBUFFERED": "1", **CHOOSE_PORTS, **environ},
                preexec_fn=die_with_parent,  # noqa: PLW1509
            )

    @property
    def text(self) -> str:
        """Its output so far."""
        return self.output.read_text()

    @property
    def access(self) -> Access:
        """The address and token of its operations port."""
        found = read_access(self.data)
        assert found is not None
        return found

    async def says(self, words: str, timeout_s: float = 90) -> None:
        """Wait until its output contains these words."""
        await eventually(lambda: words in self.text, timeout_s, words)

    async def exit_code(self) -> int:
        """Wait for its end, and return its exit code."""
        return await asyncio.to_thread(self.process.wait, 80)


@contextmanager
def dev(data: Path, *arguments: str, port: int = 0, cwd: Path = ROOT, **environ: str) -> Iterator[DevProcess]:
    """Run `tickwire dev` with these bots, by default none, and kill it at the end."""
    running = DevProcess(data, "--bots", *(arguments or ("0",)), port=port, cwd=cwd, **environ)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()


def children_of(pid: int) -> list[int]:
    """Return the ids of a process's children."""
    return [int(text) for task in Path(f"/proc/{pid}/task").glob("*/children") for text in task.read_text().split()]


def is_alive(pid: int) -> bool:
    """Return whether a process exists and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def two_free_ports() -> int:
    """Return a free port whose successor is free too, below the range that outgoing connections use."""
    while True:
        port = random.randrange(20_000, 30_000, 2)
        with socket.socket() as first, socket.socket() as second, suppress(OSError):
            first.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + 1))
            return port
