"""The report's charts, as SVG, drawn by matplotlib; and as one PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Series = dict[str, list[float | None]]

_BLUE, _RED, _GREY, _GREEN = "#2563eb", "#dc2626", "#9ca3af", "#059669"
_CHARTS: dict[str, tuple[str, Sequence[tuple[str, str, str]]]] = {
    "input to visible state": ("ms", (("input_p50", "median", _BLUE), ("input_p99", "99th percentile", _RED))),
    "ticks: jitter": ("ms", (("jitter_p50", "median", _BLUE), ("jitter_p99", "99th percentile", _RED))),
    "ticks: late and missed": ("%", (("late", "late", _BLUE), ("missed", "missed", _RED))),
    "players": ("", (("expected", "expected", _GREY), ("seated", "seated", _BLUE))),
    "bytes a second and player": ("B/s", (("bytes", "", _BLUE),)),
    "drops, resumes, failures": (
        "a second",
        (("drops", "drops", _GREY), ("resumes", "resumes", _GREEN), ("failures", "failures", _RED)),
    ),
    "resume, and blackout": (
        "ms",
        (
            ("resume_p50", "resume, median", _BLUE),
            ("resume_p99", "99th percentile", _RED),
            ("blackout_p99", "blackout", _GREY),
        ),
    ),
    "lateness of the load itself": (
        "ms",
        (("lateness_p50", "median", _BLUE), ("lateness_p99", "99th percentile", _RED)),
    ),
}


def svgs(series: Series) -> dict[str, str]:
    """Draw all charts with data, by title."""
    drawn = {}
    for title in _shown(series):
        figure = Figure(figsize=(5.6, 2.3), layout="constrained")
        _draw(figure.add_subplot(), title, series)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
        text = out.getvalue()
        drawn[title] = text[text.index("<svg") :]
    return drawn


def png(series: Series) -> bytes:
    """Draw all charts with data in one picture."""
    titles = _shown(series)
    figure = Figure(figsize=(11.2, 2.3 * ((len(titles) + 1) // 2)), layout="constrained")
    for number, title in enumerate(titles):
        _draw(figure.add_subplot((len(titles) + 1) // 2, 2, number + 1), title, series)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=90)
    return out.getvalue()


def _shown(series: Series) -> list[str]:
    return [
        title
        for title, (_, lines) in _CHARTS.items()
        if any(value is not None for name, _, _ in lines for value in series[name])
    ]


def _draw(axes: Axes, title: str, series: Series) -> None:
    unit, lines = _CHARTS[title]
    seconds = series["second"]
    for name, label, colour in lines:
        values = np.array([np.nan if value is None else value for value in series[name]])
        is_sparse = sum(value is not None for value in series[name]) < len(values) / 2
        axes.plot(
            np.array(seconds, np.float64),
            values,
            color=colour,
            label=label,
            linewidth=1.3,
            marker="." if is_sparse else "",
        )
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_ylabel(unit, fontsize=8)
    axes.set_ylim(bottom=0)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if any(label for _, label, _ in lines):
        axes.legend(fontsize=7, loc="best", frameon=False)
