"""Drives locust by a load plan: computes the number of players once a second, and triggers the plan's event."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Callable
from typing import Any, ClassVar

import gevent
import msgspec
from gevent import subprocess as gevent_subprocess
from locust import LoadTestShape

from tickwire.loadtest.load_plan import LoadEvent, Plan, Step, Steps, Target, target
from tickwire.loadtest.results import Results
from tickwire.loadtest.slo import ServiceLevel, evaluate

DROP_MESSAGE = "tickwire_drop"
COMMAND_S_MAX = 3600.0
REPORTS_ARE_IN_S = 4.0
"""Workers report every three seconds: newer seconds may be incomplete."""


class ShapeRun:
    """The current run of a shape, on the master or the only process.

    Attributes:
        steps: the state of a `steps` run.
        event_at: the time of the plan's event, UTC; None before.
        command_failed: the error of the `--during` command; empty if it succeeded or was not set.
    """

    def __init__(
        self, plan: Plan, levels: list[ServiceLevel], results: Results, *, command: str, is_local: bool
    ) -> None:
        self.steps = Steps(plan)
        self.event_at: float | None = None
        self.command_failed = ""
        self._plan = plan
        self._levels = levels
        self._results = results
        self._command = command
        self._delay_s = 1.0 if is_local else REPORTS_ARE_IN_S
        self._started_at = time.time()
        self._running: gevent.Greenlet | None = None

    def tick(self, elapsed_s: float, runner: Any) -> tuple[int, float] | None:
        """Return the number of players and the rate for locust; None after the end of the run."""
        if self._plan.shape == "steps":
            return self._step(elapsed_s)
        wanted = target(self._plan, elapsed_s)
        if wanted is None:
            if self._running is not None and not self._running.dead:
                return self._plan.players, self._plan.rate  # wait for the end of the command
            return None
        if wanted.event is not None and self.event_at is None:
            self._trigger(wanted, runner)
        return wanted.players, wanted.rate

    def _trigger(self, wanted: Target, runner: Any) -> None:
        self.event_at = time.time()
        if wanted.event is LoadEvent.DROP:
            runner.send_message(DROP_MESSAGE)
        else:
            self._running = gevent.spawn(self._run_command)

    def _run_command(self) -> None:
        try:
            done = gevent_subprocess.run(shlex.split(self._command), timeout=COMMAND_S_MAX, check=False)
        except (OSError, subprocess.TimeoutExpired, gevent_subprocess.TimeoutExpired) as error:
            self.command_failed = str(error)
            return
        if done.returncode:
            self.command_failed = f"exit code {done.returncode}"

    def _step(self, elapsed_s: float) -> tuple[int, float] | None:
        steps, since = self.steps, elapsed_s - self._delay_s
        window = steps.window(since)
        if window is not None:
            start, end = self._started_at + window[0], self._started_at + window[1]
            step = msgspec.structs.replace(self._evaluate(start, end), start=start, end=end)
            if not steps.record(step, elapsed_s):
                return None
        return steps.players, steps.rate

    def _evaluate(self, start: float, end: float) -> Step:
        measures, players = self._results.between(start, end), self.steps.players
        player_counts = self._results.player_counts_at(int(end) - 1)
        found = Results(self._results.lateness_s_max)
        found.total = measures
        if found.is_load_late:
            late_ms = found.load_lateness_s * 1e3
            return Step(players, False, f"the load was late: {late_ms:.0f} ms", is_load=True)
        if player_counts.seated < min(player_counts.expected, players):
            return Step(players, False, f"only {player_counts.seated} of {player_counts.expected} were seated")
        broken = [verdict for verdict in evaluate(self._levels, measures) if not verdict.holds]
        reason = "; ".join(f"{one.level} was {one.value} (at most {one.limit})" for one in broken)
        return Step(players, not broken, reason)


class SwarmShape(LoadTestShape):
    """The shape that `--shape` names.

    Attributes:
        create_shape_run: creates the state of a run.
        shape_run: the current run, or the last one.
    """

    use_common_options = True
    create_shape_run: ClassVar[Callable[[], ShapeRun]]
    shape_run: ShapeRun | None = None

    def reset_time(self) -> None:
        """Begin a run."""
        super().reset_time()  # type: ignore[no-untyped-call]
        self.shape_run = type(self).create_shape_run()

    def tick(self) -> tuple[int, float] | None:
        """Return the number of players and the rate for locust; None after the end of the run."""
        assert self.shape_run is not None
        return self.shape_run.tick(self.get_run_time(), self.runner)  # type: ignore[no-untyped-call]
