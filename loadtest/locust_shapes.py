"""locust's side of `plans`: asks once a second what there should be, and does what happens."""

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
from tickwire.loadtest.slo import ServiceLevel, judge

DROP_MESSAGE = "tickwire_drop"
COMMAND_S_MAX = 3600.0
REPORTS_ARE_IN_S = 4.0
"""Workers report every three seconds: what is younger may not be here yet."""


class Course:
    """A run under way, as its shape sees it: on the master, or on the only process.

    Attributes:
        steps: of shape `steps`.
        happened_at: UTC, when what happens happened; None before.
        command_failed: what became of `--during`; empty when it went well, or there was none.
    """

    def __init__(
        self, plan: Plan, levels: list[ServiceLevel], findings: Results, *, command: str, is_local: bool
    ) -> None:
        self.steps = Steps(plan)
        self.happened_at: float | None = None
        self.command_failed = ""
        self._plan = plan
        self._levels = levels
        self._findings = findings
        self._command = command
        self._delay_s = 1.0 if is_local else REPORTS_ARE_IN_S
        self._started_at = time.time()
        self._running: gevent.Greenlet | None = None

    def tick(self, elapsed_s: float, runner: Any) -> tuple[int, float] | None:
        """What locust is to have now; None: the run is over."""
        if self._plan.shape == "steps":
            return self._step(elapsed_s)
        wanted = target(self._plan, elapsed_s)
        if wanted is None:
            if self._running is not None and not self._running.dead:
                return self._plan.players, self._plan.rate  # its end is waited for
            return None
        if wanted.happening is not None and self.happened_at is None:
            self._happens(wanted, runner)
        return wanted.players, wanted.rate

    def _happens(self, wanted: Target, runner: Any) -> None:
        self.happened_at = time.time()
        if wanted.happening is LoadEvent.DROP:
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
            step = msgspec.structs.replace(self._judged(start, end), start=start, end=end)
            if not steps.judged(step, elapsed_s):
                return None
        return steps.players, steps.rate

    def _judged(self, start: float, end: float) -> Step:
        measures, players = self._findings.between(start, end), self.steps.players
        crowd = self._findings.crowd_at(int(end) - 1)
        found = Results(self._findings.lateness_s_max)
        found.total = measures
        if found.is_load_late:
            late_ms = found.load_lateness_s * 1e3
            return Step(players, False, f"the load itself was late: {late_ms:.0f} ms", is_load=True)
        if crowd.seated < min(crowd.expected, players):
            return Step(players, False, f"only {crowd.seated} of {crowd.expected} were seated")
        broken = [verdict for verdict in judge(self._levels, measures) if not verdict.holds]
        because = "; ".join(f"{one.level} was {one.value} (at most {one.limit})" for one in broken)
        return Step(players, not broken, because)


class SwarmShape(LoadTestShape):
    """The shape that `--shape` names.

    Attributes:
        new_course: makes one for each run.
        course: the run under way, or the last one.
    """

    use_common_options = True
    new_course: ClassVar[Callable[[], Course]]
    course: Course | None = None

    def reset_time(self) -> None:
        """A run begins."""
        super().reset_time()  # type: ignore[no-untyped-call]
        self.course = type(self).new_course()

    def tick(self) -> tuple[int, float] | None:
        """What there should be now."""
        assert self.course is not None
        return self.course.tick(self.get_run_time(), self.runner)  # type: ignore[no-untyped-call]
