"""Logs without secrets, metrics by the conventions, health with reasons."""

from __future__ import annotations

import json
import re
import subprocess
import sys

from server.ops.health import Health
from server.ops.logs import redact
from server.ops.metrics import Metrics


def test_values_of_secret_keys_are_blanked() -> None:
    event = redact(None, "info", {"resume_token": "abc", "Authorization": "Bearer x", "room_id": "r"})
    assert event == {"resume_token": "***", "Authorization": "***", "room_id": "r"}


def test_production_logs_are_one_json_object_a_line_with_ids_and_without_locals() -> None:
    program = (
        "import structlog\n"
        "from server.ops import logs\n"
        "logs.configure(format='json', level='info', shard_id='shard-1')\n"
        "log = structlog.get_logger().bind(session_id='s1')\n"
        "log.info('seated', ticket='secret-value')\n"
        "try:\n    password = 'secret-value'; 1 / 0\n"
        "except ZeroDivisionError:\n    log.exception('failed')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    first, second = (json.loads(line) for line in done.stderr.splitlines())
    assert first["message"] == "seated"
    assert (first["shard_id"], first["session_id"], first["log.level"]) == ("shard-1", "s1", "info")
    assert first["@timestamp"].endswith("Z")
    assert second["exception"][0]["exc_type"] == "ZeroDivisionError"
    assert "secret-value" not in done.stderr.replace("password = 'secret-value'", "")


def test_metric_names_follow_the_conventions() -> None:
    text = Metrics("1.2.3").exposition().decode()
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert all(name.startswith("tickwire_") for name in kinds)
    assert all(name.endswith("_total") for name, kind in kinds.items() if kind == "counter" and "created" not in name)
    assert 'tickwire_build_info{version="1.2.3"} 1.0' in text


def test_plain_totals_become_counters_that_never_go_back() -> None:
    metrics = Metrics("1")
    for total in (3, 5, 5):
        metrics.count_to("ticks", total)
    metrics.count_all_to("joins", {"seated": 2})
    text = metrics.exposition().decode()
    assert "tickwire_ticks_total 5.0" in text
    assert 'tickwire_joins_total{result="seated"} 2.0' in text


def test_a_shard_is_ready_when_nobody_has_a_reason_against_it() -> None:
    health = Health()
    assert not health.is_ready
    health.block("redis", "does not answer")
    health.clear("starting")
    assert health.reasons == {"redis": "does not answer"}
    health.clear("redis")
    health.clear("redis")
    assert health.is_ready
