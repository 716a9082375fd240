"""The record of one run of a scenario, in this process or in another one.

trace    the fingerprint of each tick, without a slowdown
details  the calls to sources of chance of the whole run, and the lines of one tick
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tickwire.testing import test_run
from tickwire.testing.chance_probe import ChanceProbe, SourceCall
from tickwire.testing.line_trace import LineStep, LineTracer
from tickwire.testing.run_trace import RunTrace, TraceEntry
from tickwire.testing.test_run import ObservedHarness, TestRun


class ScenarioRecord(msgspec.Struct):
    """The record of one run.

    Args:
        entries: the ticks.
        steps: the lines of the game in the tick at `position`.
        calls: the calls to sources of chance.
    """

    entries: list[TraceEntry]
    steps: list[LineStep] = []
    calls: list[SourceCall] = []


def record_run(call: Callable[[], object], position: int | None = None) -> ScenarioRecord:
    """Run a scenario and record it.

    Args:
        call: runs the scenario.
        position: the index of the tick whose details are recorded; None to record no details.
    """
    trace = RunTrace()
    if position is None:
        with test_run.running(TestRun(on_tick=trace)):
            call()
        return ScenarioRecord(trace.entries)
    lines = LineTracer()
    probe = ChanceProbe(lambda: (trace.entries[-1].tick + 1 if trace.entries else 1, len(lines.steps)))

    def observe(number: int, harness: ObservedHarness) -> None:
        trace(number, harness)
        follow()

    def follow() -> None:
        if len(trace.entries) == position:
            lines.start()
        else:
            lines.stop()

    with test_run.running(TestRun(on_tick=observe)), probe.active():
        follow()
        try:
            call()
        finally:
            lines.stop()
    return ScenarioRecord(trace.entries, lines.steps, probe.calls)
