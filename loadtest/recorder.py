"""Collects the measurements of this process's players each second, for locust and for the results.

A worker sends its seconds to the master with locust's own report; the master, or the only process, adds them up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gevent
import msgspec
from locust.env import Environment
from locust.runners import STATE_MISSING, MasterRunner, WorkerRunner
from locust.stats import StatsEntry, bucket_response_time

from tickwire.loadtest.metrics import Histogram, Measures, Second
from tickwire.loadtest.results import Results
from tickwire.loadtest.swarm import Swarm

METHOD = "swarm"
NOT_IN_TOTAL = frozenset(("tick", "jitter", "lateness"))
"""Rows with twenty entries per second and player, which would dominate locust's totals."""
REPORT_KEY = "tickwire_seconds"
SECONDS_UNREPORTED_MAX = 600
"""The number of seconds that a worker keeps while it cannot reach its master; older ones are lost."""


class WorkerRoster:
    """The workers of a run. A worker that was missing once counts as lost, since its measurements may be lost.

    Attributes:
        most: the largest number of workers at one time.
    """

    def __init__(self) -> None:
        self.most = 0
        self._known: set[str] = set()
        self._lost: set[str] = set()

    @property
    def lost(self) -> int:
        """The number of lost workers."""
        return len(self._lost)

    def update(self, present: set[str]) -> None:
        """Record the present workers."""
        self.most = max(self.most, len(present))
        self._lost |= self._known - present
        self._known |= present


class Recorder:
    """Records one process's part of a run.

    Attributes:
        results: the results: of all processes on the master, of this process elsewhere.
        workers: the workers of the run, on the master.
    """

    def __init__(self, environment: Environment, swarm: Swarm | None, *, lateness_s_max: float) -> None:
        self.results = Results(lateness_s_max)
        self._environment = environment
        self._swarm = swarm
        self._unreported: list[Second] = []
        self._at = 0
        self._greenlet: gevent.Greenlet | None = None
        self.workers = WorkerRoster()
        self._is_master = isinstance(environment.runner, MasterRunner)
        events = environment.events
        if isinstance(environment.runner, WorkerRunner):
            events.report_to_master.add_listener(self._report)
        elif isinstance(environment.runner, MasterRunner):
            events.worker_report.add_listener(self._reported)

    def start(self) -> None:
        """Begin a run."""
        self.results.clear()
        self._unreported.clear()
        self.workers = WorkerRoster()
        if self._greenlet is None:
            self._greenlet = gevent.spawn(self._watch_workers if self._is_master else self._run)

    def stop(self) -> None:
        """End the run, including the current second. Idempotent."""
        greenlet, self._greenlet = self._greenlet, None
        if greenlet is not None:
            greenlet.kill()
            if self._swarm is not None:
                self._swarm.record_unacknowledged_inputs()
                self._finish_second()

    def _watch_workers(self) -> None:
        runner: Any = self._environment.runner
        while True:
            gevent.sleep(1.0)
            self.workers.update({worker.id for worker in runner.clients.all if worker.state != STATE_MISSING})

    def _run(self) -> None:
        while True:
            gevent.sleep(1.0 - time.time() % 1.0)
            self._finish_second(pause=yield_to_others)

    def _finish_second(self, *, pause: Callable[[], None] = lambda: None) -> None:
        assert self._swarm is not None
        self._at = max(int(time.time() - 0.5), self._at + 1)  # a clock that jumps back must not repeat a second
        second = self._swarm.finish_second(self._at, pause=pause)
        report_to_locust(self._environment.stats, second.measures)
        if isinstance(self._environment.runner, WorkerRunner):
            self._unreported = [*self._unreported[1 - SECONDS_UNREPORTED_MAX :], second]
        else:
            self.results.add(second)

    def _report(self, client_id: str, data: dict[str, Any]) -> None:
        seconds, self._unreported = self._unreported, []
        data[REPORT_KEY] = msgspec.msgpack.encode(seconds)

    def _reported(self, client_id: str, data: dict[str, Any]) -> None:
        for second in msgspec.msgpack.decode(data.get(REPORT_KEY, b"\x90"), type=list[Second]):
            self.results.add(second)


def yield_to_others() -> None:
    """Let other greenlets run: due inputs are more urgent than the figures of a second."""
    gevent.sleep(0)


def report_to_locust(stats: Any, measures: Measures) -> None:
    """Add the measurements of a second to locust's statistics, one entry for each row."""
    for name, histogram in measures.times.items():
        if histogram.counts:
            entry = _create_entry(stats, name, histogram)
            stats.entries[(name, METHOD)].extend(entry)
            if name not in NOT_IN_TOTAL:
                stats.total.extend(entry)
    for row, reasons in measures.failures.items():
        for reason, times in reasons.items():
            _report_failures(stats, row, reason, times)


def _create_entry(stats: Any, name: str, histogram: Histogram) -> StatsEntry:
    now = time.time()
    entry = StatsEntry(stats, name, METHOD)
    items = histogram.items_ms()
    entry.num_requests = histogram.count
    entry.total_response_time = histogram.sum_s * 1e3  # type: ignore[assignment]  # locust's own are floats, too
    entry.min_response_time, entry.max_response_time = items[0][0], items[-1][0]  # type: ignore[assignment]
    entry.last_request_timestamp = now
    entry.num_reqs_per_sec[int(now)] = histogram.count
    for milliseconds, count in items:
        entry.response_times[bucket_response_time(milliseconds)] += count
    return entry


def _report_failures(stats: Any, row: str, reason: str, times: int) -> None:
    """Report failures as failed requests without a response time."""
    stats.log_request(METHOD, row, None, 0)
    stats.log_error(METHOD, row, reason)
    more = times - 1
    for entry in (stats.entries[(row, METHOD)], stats.total):
        entry.num_requests += more
        entry.num_none_requests += more
        entry.num_failures += more
    for error in stats.errors.values():
        if error.method == METHOD and error.name == row and error.error == reason:
            error.occurrences += more
