"""Service levels: what a run must keep, as `NAME=LIMIT`, and whether it did.

    input_p99=75ms       a time of measures.TIMES, and p50 to p99.99, mean or max; in us, ms or s
    late_ticks=0.1%      a share of SHARES
    failures=0           all that went wrong; closes=0, refused_joins=0: some of it

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import msgspec

from tickwire.loadtest.metrics import TIMES, Measures

_TIME = re.compile(r"^([a-z]+)_(p\d{1,2}(?:\.\d{1,3})?|mean|max)$")
_LIMIT = re.compile(r"^(\d+(?:\.\d+)?)(us|ms|s|%)?$")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}

SHARES: dict[str, tuple[str, Callable[[Measures], tuple[float, float]]]] = {
    "late_ticks": (
        "states that came more than half an interval late",
        lambda m: (m.get_count("late_states"), m.get_count("states")),
    ),
    "missed_ticks": (
        "ticks of which no state came",
        lambda m: (m.get_count("missed_ticks"), m.get_count("missed_ticks") + m.get_count("states")),
    ),
    "failed_joins": (
        "of all joins, those that were refused or not answered",
        lambda m: (m.failed("join"), m.failed("join") + m.times["join"].count),
    ),
    "lost_sessions": (
        "of all resumes, those that found their session gone",
        lambda m: (m.failed("resume"), m.failed("resume") + m.times["resume"].count),
    ),
}
COUNTS: dict[str, tuple[str, Callable[[Measures], float]]] = {
    "failures": ("all that went wrong", lambda m: sum(m.failed(row) for row in m.failures)),
    "gave_up": ("players that could not go on, and began again", lambda m: m.failed("gave up")),
    "lost_seats": ("seats that a room has taken away", lambda m: m.failed("seat")),
    "closes": ("connections that the server closed, or that broke", lambda m: m.failed("close")),
    "bytes_per_player": (
        "bytes a second that one player was sent",
        lambda m: m.get_count("bytes") / m.get_count("player_seconds") if m.get_count("player_seconds") else 0.0,
    ),
}
CORRECT = ("world", "events", "replies", "seats", "inputs", "players", "workers")
"""Rows of failures that no level allows: a run with one of them has failed."""
KEPT_IN_ROLLING = ("resume", "seat", "gave up")
"""Rows that also fail a run of shape `rolling`: no player loses a session or a seat when shards are replaced."""


class ServiceLevel(msgspec.Struct, frozen=True):
    """One thing that a run must keep.

    Args:
        name: as written.
        limit: at most this; seconds, a share from 0 to 1, or a count.
        unit: how people read it: "ms", "%" or "".
    """

    name: str
    limit: float
    unit: str

    def value(self, measures: Measures) -> float | None:
        """What it was; None where nothing was measured."""
        if self.name in SHARES:
            part, whole = SHARES[self.name][1](measures)
            return part / whole if whole else None
        if self.name in COUNTS:
            return COUNTS[self.name][1](measures)
        row, _, which = self.name.partition("_")
        histogram = measures.times[row]
        if not histogram.counts:
            return None
        if which == "mean":
            return histogram.mean_s
        return histogram.max_s if which == "max" else histogram.percentile(float(which[1:]) / 100)

    def format(self, value: float | None) -> str:
        """A value of this level, for people."""
        if value is None:
            return "nothing was measured"
        return f"{value * _FACTORS[self.unit]:.4g}{self.unit and ' ' * (self.unit != '%') + self.unit}"


_FACTORS = {"ms": 1e3, "%": 100.0, "": 1.0}


def parse_level(text: str) -> ServiceLevel:
    """Reads `NAME=LIMIT`.

    Raises:
        ValueError: there is no such level; says which there are.
    """
    name, _, limit_text = text.partition("=")
    name = name.strip()
    time, limit = _TIME.match(name), _LIMIT.match(limit_text.strip())
    if limit is None:
        raise ValueError(f"{text!r} is no service level: it is NAME=LIMIT, as in input_p99=75ms or late_ticks=0.1%")
    number, unit = float(limit[1]), limit[2] or ""
    if time is not None and time[1] in TIMES:
        if unit not in _UNITS:
            raise ValueError(f"{text!r}: a time has a unit: us, ms or s")
        return ServiceLevel(name, number * _UNITS[unit], "ms")
    if name in SHARES:
        if unit not in ("%", ""):
            raise ValueError(f"{text!r}: a share is given in %, or from 0 to 1")
        share = number / 100 if unit else number
        if share > 1:
            raise ValueError(f"{text!r}: a share is at most 100%")
        return ServiceLevel(name, share, "%")
    if name in COUNTS:
        if unit:
            raise ValueError(f"{text!r}: a count has no unit")
        return ServiceLevel(name, number, "")
    raise ValueError(
        f"there is no service level {name!r}; there are {', '.join((*SHARES, *COUNTS))}, and a time "
        f"({', '.join(TIMES)}) with _p50 to _p99.99, _mean or _max"
    )


class Verdict(msgspec.Struct, frozen=True):
    """One level, held against what was measured."""

    level: str
    limit: str
    value: str
    holds: bool


def evaluate(levels: list[ServiceLevel], measures: Measures, *, rows: Sequence[str] = CORRECT) -> list[Verdict]:
    """Return what became of each level. A level of which nothing was measured is broken: it cannot be said to hold.

    Args:
        levels: what the run must keep.
        measures: of the whole run.
        rows: of failures that fail the run.
    """
    verdicts = []
    for level in levels:
        value = level.value(measures)
        holds = value is not None and value <= level.limit
        verdicts.append(Verdict(level.name, level.format(level.limit), level.format(value), holds))
    for row in rows:
        if times := measures.failed(row):
            reasons = ", ".join(f"{reason} ({count})" for reason, count in measures.failures[row].items())
            verdicts.append(Verdict(row, "0", f"{times}: {reasons}", False))
    return verdicts
