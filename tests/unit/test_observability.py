"""Logs without secrets, metrics by Prometheus's conventions, health with reasons."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import structlog

from tickwire.server.observability.health import Health
from tickwire.server.observability.log_interval import SUBJECTS_MAX, LogInterval
from tickwire.server.observability.logs import SAMPLED_MAX, Sampler, redact, to_ecs
from tickwire.server.observability.metrics import Metrics


def test_values_of_secret_keys_are_redacted_at_any_depth() -> None:
    event = redact(None, "info", {"resume_token": "abc", "Authorization": "Bearer x", "room_id": "r"})
    assert event == {"resume_token": "***", "Authorization": "***", "room_id": "r"}
    deep = redact(None, "info", {"request": {"headers": [{"ticket": "abc", "room": "r"}]}})
    assert deep == {"request": {"headers": [{"ticket": "***", "room": "r"}]}}


def test_text_that_looks_like_a_secret_is_redacted() -> None:
    event = redact(
        None,
        "info",
        {
            "error": "cannot reach mongodb://ann:pw@db:27017/x",
            "line": "Authorization: Bearer abc.def",
            "claims": "got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln from it",
        },
    )
    assert event["error"] == "cannot reach mongodb://***@db:27017/x"
    assert event["line"] == "Authorization: Bearer ***"
    assert event["claims"] == "got *** from it"


def test_lines_above_the_rate_are_counted_and_session_lines_are_kept() -> None:
    now_s = 1.0
    sample = Sampler(lambda: now_s)
    written = 0
    for _ in range(SAMPLED_MAX + 7):
        with suppress(structlog.DropEvent):
            sample(None, "info", {"event": "handshake_failed"})
            written += 1
    assert written == SAMPLED_MAX
    assert sample(None, "info", {"event": "another"}) == {"event": "another"}
    for _ in range(SAMPLED_MAX + 7):
        sample(None, "info", {"event": "session_ended"})
    now_s = 2.0
    assert sample(None, "info", {"event": "handshake_failed"})["dropped"] == 7
    assert "dropped" not in sample(None, "info", {"event": "handshake_failed"})


def test_log_level_can_change_at_run_time() -> None:
    program = (
        "import structlog\n"
        "from tickwire.server.observability import logs\n"
        "logs.configure(format='json', level='warning')\n"
        "log = structlog.get_logger()\n"
        "log.info('one')\n"
        "logs.level.name = 'debug'\nlog.debug('two')\n"
        "logs.level.name = 'error'\nlog.warning('three')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert [json.loads(line)["message"] for line in done.stderr.splitlines()] == ["two"]


def test_text_of_peers_is_escaped_for_terminals() -> None:
    program = (
        "import logging, structlog\n"
        "from tickwire.server.observability import logs\n"
        "logs.configure(format='console', level='info')\n"
        "log = structlog.get_logger()\n"
        "evil = 'a\\x1b]0;owned\\x07\\x9b2J\\n12:00:00 [info] forged \\u202e\\udcff'\n"
        "log.info('room_created', room_name=evil, options={'x': evil}, rooms=[evil])\n"
        "try:\n    raise ValueError(evil + ' bearer abc.def')\n"
        "except ValueError:\n    log.exception('failed', error=evil)\n"
        "logging.getLogger('x').warning('a library says %s', evil)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    text = done.stderr.decode()
    without_colours = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert without_colours.replace("\n", "").replace("\t", "").isprintable()
    assert "forged" in text
    lines = without_colours.splitlines()
    assert sum("room_created" in line for line in lines) == sum("a library says" in line for line in lines) == 1
    assert "Traceback (most recent call last):" in lines, "a stack trace keeps its line feeds"
    assert "abc.def" not in text


def test_fields_outside_ecs_have_the_prefix_tickwire() -> None:
    event = to_ecs(None, "info", {"event": "x", "level": "info", "url": "ws://a", "host": "h", "player_id": "ada"})
    assert (event["event.action"], event["url.full"], event["user.id"]) == ("x", "ws://a", "ada")
    assert event["tickwire.host"] == "h"  # in ECS `host` is an object
    assert not {"url", "host", "error", "event", "level"} & event.keys()


def test_json_logs_are_one_object_per_line_with_ids_and_without_locals() -> None:
    program = (
        "import structlog\n"
        "from tickwire.server.observability import logs\n"
        "logs.configure(format='json', level='info', shard_id='shard-1')\n"
        "log = structlog.get_logger().bind(session_id='s1')\n"
        "log.info('seated', ticket='secret-value')\n"
        "try:\n    password = 'secret-value'; 1 / 0\n"
        "except ZeroDivisionError:\n    log.exception('failed')\n"
        "import logging\nlogging.getLogger('x').warning('a library speaks')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    first, second, third = (json.loads(line) for line in done.stderr.splitlines())
    assert first["message"] == "seated"
    assert (first["service.node.name"], first["log.level"]) == ("shard-1", "info")
    assert first["tickwire.session_id"] == "s1"
    assert first["@timestamp"].endswith("Z")
    assert (second["error.type"], second["error.message"]) == ("ZeroDivisionError", "division by zero")
    assert "ZeroDivisionError" in second["error.stack_trace"]
    assert third["message"] == "a library speaks"
    assert third["log.level"] == "warning"
    assert "secret-value" not in done.stderr.replace("password = 'secret-value'", "")


def test_metric_names_follow_the_conventions() -> None:
    text = Metrics("1.2.3").render().decode()
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert all(name.startswith("tickwire_") for name in kinds)
    assert all(name.endswith("_total") for name, kind in kinds.items() if kind == "counter" and "created" not in name)
    assert 'tickwire_build_info{version="1.2.3"} 1.0' in text


def test_totals_become_counters_that_never_decrease() -> None:
    metrics = Metrics("1")
    for total in (3, 5, 5):
        metrics.set_total("ticks", total)
    metrics.set_totals("joins", {"seated": 2})
    text = metrics.render().decode()
    assert "tickwire_ticks_total 5.0" in text
    assert 'tickwire_joins_total{result="seated"} 2.0' in text


def test_shard_is_ready_when_no_part_has_a_reason() -> None:
    health = Health()
    assert not health.is_ready
    health.block("redis", "does not answer")
    health.clear("starting")
    assert health.reasons == {"redis": "does not answer"}
    health.clear("redis")
    health.clear("redis")
    assert health.is_ready


def test_unwritable_line_is_counted_and_does_not_raise() -> None:
    program = (
        "import structlog, logging, sys\n"
        "from tickwire.server.observability import logs\n"
        "logs.configure(format='json', level='info')\n"
        "structlog.get_logger().info('one')\n"
        "logging.getLogger('x').warning('two')\n"
        "print(logs.writer.lines_lost)\n"
        "sys.stderr.close()\n"
        "structlog.get_logger().info('three')\n"
        "print(logs.writer.lines_lost)\n"
    )
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, stderr=full, text=True
        )
    assert done.stdout.split() == ["2", "3"]


def test_repeated_line_is_written_once_per_subject_and_interval() -> None:
    interval = LogInterval(60.0)
    assert [interval.is_due(subject, 0.0) for subject in ("a", "a", "b")] == [True, False, True]
    assert not interval.is_due("a", 59.0)
    assert interval.is_due("a", 60.0)
    written = sum(interval.is_due(str(number), 61.0) for number in range(10_000))
    assert written == SUBJECTS_MAX - 1, "a peer that chooses the subjects cannot flood the log"
    assert len(interval._logged_s) == SUBJECTS_MAX
    assert interval.is_due("new", 122.0)
