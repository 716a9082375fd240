"""What locust loads: `locust -f loadtest/locustfile.py`, or `python -m tickwire.loadtest`.

A game's own players go into a locustfile that begins with `from tickwire.loadtest.locustfile import *`.
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

from tickwire.loadtest import options as of_options
from tickwire.loadtest import swarm as swarms
from tickwire.loadtest.charts import png
from tickwire.loadtest.html_report import page
from tickwire.loadtest.locust_shapes import DROP_MESSAGE, Course, SwarmShape
from tickwire.loadtest.players import (
    Abuser,
    Churner,
    Matchmaker,
    Reconnector,
    SlowReader,
    Spender,
    SwarmPlayer,
    Wanderer,
)
from tickwire.loadtest.preflight import Unusable, probe
from tickwire.loadtest.recorder import Recorder
from tickwire.loadtest.summary import Summary, series, summarise, words
from tickwire.schemas.terminal_text import escape_controls

__all__ = [
    "Abuser",
    "Churner",
    "Matchmaker",
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
    """One process's run: made at init, begun and ended with locust's test."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._runner: Any = environment.runner
        self._options: Any = environment.parsed_options or argparse.Namespace()
        self._is_master = isinstance(self._runner, MasterRunner)
        self._words = ""
        self._is_worker = isinstance(self._runner, WorkerRunner)
        # What cannot be is said before anything begins. A worker is told by its master what to do, and with whom.
        if not self._is_worker:
            environment.user_classes[:] = of_options.mixed(self._options.mix, list(environment.user_classes))
        self._plan, self._levels = of_options.plan_of(self._options), of_options.levels_of(self._options)
        url, *more_urls = of_options.urls_of(environment.host, self._options.entry)
        self._swarm = swarms.Swarm(
            url,
            more_urls=more_urls,
            tokens=of_options.tokens_of(self._options),
            habits=of_options.habits_of(self._options),
            tls=of_options.tls_of(self._options),
            build=self._options.build_name,
        )
        swarms.put(environment, self._swarm)
        self._recorder = Recorder(
            environment,
            None if self._is_master else self._swarm,
            lateness_s_max=self._options.load_lateness / 1000,
        )
        runner: Any = environment.runner
        runner.register_message(DROP_MESSAGE, self._drop)
        environment.events.test_start.add_listener(self._begin)
        environment.events.test_stopping.add_listener(self._end)  # before players are sent home
        environment.events.spawning_complete.add_listener(self._all_are_there)
        if not self._is_worker:
            SwarmShape.new_course = staticmethod(self._new_course)
            environment.events.quitting.add_listener(self._conclude)
            environment.events.quit.add_listener(self._say)

    def _new_course(self) -> Course:
        return Course(
            self._plan,
            self._levels,
            self._recorder.findings,
            command=self._options.during,
            is_local=not self._is_master,
        )

    def probe(self) -> None:
        """Is there a server? Only where the run is led from.

        Raises:
            Unusable: none that this swarm can play on.
        """
        if not self._is_worker:
            self._swarm.metronome.start(_died)
            probe(self._swarm)

    def _begin(self, environment: Environment, **_: Any) -> None:
        if self._is_worker:  # its master's options are here by now
            self._swarm.url = environment.host or self._swarm.url
            self._swarm.more_urls = self._options.entry
            self._swarm.habits = of_options.habits_of(self._options)
            self._swarm.tokens = of_options.tokens_of(self._options)
            self._swarm.tls = of_options.tls_of(self._options)
            self._swarm.build = self._options.build_name
        _spare_pauses()
        self._recorder.start()
        if not self._is_master:
            self._swarm.metronome.start(_died)

    def _all_are_there(self, **_: Any) -> None:
        gc.freeze()
        if self._options.reset_stats and self._plan.shape != "steps":
            self._recorder.findings.begin_anew()

    def _end(self, **_: Any) -> None:
        self._recorder.stop()
        self._swarm.metronome.stop()

    def _drop(self, **_: Any) -> None:
        log.info("dropped %d connections", self._swarm.drop_all())

    def _conclude(self, environment: Environment, **_: Any) -> None:
        self._end()
        shape = environment.shape_class
        course = shape.course if isinstance(shape, SwarmShape) else None
        if course is None:  # it never began: the exit code says so already
            return
        summary = summarise(
            self._recorder.findings,
            self._plan,
            self._levels,
            workers_lost=self._recorder.workers.lost,
            workers=self._recorder.workers.most,
            url=self._swarm.url,
            happened_at=course.happened_at,
            steps=course.steps.found,
            last_good=course.steps.last_good,
            command_failed=course.command_failed,
        )
        environment.process_exit_code = summary.exit_code
        self._write(summary)
        self._words = words(summary, is_colour=sys.stdout.isatty())

    def _say(self, **_: Any) -> None:
        """Last of all, behind locust's own tables."""
        sys.stdout.write(f"{self._words}\n" if self._words else "")
        sys.stdout.flush()

    def _write(self, summary: Summary) -> None:
        options, found = self._options, series(self._recorder.findings.points())
        if options.summary:
            _write_bytes(options.summary, msgspec.json.format(msgspec.json.encode(summary), indent=2))
        if options.report:
            own = get_html_report(self._environment, show_download_link=False)
            _write_bytes(options.report, page(summary, found, own).encode())
            _write_bytes(str(Path(options.report).with_suffix(".png")), png(found))


def _write_bytes(file: str, data: bytes) -> None:
    """A report that cannot be written is said; the run's outcome stays what it is."""
    try:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_bytes(data)
    except OSError as error:
        log.error("%s cannot be written: %s", file, error.strerror)


def _spare_pauses() -> None:
    """The garbage collector's long pauses would be our lateness: what is there now is not looked at again, and what
    comes to stay, seldom. Cycles of the young are found as ever."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 1_000)


def _died(error: BaseException) -> None:
    """Without a metronome nothing would be sent, and nobody would know how late: that is no run."""
    log.critical("the metronome has died: %r", error)
    sys.stderr.flush()
    sys.exit(UNUSABLE_EXIT_CODE)


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def _add_options(parser: Any, **_: Any) -> None:
    of_options.add_to(parser)


@events.init.add_listener  # type: ignore[untyped-decorator]
def _init(environment: Environment, **_: Any) -> None:
    try:
        Run(environment).probe()
    except (of_options.OptionError, Unusable) as error:
        sys.stderr.write(f"loadtest: {escape_controls(str(error))}\n")
        sys.exit(UNUSABLE_EXIT_CODE)
