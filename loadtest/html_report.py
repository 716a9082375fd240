"""The HTML report: one file without external resources. It ends with locust's own report."""

from __future__ import annotations

from importlib import resources

import jinja2

from tickwire.loadtest.charts import Series, svgs
from tickwire.loadtest.metrics import TIMES
from tickwire.loadtest.summary import Summary


def render_report(summary: Summary, series: Series, locust_report: str) -> str:
    """Return the report as HTML."""
    source = resources.files("tickwire.loadtest").joinpath("report.html.j2").read_text(encoding="utf-8")
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(source)
    return template.render(summary=summary, charts=svgs(series), rows=TIMES, locust_report=locust_report)
