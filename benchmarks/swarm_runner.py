"""Runs a swarm against one shard: the server on one core, the swarm on the others, with one worker for each core."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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


class Shares(msgspec.Struct, frozen=True):
    """The loads of a shard and of a worker in a period.

    Args:
        server, worker: the share of a core that the process used.
        worker_waiting: the share of time in which the worker was ready to run and waited for its core.
        late_ticks: the share of the shard's ticks that started late.
        lateness_p99_s: the 99th percentile of the shard's tick lateness.
    """

    server: float = 0.0
    worker: float = 0.0
    worker_waiting: float = 0.0
    late_ticks: float = 0.0
    lateness_p99_s: float = 0.0


def swarm(
    url: str,
    *arguments: str,
    count: int = 1,
    report: Path | None = None,
    on_start: Callable[[int], None] = lambda process_id: None,
) -> Summary:
    """Run a swarm to its end, and return its summary.

    Args:
        url: the address of the shard.
        arguments: the swarm's arguments.
        count: the number of worker processes; 1: a single process without a master.
        report: the file of the HTML report.
        on_start: called with the process id of the first process: a master, or the only worker.

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
        on_start(running[0].pid)
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


class Reading(msgspec.Struct, frozen=True):
    """The counters at one moment, UTC: CPU seconds, waiting seconds and the shard's metrics."""

    at_s: float
    server_s: float
    worker_s: float
    worker_waiting_s: float
    metrics: dict[str, float]


class ShardMonitor:
    """Reads a shard's metrics and CPU time once a second while the block runs, and the CPU time of a worker."""

    def __init__(self, shard: LocalShard) -> None:
        self._shard = shard
        self._worker_id = 0
        self._readings: list[Reading] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="monitor")

    def __enter__(self) -> ShardMonitor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def watch_worker(self, process_id: int) -> None:
        """Read the CPU time of this worker from now on. `taskset` becomes the worker, under the same process id."""
        self._worker_id = process_id

    def _poll(self) -> None:
        while not self._is_over.wait(1.0):
            server_s = processes.cpu_seconds(self._shard.process.pid)
            worker_s = waiting_s = 0.0
            if self._worker_id:
                with suppress(OSError):  # it has ended
                    worker_s = processes.cpu_seconds(self._worker_id)
                    waiting_s = processes.wait_seconds(self._worker_id)
            metrics = processes.scrape(self._shard.operations_port)
            self._readings.append(Reading(time.time(), server_s, worker_s, waiting_s, metrics))

    def shares_between(self, start: float, end: float) -> Shares:
        """Return the loads of a period, UTC; zeros if it is too short."""
        readings = [one for one in self._readings if start <= one.at_s <= end]
        if len(readings) < 2:
            return Shares()
        first, last = readings[0], readings[-1]
        took_s = last.at_s - first.at_s
        grown = {name: last.metrics[name] - first.metrics.get(name, 0.0) for name in last.metrics}
        return Shares(
            (last.server_s - first.server_s) / took_s,
            (last.worker_s - first.worker_s) / took_s,
            (last.worker_waiting_s - first.worker_waiting_s) / took_s,
            grown["tickwire_ticks_late_total"] / max(1.0, grown["tickwire_ticks_total"]),
            percentile(grown, LATENESS, 0.99),
        )

    def between(self, start: float, end: float) -> tuple[float, float, float]:
        """Return (share of a core, p99 of tick lateness in seconds, share of late ticks) of a period, UTC."""
        found = self.shares_between(start, end)
        return found.server, found.lateness_p99_s, found.late_ticks
