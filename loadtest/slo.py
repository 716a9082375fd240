"""Service levels: the limits of a run, as `NAME=LIMIT`, and their evaluation. Pure.

input_p99=75ms       a time of metrics.TIMES with p50 to p99.99, mean or max; in us, ms or s
late_ticks=0.1%      a share of SHARES
failures=0           a count of COUNTS
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
        "states that arrived more than half an interval late",
        lambda m: (m.get_count("late_states"), m.get_count("states")),
    ),
    "missed_ticks": (
        "ticks without a state",
        lambda m: (m.get_count("missed_ticks"), m.get_count("missed_ticks") + m.get_count("states")),
    ),
    "failed_joins": (
        "joins that were refused or not answered",
        lambda m: (m.failed("join"), m.failed("join") + m.times["join"].count),
    ),
    "lost_sessions": (
        "reconnects that lost their session",
        lambda m: (m.failed("resume"), m.failed("resume") + m.times["resume"].count),
    ),
}
COUNTS: dict[str, tuple[str, Callable[[Measures], float]]] = {
    "failures": ("all failures", lambda m: sum(m.failed(row) for row in m.failures)),
    "gave_up": ("players that failed and started again", lambda m: m.failed("gave up")),
    "lost_seats": ("seats that players lost", lambda m: m.failed("seat")),
    "closes": ("connections that the server closed or that broke", lambda m: m.failed("close")),
    "bytes_per_player": (
        "bytes per second and player",
        lambda m: m.get_count("bytes") / m.get_count("player_seconds") if m.get_count("player_seconds") else 0.0,
    ),
}
CORRECT = ("world", "events", "replies", "seats", "inputs", "players", "workers")
"""The rows of failures that fail every run, whatever its levels."""
KEPT_IN_ROLLING = ("resume", "seat", "gave up")
"""The rows that also fail a run of shape `rolling`: replacing shards must not cost a session or a seat."""


class ServiceLevel(msgspec.Struct, frozen=True):
    """One service level.

    Args:
        name: its name, as in the option.
        limit: the maximum: seconds, a share from 0 to 1, or a count.
        unit: the unit of reports: "ms", "%" or "".
    """

    name: str
    limit: float
    unit: str

    def value(self, measures: Measures) -> float | None:
        """Return the measured value; None without measurements."""
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
        """Return a value of this level as text, with its unit."""
        if value is None:
            return "nothing was measured"
        return f"{value * _FACTORS[self.unit]:.4g}{self.unit and ' ' * (self.unit != '%') + self.unit}"


_FACTORS = {"ms": 1e3, "%": 100.0, "": 1.0}


def parse_level(text: str) -> ServiceLevel:
    """Parse `NAME=LIMIT`.

    Raises:
        ValueError: the name or the limit is invalid; the message lists the valid ones.
    """
    name, _, limit_text = text.partition("=")
    name = name.strip()
    time, limit = _TIME.match(name), _LIMIT.match(limit_text.strip())
    if limit is None:
        raise ValueError(f"{text!r} is not a service level: use NAME=LIMIT, as in input_p99=75ms or late_ticks=0.1%")
    number, unit = float(limit[1]), limit[2] or ""
    if time is not None and time[1] in TIMES:
        if unit not in _UNITS:
            raise ValueError(f"{text!r}: a time must have a unit: us, ms or s")
        return ServiceLevel(name, number * _UNITS[unit], "ms")
    if name in SHARES:
        if unit not in ("%", ""):
            raise ValueError(f"{text!r}: a share must be in %, or from 0 to 1")
        share = number / 100 if unit else number
        if share > 1:
            raise ValueError(f"{text!r}: a share must be at most 100%")
        return ServiceLevel(name, share, "%")
    if name in COUNTS:
        if unit:
            raise ValueError(f"{text!r}: a count must not have a unit")
        return ServiceLevel(name, number, "")
    raise ValueError(
        f"unknown service level {name!r}; the levels are {', '.join((*SHARES, *COUNTS))}, and a time "
        f"({', '.join(TIMES)}) with _p50 to _p99.99, _mean or _max"
    )


class Verdict(msgspec.Struct, frozen=True):
    """The result of one level."""

    level: str
    limit: str
    value: str
    holds: bool


def evaluate(levels: Sequence[ServiceLevel], measures: Measures, *, rows: Sequence[str] = CORRECT) -> list[Verdict]:
    """Evaluate the levels of a run. A level without measurements is broken.

    Args:
        levels: the levels.
        measures: the measurements of the whole run.
        rows: the rows of failures that fail the run.

    Returns:
        A verdict for each level, and one for each of the rows that has failures.
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
