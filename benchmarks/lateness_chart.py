"""Draws the curve of `lateness`: `python -m benchmarks.lateness_chart RESULT.json PICTURE.svg`."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import msgspec

mpl.use("Agg")
from matplotlib.figure import Figure

from benchmarks.lateness import BUSY_SHARE, LATENESS_MS_MAX
from benchmarks.report import Report

mpl.rcParams["svg.hashsalt"] = "tickwire"
LABEL_DISTANCE = 4.0
"""The least distance of two labels, in percent of the core."""


def draw(report: Report, picture: Path) -> None:
    """Draw the median and the 99th percentile of the lateness over the busy share of the core."""
    points: dict[str, dict[str, float]] = {}
    for row in report.rows:
        points.setdefault(row.subject, {})[row.metric] = row.median
    points = dict(sorted(points.items(), key=lambda item: item[1]["server_core_share"]))
    busy = [100 * point["server_core_share"] for point in points.values()]
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for metric, label, colour in (("p99", "99th percentile", "#dc2626"), ("p50", "median", "#2563eb")):
        lateness = [point[f"tick_lateness_{metric}"] for point in points.values()]
        axes.plot(busy, lateness, marker="o", markersize=3, label=label, color=colour)
    axes.axhline(LATENESS_MS_MAX, color="#9ca3af", linewidth=1, linestyle="--")
    axes.axvline(100 * BUSY_SHARE, color="#9ca3af", linewidth=1, linestyle="--")
    labelled = -LABEL_DISTANCE
    for share, subject in zip(busy, points, strict=True):
        if share - labelled < LABEL_DISTANCE:
            continue
        labelled = share
        axes.annotate(subject.removesuffix(" players"), (share, 0), xytext=(0, 2), textcoords="offset points",
                      ha="center", fontsize=6, color="#6b7280")  # fmt: skip
    axes.set(xlabel="busy share of the core, % (small numbers: players)", ylabel="tick lateness, ms", ylim=(0, 30))
    axes.legend(frameon=False, loc="upper left")
    figure.savefig(picture, metadata={"Date": None})


if __name__ == "__main__":
    draw(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Report), Path(sys.argv[2]))
