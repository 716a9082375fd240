"""The locustfile: `locust -f loadtest/locustfile.py`, or `python -m tickwire.loadtest`.

The locustfile of a game's own players begins with `from tickwire.loadtest.locustfile import *`.
"""

from __future__ import annotations

import argparse
import gc
import logging
import sys
from pathlib import Path
from typing import Any

import msgspec
from locust import events
from locust.env import Environment
from locust.html import get_html_report
from locust.runners import MasterRunner, WorkerRunner

from tickwire.loadtest import options as swarm_options
from tickwire.loadtest import swarm as swarms
from tickwire.loadtest.charts import png
from tickwire.loadtest.html_report import render_report
from tickwire.loadtest.locust_shapes import DROP_MESSAGE, ShapeRun, SwarmShape
from tickwire.loadtest.players import (
    Abuser,
    Churner,
    Queuer,
    Reconnector,
    SlowReader,
    Spender,
    SwarmPlayer,
    Wanderer,
)
from tickwire.loadtest.preflight import Unusable, probe
from tickwire.loadtest.recorder import Recorder
from tickwire.loadtest.summary import RunRecord, Summary, format_summary, series, summarise
from tickwire.schemas.terminal_text import escape_controls

__all__ = [
    "Abuser",
    "Churner",
    "Queuer",
    "Reconnector",
    "SlowReader",
    "Spender",
    "SwarmPlayer",
    "SwarmShape",
    "Wanderer",
]

UNUSABLE_EXIT_CODE = 2
log = logging.getLogger("loadtest")


class Run:
    """The run of one process: created when locust starts, begun and ended with locust's test."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._runner: Any = environment.runner
        self._options: Any = environment.parsed_options or argparse.Namespace()
        self._is_master = isinstance(self._runner, MasterRunner)
        self._text = ""
        self._is_worker = isinstance(self._runner, WorkerRunner)
        # Invalid options are reported before the run. A worker receives its options and players from the master.
        if not self._is_worker:
            environment.user_classes[:] = swarm_options.select_players(
                self._options.mix, list(environment.user_classes)
            )
        self._plan, self._levels = (
            swarm_options.plan_from_options(self._options),
            swarm_options.levels_from_options(self._options),
        )
        self._swarm = swarms.Swarm(swarm_options.settings_from_options(environment.host, self._options))
        swarms.set_swarm(environment, self._swarm)
        self._recorder = Recorder(
            environment,
            None if self._is_master else self._swarm,
            lateness_s_max=self._options.load_lateness / 1000,
        )
        runner: Any = environment.runner
        runner.register_message(DROP_MESSAGE, self._drop)
        environment.events.test_start.add_listener(self._begin)
        environment.events.test_stopping.add_listener(self._end)  # before the players stop
        environment.events.spawning_complete.add_listener(self._all_spawned)
        if not self._is_worker:
            SwarmShape.create_shape_run = staticmethod(self._create_shape_run)
            environment.events.quitting.add_listener(self._summarise)
            environment.events.quit.add_listener(self._print_summary)

    def _create_shape_run(self) -> ShapeRun:
        return ShapeRun(
            self._plan,
            self._levels,
            self._recorder.results,
            command=self._options.during,
            is_local=not self._is_master,
        )

    def probe(self) -> None:
        """Check that the server accepts the swarm, except on a worker.

        Raises:
            Unusable: the swarm cannot play on the server.
        """
        if not self._is_worker:
            self._swarm.scheduler.start(_scheduler_died)
            probe(self._swarm)

    def _begin(self, environment: Environment, **_: Any) -> None:
        if self._is_worker:  # the master's options have arrived
            host = environment.host or self._swarm.url
            self._swarm.settings = swarm_options.settings_from_options(host, self._options)
        _avoid_collector_pauses()
        self._recorder.start()
        if not self._is_master:
            self._swarm.scheduler.start(_scheduler_died)

    def _all_spawned(self, **_: Any) -> None:
        gc.freeze()
        if self._options.reset_stats and self._plan.shape != "steps":
            self._recorder.results.restart_totals()

    def _end(self, **_: Any) -> None:
        self._recorder.stop()
        self._swarm.scheduler.stop()

    def _drop(self, **_: Any) -> None:
        log.info("dropped %d connections", self._swarm.drop_all())

    def _summarise(self, environment: Environment, **_: Any) -> None:
        self._end()
        shape = environment.shape_class
        shape_run = shape.shape_run if isinstance(shape, SwarmShape) else None
        if shape_run is None:  # the run never began; the exit code is already set
            return
        record = RunRecord(
            url=self._swarm.url,
            plan=self._plan,
            levels=self._levels,
            event_at=shape_run.event_at,
            steps=shape_run.steps.results,
            last_good=shape_run.steps.last_good,
            command_failed=shape_run.command_failed,
            workers=self._recorder.workers.most,
            workers_lost=self._recorder.workers.lost,
        )
        summary = summarise(self._recorder.results, record)
        environment.process_exit_code = summary.exit_code
        self._write(summary)
        self._text = format_summary(summary, is_colour=sys.stdout.isatty())

    def _print_summary(self, **_: Any) -> None:
        """Print the summary, after locust's own tables."""
        sys.stdout.write(f"{self._text}\n" if self._text else "")
        sys.stdout.flush()

    def _write(self, summary: Summary) -> None:
        options, found = self._options, series(self._recorder.results.points())
        if options.summary:
            _write_bytes(options.summary, msgspec.json.format(msgspec.json.encode(summary), indent=2))
        if options.report:
            own = get_html_report(self._environment, show_download_link=False)
            _write_bytes(options.report, render_report(summary, found, own).encode())
            _write_bytes(str(Path(options.report).with_suffix(".png")), png(found))


def _write_bytes(file: str, data: bytes) -> None:
    """Write a report. A failure is logged, and does not change the run's outcome."""
    try:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_bytes(data)
    except OSError as error:
        log.error("%s cannot be written: %s", file, error.strerror)


def _avoid_collector_pauses() -> None:
    """Avoid long pauses of the garbage collector, which would make the load late.

    Existing objects are frozen, and old objects are collected rarely. Young cycles are collected as usual.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 1_000)


def _scheduler_died(error: BaseException) -> None:
    """End the process: without the scheduler no input is sent, and lateness is unknown."""
    log.critical("the scheduler failed: %r", error)
    sys.stderr.flush()
    sys.exit(UNUSABLE_EXIT_CODE)


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def _add_options(parser: Any, **_: Any) -> None:
    swarm_options.add_to(parser)


@events.init.add_listener  # type: ignore[untyped-decorator]
def _init(environment: Environment, **_: Any) -> None:
    try:
        Run(environment).probe()
    except (swarm_options.OptionError, Unusable) as error:
        sys.stderr.write(f"loadtest: {escape_controls(str(error))}\n")
        sys.exit(UNUSABLE_EXIT_CODE)
