"""Swarms for tests, each in a process of its own, because locust patches the process that imports it."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from tickwire.loadtest.summary import Summary
from tickwire.server.dev.local_stores import die_with_parent

SWARM_S_MAX = 150.0
LATE_MS = "10000"
"""Tests share the machine: they check the results of a swarm, not its speed."""


class SwarmProcess:
    """A swarm process, which ends with the test process.

    Args:
        url: the address of the server.
        folder: the folder of its summary.
        arguments: further options.
    """

    def __init__(self, url: str, folder: Path, *arguments: str) -> None:
        self.summary_file = folder / "summary.json"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tickwire.loadtest", "--headless", "--only-summary", "--host", url,
             "--summary", str(self.summary_file), "--load-lateness", LATE_MS, "--skip-log-setup", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=Path(__file__).parents[2],
            text=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509
        )  # fmt: skip
        self.output = ""

    async def end(self) -> int:
        """Wait for the end of the swarm, and return its exit code."""
        async with asyncio.timeout(SWARM_S_MAX):
            self.output, _ = await asyncio.to_thread(self.process.communicate)
        return self.process.returncode

    @property
    def summary(self) -> Summary:
        """The summary that the swarm has written."""
        return msgspec.json.decode(self.summary_file.read_bytes(), type=Summary)


@asynccontextmanager
async def swarm(url: str, folder: Path, *arguments: str) -> AsyncIterator[SwarmProcess]:
    """Run a swarm; kill it at the end of the block if it still runs."""
    made = SwarmProcess(url, folder, *arguments)
    try:
        yield made
    finally:
        with contextlib.suppress(ProcessLookupError):
            made.process.kill()
        await asyncio.to_thread(made.process.wait)
        if made.process.stdout is not None:
            made.process.stdout.close()


async def ended(url: str, folder: Path, *arguments: str) -> tuple[int, SwarmProcess]:
    """Run a swarm to its end. Return its exit code and the swarm."""
    async with swarm(url, folder, *arguments) as made:
        return await made.end(), made
