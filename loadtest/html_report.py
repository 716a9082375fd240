"""The report for people: one HTML file that needs nothing else; locust's own report is in it, at the end."""

from __future__ import annotations

from importlib import resources

import jinja2

from tickwire.loadtest.charts import Series, svgs
from tickwire.loadtest.metrics import TIMES
from tickwire.loadtest.summary import Summary


def page(summary: Summary, series: Series, locust_report: str) -> str:
    """The whole page."""
    source = resources.files("tickwire.loadtest").joinpath("report.html.j2").read_text(encoding="utf-8")
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(source)
    return template.render(summary=summary, charts=svgs(series), rows=TIMES, locust_report=locust_report)
