"""Finds the cause of a difference between two runs in their records, and describes it. Pure.

The first line of the game after which the state differs is the effect. The cause is a call to a source of chance
before it, in the same call of the hook. Without such a call, the cause is an order that Python does not define; the
first line whose variables differ then shows where it is read.
"""

from __future__ import annotations

import linecache
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from tickwire.testing.chance_probe import SourceCall
from tickwire.testing.game_frames import CodePlace
from tickwire.testing.line_trace import LineStep
from tickwire.testing.run_trace import TraceDifference
from tickwire.testing.scenario_record import ScenarioRecord

SOURCES_SHOWN = 5
PARTS_SHOWN = 5
Setting = Literal["one process", "other hash seed", "other process"]
"""How the two runs differ: nothing; the seed of the hashes of strings; the process."""

_ORDERS: dict[Setting, str] = {
    "one process": "the order of a set of objects, or another use of their addresses",
    "other hash seed": "the order of a set of strings, which depends on PYTHONHASHSEED; iterate over sorted(...)",
    "other process": "the order of a set of objects, or another value that differs between processes",
}
_REMEDIES = {
    "time": "use self.clock.now_s",
    "datetime": "use self.clock.now_s",
    "date": "use self.clock.now_s",
    "id": "use the ids of entities and players",
    "hash": "use the ids of entities and players, or zlib.crc32",
}
_REMEDY = "use self.random, which is seeded and moves with the room"


class Cause(NamedTuple):
    """The cause of a difference, as far as two records show it.

    Args:
        hook: the hook in which the runs differ first; empty if no traced line differs.
        effect: the line after which the state differs; None if it does not differ inside of a hook.
        variables: the line after which variables or the order of the lines differ; None without one.
        calls: the calls to sources of chance that may be the cause, the likeliest first.
    """

    hook: str
    effect: CodePlace | None
    variables: CodePlace | None
    calls: Sequence[SourceCall]


def find_cause(one: ScenarioRecord, other: ScenarioRecord) -> Cause:
    """Return the cause of the first difference of two records with the details of the same tick."""
    state = _first_difference(one.steps, other.steps, with_variables=False)
    any_ = _first_difference(one.steps, other.steps, with_variables=True)
    step = any_ if state is None else state
    if step is None:
        return Cause("", None, None, _last_calls(one.calls))
    effect = None if state is None else _step_before(one.steps, state)
    variables = None if any_ is None else _step_before(one.steps, any_)
    source = effect or variables
    assert source is not None
    first = next(index for index, each in enumerate(one.steps) if each.call == source.call)
    in_hook = [call for call in one.calls if first <= call.step <= step and call.place.hook == source.place.hook]
    in_hook = [call for call in in_hook if call.step > 0 or first == 0]
    in_hook.sort(key=lambda call: (variables is None or call.place != variables.place, -call.step))
    return Cause(
        source.place.hook,
        None if effect is None else effect.place,
        None if variables is None else variables.place,
        _unique(in_hook) or _last_calls(call for call in one.calls if call.step <= first),
    )


def _first_difference(one: Sequence[LineStep], other: Sequence[LineStep], *, with_variables: bool) -> int | None:
    size = 4 if with_variables else 3
    for index, (step, twin) in enumerate(zip(one, other, strict=False)):
        if step[:size] != twin[:size]:
            return index
    return None if len(one) == len(other) else min(len(one), len(other))


def _step_before(steps: Sequence[LineStep], index: int) -> LineStep:
    return steps[max(0, index - 1)]


def _unique(calls: Sequence[SourceCall]) -> list[SourceCall]:
    return list({(call.source, call.place): call for call in calls}.values())


def _last_calls(calls: Iterable[SourceCall]) -> list[SourceCall]:
    return _unique(list(reversed(list(calls))))


def describe(difference: TraceDifference, cause: Cause, setting: Setting) -> list[str]:
    """Return lines about a difference and its cause.

    Args:
        difference: the first difference of the two runs.
        cause: its cause.
        setting: how the two runs differ.
    """
    lines = [_describe_difference(difference, setting)]
    if cause.hook:
        lines.append(f"  hook: {cause.hook}")
    if cause.effect is not None:
        lines.append(f"  the state of the room differs first after {_quote(cause.effect)}")
    if cause.calls:
        lines.append("  source of chance:")
        lines += [_describe_call(call, cause.hook) for call in cause.calls[:SOURCES_SHOWN]]
    else:
        lines.append(f"  source of chance: {_ORDERS[setting]}")
        if cause.variables is not None:
            lines.append(f"    read by {_quote(cause.variables)}")
    return lines


def _describe_difference(difference: TraceDifference, setting: Setting) -> str:
    parts = ", ".join(difference.parts[:PARTS_SHOWN]) or "the ticks that have run"
    more = ", ..." if len(difference.parts) > PARTS_SHOWN else ""
    room = f" of room {difference.harness}" if difference.harness > 1 else ""
    runs = {
        "one process": "two runs",
        "other hash seed": "two runs with different hashes of strings",
        "other process": "two runs in different processes",
    }[setting]
    return f"{runs} differ first at tick {difference.tick}{room}, in {parts}{more}"


def _describe_call(call: SourceCall, hook: str) -> str:
    where = "" if call.place.hook == hook else f" in {call.place.hook}"
    remedy = _REMEDIES.get(call.source.partition(".")[0], _REMEDY)
    return f"    {call.source}, called{where} by {_quote(call.place)}; {remedy}"


def _quote(place: CodePlace) -> str:
    source = linecache.getline(place.file, place.line).strip()
    return f"{Path(place.file).name}:{place.line}" + (f" `{source}`" if source else "")
