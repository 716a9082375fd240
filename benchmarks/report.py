"""The report of a benchmark: one JSON object with every figure, its unit, its peers and its goals."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
from collections.abc import Sequence
from typing import Literal

import msgspec


class ReportRow(msgspec.Struct):
    """One figure of one subject, over several runs."""

    subject: str
    metric: str
    unit: str
    median: float
    min: float
    max: float
    n: int


class Goal(msgspec.Struct):
    """A figure and its goal; `holds` is null if the load was the limit, and not the server."""

    name: str
    value: float
    goal: float
    better: Literal["lower", "higher"]
    holds: bool | None


class Report(msgspec.Struct):
    """The results of one run of a benchmark."""

    name: str
    quick: bool
    machine: dict[str, str | int]
    versions: dict[str, str]
    rows: list[ReportRow]
    goals: list[Goal]
    limited_by: str | None = None


def row(subject: str, metric: str, unit: str, values: Sequence[float]) -> ReportRow:
    """Return the median and the range of several runs."""
    return ReportRow(
        subject,
        metric,
        unit,
        round(statistics.median(values), 3),
        round(min(values), 3),
        round(max(values), 3),
        len(values),
    )


def goal(name: str, value: float, wanted: float, *, limited_by: str | None = None) -> Goal:
    """Return a goal with an upper limit."""
    return Goal(name, round(value, 3), wanted, "lower", None if limited_by else value <= wanted)


def at_least(name: str, value: float, wanted: float, *, limited_by: str | None = None) -> Goal:
    """Return a goal with a lower limit."""
    return Goal(name, round(value, 3), wanted, "higher", None if limited_by else value >= wanted)


def report(
    name: str, *, quick: bool, rows: list[ReportRow], goals: list[Goal], limited_by: str | None = None
) -> Report:
    """Return a report with this machine and the versions of the libraries."""
    packages = ("websockets", "uvloop", "flatbuffers", "msgspec", "numpy", "redis", "motor")
    versions = {package: importlib.metadata.version(package) for package in packages}
    machine: dict[str, str | int] = {
        "cpu": _cpu(),
        "cores": os.cpu_count() or 0,
        "system": f"{platform.system()} {platform.release()}",
    }
    return Report(name, quick, machine, {"python": platform.python_version(), **versions}, rows, goals, limited_by)


def _cpu() -> str:
    with open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()
