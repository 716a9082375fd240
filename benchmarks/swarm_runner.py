"""Runs a swarm against one shard: the server on one core, the swarm on the others, with one worker for each core."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from benchmarks import processes
from benchmarks.server_under_load import percentile
from tickwire.loadtest.local_fleet import LocalShard, fleet
from tickwire.loadtest.summary import Summary
from tickwire.server.dev import local_stores

SERVER_CORE = 0
SWARM_S_MAX = 1800.0
LATENESS = "tickwire_tick_lateness_seconds"


def workers() -> int:
    """Return the number of workers: one for each core except the server's."""
    return max(1, len(processes.CORES) - 1)


@contextmanager
def one_shard(rooms: str = "benchmarks.rooms") -> Iterator[LocalShard]:
    """Run a shard on its own core."""
    environ = {
        "TICKWIRE__EDGE__HANDSHAKES_PER_SECOND_MAX": "100000",
        "TICKWIRE__CAPACITY__LOAD_MAX": "0.99",
        "TICKWIRE__DRAIN_TIMEOUT_S": "0",  # no other shard could take the rooms: a drain would wait for its timeout
    }
    with fleet(1, rooms=rooms, environ=environ, cpu=processes.CORES[SERVER_CORE]) as (shard,):
        yield shard


def swarm(url: str, *arguments: str, count: int = 1, report: Path | None = None) -> Summary:
    """Run a swarm to its end, and return its summary.

    Args:
        url: the address of the shard.
        arguments: the swarm's arguments.
        count: the number of worker processes; 1: a single process without a master.
        report: the file of the HTML report.

    Raises:
        RuntimeError: the swarm wrote no summary; the message contains its output.
    """
    with tempfile.TemporaryDirectory() as folder:
        file, port = Path(folder) / "summary.json", local_stores.free_port()
        given = ["--headless", "--only-summary", "--host", url, "--summary", str(file), *arguments]
        given += ["--report", str(report)] if report is not None else []
        if count == 1:
            commands = [given]
        else:
            bind = ["--master", "--master-bind-port", str(port), "--expect-workers", str(count)]
            commands = [[*given, *bind], *([["--worker", "--master-port", str(port)]] * count)]
        running = [_start(command, number) for number, command in enumerate(commands)]
        try:
            output, _ = running[0].communicate(timeout=SWARM_S_MAX)
        finally:
            for process in running:
                process.kill()
                process.wait()
        if not file.exists():
            raise RuntimeError(f"the swarm failed:\n{output.decode()[-2000:]}")
        return msgspec.json.decode(file.read_bytes(), type=Summary)


def _start(arguments: list[str], number: int) -> subprocess.Popen[bytes]:
    """Start a process of the swarm. The first one (a master, or the only one) shares the first worker's core."""
    own = processes.CORES[1:] or processes.CORES
    core = own[max(0, number - 1) % len(own)]
    return subprocess.Popen(
        ["taskset", "-c", str(core), sys.executable, "-m", "tickwire.loadtest", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if number == 0 else subprocess.DEVNULL,
        stderr=subprocess.STDOUT if number == 0 else subprocess.DEVNULL,
        preexec_fn=local_stores.die_with_parent,  # noqa: PLW1509
    )


class ShardMonitor:
    """Reads a shard's metrics and CPU time once a second while the block runs."""

    def __init__(self, shard: LocalShard) -> None:
        self._shard = shard
        self._read: list[tuple[float, float, dict[str, float]]] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="monitor")

    def __enter__(self) -> ShardMonitor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _poll(self) -> None:
        while not self._is_over.wait(1.0):
            cpu = processes.cpu_seconds(self._shard.process.pid)
            self._read.append((time.time(), cpu, processes.scrape(self._shard.operations_port)))

    def between(self, start: float, end: float) -> tuple[float, float, float]:
        """Return (share of a core, p99 of tick lateness in seconds, share of late ticks) of a period, UTC."""
        read = [one for one in self._read if start <= one[0] <= end]
        if len(read) < 2:
            return 0.0, 0.0, 0.0
        (from_s, cpu_before, before), (to_s, cpu_after, after) = read[0], read[-1]
        grown = {name: after[name] - before.get(name, 0.0) for name in after}
        late = grown["tickwire_ticks_late_total"] / max(1.0, grown["tickwire_ticks_total"])
        return (cpu_after - cpu_before) / (to_s - from_s), percentile(grown, LATENESS, 0.99), late
