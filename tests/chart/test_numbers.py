"""Whole numbers stay whole in all that the chart renders. Helm reads numbers as floats, so the text is compared."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest
import yaml

from tests.chart.charts import CHART, EXAMPLES, REQUIRED, Object, rendered, rendered_files, settings_of, values_of
from tickwire.server import config
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.setting_types import base_type, bounds

FLOAT = re.compile(r"\d\.0\b(?!\.)|\d[eE]\+?\d\d\b")
"""A float where a whole number was given: 20000.0, 2.592e+06."""


def whole_settings() -> dict[str, int]:
    """Return the whole-number settings of the edge, each with the largest value that it may have."""
    kinds = get_type_hints(EdgeSettings, include_extras=True)
    return {name: int(bounds(kind).le or 0) for name, kind in kinds.items() if base_type(kind) is int}


def lines_with_floats(files: dict[str, str]) -> Iterator[str]:
    for name, text in files.items():
        for line in text.splitlines():
            if FLOAT.search(re.sub(r"^ *#.*|0\.0\.0\.0|:\d+\.\d+\.\d+|\d\.\d\.\d", "", line)):
                yield f"{name}: {line}"


def test_whole_number_settings_are_rendered_unchanged() -> None:
    given = whole_settings()
    assert len(given) > 5
    text = settings_of(rendered(REQUIRED, {"settings": {"edge": given}}))
    for name, value in given.items():
        assert re.search(rf"^{name} = {value}$", text, re.MULTILINE), name


def test_a_shard_reads_every_setting_that_the_chart_writes(tmp_path: Path) -> None:
    given = {
        "edge": {
            "connections_max": 20000,
            "resume_window_s": 60,
            "trusted_proxies": ["10.0.0.0/8"],
            "origins": ["*"],
        },
        "capacity": {"rooms_max": 500, "load_max": 0.55},
        "redis": {"deadline_s": 1.5, "lease_s": 12},
        "traces": {"sample_ratio": 0.001},
        "api": {"operation_limits": {"login_device": "5/60s"}, "player_limit": ""},
    }
    toml = tmp_path / "tickwire.toml"
    toml.write_text(settings_of(rendered(REQUIRED, {"settings": given})))
    keys = {"TICKWIRE__TICKETS__KEYS__CURRENT": "k" * 32}
    settings = msgspec.to_builtins(config.load(toml, keys))
    for section, values in given.items():
        assert {name: settings[section][name] for name in values} == values


def test_strings_of_settings_are_rendered_unchanged() -> None:
    origins = ["https://a.example", 'https://"quoted".example', "https://x.example/<&>\\"]
    text = settings_of(rendered(REQUIRED, {"settings": {"edge": {"origins": origins}}}))
    assert "<&>" in text
    assert tomllib.loads(text)["edge"]["origins"] == origins


def large(schema: Object) -> Any:
    """Return values in which every whole number is as large as the schema lets it be, and no less than a million."""
    if schema.get("type") == "object" and "properties" in schema:
        found = {key: large(inner) for key, inner in schema["properties"].items()}
        return {key: value for key, value in found.items() if value is not None}
    if schema.get("type") == "integer":
        return int(min(schema.get("maximum", 12_345_678), 12_345_678))
    return None


@pytest.mark.parametrize("kind", ["hpa", "keda"])
def test_no_whole_number_of_the_values_becomes_a_float(kind: str) -> None:
    values = large(yaml.safe_load((CHART / "values.schema.json").read_text()))
    most = {
        "maxShards": 512,
        "groups": [{"name": "a", "replicas": 512}],
        "loadtest": {"enabled": True},
        "autoscaling": {"enabled": True, "kind": kind, "prometheusUrl": "http://prometheus"},
        "termination": {"gracePeriodSeconds": 7200, "drainTimeoutSeconds": 3600},
        "monitoring": {},
    }
    del values["termination"]
    files = rendered_files(REQUIRED, values, most)
    assert list(lines_with_floats(files)) == []
    assert "12345678" in files["tickwire/templates/loadtest.yaml"]


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_rendered_examples_keep_whole_numbers(file: Path) -> None:
    assert list(lines_with_floats(rendered_files(values_of(file)))) == []


def test_the_options_of_the_swarm_keep_their_whole_numbers() -> None:
    swarm = {"enabled": True, "users": 1_000_000, "options": {"room-players": 50, "settle": 120, "input-hz": 2.5}}
    text = rendered_files(REQUIRED, {"loadtest": swarm})["tickwire/templates/loadtest.yaml"]
    for line in ("users = 1000000", "room-players = 50", "settle = 120", "input-hz = 2.5", "spawn-rate = 20"):
        assert re.search(rf"^ *{re.escape(line)}$", text, re.MULTILINE), line
