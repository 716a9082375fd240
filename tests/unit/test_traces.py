"""Spans are recorded if the extra is installed and enabled, and cost nothing otherwise."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tickwire.server.observability import traces

PROGRAM = """
import structlog
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tickwire.server.observability import logs
from tickwire.server.observability.traces import record_span, set_provider, span
exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
set_provider(provider)
logs.configure(format="json", level="info")
with span("join", room_type="arena"):
    structlog.get_logger().info("within")
structlog.get_logger().info("without")
record_span("match", since_s=1.0, until_s=3.5, mode="duel")
for one in exporter.get_finished_spans():
    print(one.name, dict(one.attributes), (one.end_time - one.start_time) / 1e9 if one.name == "match" else "")
"""


def test_span_is_recorded_and_log_lines_within_have_its_ids() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    join, match = done.stdout.splitlines()
    assert join == "join {'tickwire.room_type': 'arena'} "
    assert match == "match {'tickwire.mode': 'duel'} 2.5"
    within, without = (json.loads(line) for line in done.stderr.splitlines())
    assert len(within["trace.id"]) == 32
    assert len(within["span.id"]) == 16
    assert "trace.id" not in without


def test_span_does_nothing_without_a_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "trace", None)  # as without the extra
    with traces.span("join"), pytest.raises(ValueError), traces.span("inner"):
        raise ValueError
    traces.record_span("match", since_s=0, until_s=1)
    assert traces.trace_ids(None, "info", {"event": "x"}) == {"event": "x"}


def test_no_traces_are_sent_without_an_endpoint() -> None:
    traces.start("", 1.0, "shard-1")()
