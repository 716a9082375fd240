"""Generates the Grafana dashboard from a table of questions: `make dashboard` writes files/dashboard.json.

Each panel answers one question, its title. A test checks its metrics against those of the server.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "tickwire" / "files" / "dashboard.json"
BY = 'job=~"$job"'
Queries = dict[str, str]  # legend: expression


def per(label: str, metric: str) -> Queries:
    """Return the rate of a metric, by a label."""
    return {f"{{{{{label}}}}}": f"sum by ({label}) (rate({metric}{{B}}[5m]))"}


def percentile(share: float, label: str, histogram: str) -> Queries:
    """Return a percentile of a histogram, by a label."""
    buckets = f"sum by (le, {label}) (rate({histogram}_bucket{{B}}[5m]))"
    return {f"{{{{{label}}}}}": f"histogram_quantile({share:g}, {buckets})"}


def ratio(label: str, part: str, whole: str) -> Queries:
    """Return the ratio of two rates, by a label."""
    rates = [f"sum by ({label}) (rate({metric}{{B}}[5m]))" for metric in (part, whole)]
    return {f"{{{{{label}}}}}": " / ".join(rates)}


ROWS: dict[str, list[tuple[str, str, Queries]]] = {
    "Player experience": [
        (
            "Are ticks on time? Share that is late",
            "percentunit",
            ratio("job", "tickwire_ticks_late_total", "tickwire_ticks_total"),
        ),
        ("How late are ticks? 99th percentile", "s", percentile(0.99, "instance", "tickwire_tick_lateness_seconds")),
        ("Do joins succeed? By result", "ops", per("result", "tickwire_joins_total")),
        ("Do players resume their sessions? By result", "ops", per("result", "tickwire_resumes_total")),
    ],
    "Players and rooms": [
        (
            "How many players and connections?",
            "short",
            {
                "sessions": "sum(tickwire_sessions{B})",
                "disconnected": "sum(tickwire_sessions_disconnected{B})",
                "connections": "sum(tickwire_connections{B})",
            },
        ),
        ("How many rooms, of which type?", "short", {"{{type}}": "sum by (type) (tickwire_rooms{B})"}),
        ("Which shards are ready?", "short", {"{{instance}}": "tickwire_ready{B}"}),
        ("How do room migrations end? By result", "ops", per("result", "tickwire_migrations_total")),
    ],
    "Capacity": [
        ("What share of the time do ticks take?", "percentunit", {"{{instance}}": "tickwire_tick_utilization{B}"}),
        (
            "How long does a tick take? 99th percentile",
            "s",
            percentile(0.99, "instance", "tickwire_tick_duration_seconds"),
        ),
        (
            "How much does a player cost? Bytes a second",
            "Bps",
            {"all": "sum(rate(tickwire_state_bytes_total{B}[5m])) / sum(tickwire_sessions{B})"},
        ),
        ("Which connections are refused? By reason", "ops", per("reason", "tickwire_refused_connections_total")),
    ],
    "What delays ticks?": [
        (
            "What share of the time is spent on encoding?",
            "percentunit",
            {"{{instance}}": "sum by (instance) (rate(tickwire_encode_seconds_total{B}[5m]))"},
        ),
        (
            "Does the event loop keep up? 99th percentile",
            "s",
            percentile(0.99, "instance", "tickwire_loop_lag_seconds"),
        ),
        (
            "How long are pauses by the garbage collector? 99th percentile",
            "s",
            percentile(0.99, "generation", "tickwire_gc_pause_seconds"),
        ),
        ("Which rooms' code raises? By type", "ops", per("type", "tickwire_room_errors_total")),
    ],
    "State traffic": [
        (
            "Keyframes and deltas",
            "ops",
            {
                "keyframes": "sum(rate(tickwire_keyframes_total{B}[5m]))",
                "deltas": "sum(rate(tickwire_deltas_total{B}[5m]))",
            },
        ),
        ("How are slow clients throttled? By step", "ops", per("step", "tickwire_slow_clients_total")),
        ("Do worlds differ? Keyframes requested by clients", "ops", per("instance", "tickwire_resyncs_total")),
        ("Which messages are rejected? By reason", "ops", per("reason", "tickwire_rejected_messages_total")),
    ],
    "Recordings": [
        ("Are recordings written? By result", "ops", per("result", "tickwire_recordings_total")),
        ("Do players report matches? By result", "ops", per("result", "tickwire_player_reports_total")),
        (
            "How much memory do the last seconds of rooms take?",
            "bytes",
            {"{{instance}}": "tickwire_recording_memory_bytes{B}"},
        ),
        (
            "What share of the time do their keyframes take?",
            "percentunit",
            {"{{instance}}": "sum by (instance) (rate(tickwire_recording_keyframe_seconds_total{B}[5m]))"},
        ),
    ],
    "The stores": [
        (
            "Is anything waiting to be written? Age of the oldest change",
            "s",
            {"{{instance}}": "tickwire_storage_lag_seconds{B}"},
        ),
        ("How do transactions end? By result", "ops", per("result", "tickwire_transactions_total")),
        (
            "How long does MongoDB take? 99th percentile of a call",
            "s",
            percentile(0.99, "instance", "tickwire_mongo_duration_seconds"),
        ),
        (
            "How long does Redis take? 99th percentile of a round trip",
            "s",
            percentile(0.99, "instance", "tickwire_redis_duration_seconds"),
        ),
    ],
    "The queue": [
        ("How many tickets wait?", "short", {"{{mode}}": "max by (mode) (tickwire_queue_tickets{B})"}),
        ("How long do players wait? Median", "s", percentile(0.5, "mode", "tickwire_match_wait_seconds")),
        ("How do queue entries end? By result", "ops", per("result", "tickwire_queue_results_total")),
        (
            "How far apart are the skills in a match? Median spread",
            "short",
            percentile(0.5, "mode", "tickwire_match_skill_spread"),
        ),
    ],
    "The player API": [
        ("How many requests? By operation", "ops", per("operation", "tickwire_http_requests_total")),
        ("Do requests succeed? By class of the status", "ops", per("status", "tickwire_http_requests_total")),
        (
            "How long do requests take? 99th percentile",
            "s",
            percentile(0.99, "operation", "tickwire_http_request_duration_seconds"),
        ),
        ("Which requests are limited? By limit", "ops", per("limit", "tickwire_rate_limited_requests_total")),
    ],
    "Accounts and presence": [
        ("How do logins and renewals of tokens end? By result", "ops", per("result", "tickwire_token_results_total")),
        ("Which tokens are refused? By reason", "ops", per("reason", "tickwire_token_refusals_total")),
        (
            "Does the fleet know all sessions? Those that are not claimed yet",
            "short",
            {"{{instance}}": "tickwire_presence_unclaimed{B}"},
        ),
        (
            "Do players change devices? Sessions ended by a later one",
            "ops",
            per("found_by", "tickwire_presence_takeovers_total"),
        ),
    ],
}


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana reads it."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
        panels.append({"type": "row", "title": title, "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}, "panels": []})
        y += 1
        for at, (question, unit, queries) in enumerate(row):
            panels.append(_panel(question, unit, queries, x=at * 6, y=y))
        y += 8
    for number, panel in enumerate(panels):
        panel["id"] = number + 1
    return {
        "title": "Tickwire",
        "uid": "tickwire",
        "schemaVersion": 39,
        "tags": ["tickwire"],
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus"},
                {
                    "name": "job", "type": "query", "datasource": {"uid": "${datasource}"}, "includeAll": True,
                    "multi": True, "query": "label_values(tickwire_ready, job)", "refresh": 2,
                },
            ]
        },
        "panels": panels,
    }  # fmt: skip


def _panel(question: str, unit: str, queries: Queries, *, x: int, y: int) -> dict[str, Any]:
    return {
        "type": "timeseries",
        "title": question,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": {"x": x, "y": y, "w": 6, "h": 8},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + at), "legendFormat": legend, "expr": expression.replace("{B}", "{" + BY + "}")}
            for at, (legend, expression) in enumerate(queries.items())
        ],
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(dashboard(), indent=1) + "\n")
