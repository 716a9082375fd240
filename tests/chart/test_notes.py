"""NOTES.txt names objects, paths and commands that exist; `helm test` is a player."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.chart.charts import EXAMPLES, REQUIRED, environment_of, kinds, rendered, rendered_files, values_of
from tickwire.server.cli.app import app


def notes_of(file: Path) -> str:
    (text,) = (text for name, text in rendered_files(values_of(file)).items() if name.endswith("NOTES.txt"))
    return text


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_the_notes_name_objects_that_the_release_has(file: Path) -> None:
    objects = rendered(values_of(file))
    notes = notes_of(file)
    named = re.findall(r"(job|httproute|ingress)[/ ]([a-z0-9-]+)", notes)
    assert named
    for kind, name in named:
        known = {one["metadata"]["name"] for one in objects if one["kind"].lower() == kind}
        assert name in known, (kind, name)
    (pod,) = re.findall(r"pod/([a-z0-9-]+)-0", notes)
    assert pod in {one["metadata"]["name"] for one in kinds(objects, "StatefulSet")}


def test_notes_name_the_player_api_where_there_is_one() -> None:
    notes = {file.stem: notes_of(file) for file in EXAMPLES}
    assert "https://api.example.test/v1," in notes["production"]
    assert "https://play.example.test/v1," in notes["small"]
    assert "player API" not in notes["region-us"]


def test_notes_help_with_an_install_that_hangs() -> None:
    notes = notes_of(EXAMPLES[0])
    for word in ("get events", "job/", "Secret", "DNS", "certificate", "helm -n game test tickwire"):
        assert word in notes


def test_helm_test_is_a_command_that_the_image_has() -> None:
    objects = rendered(REQUIRED)
    (pod,) = kinds(objects, "Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    (container,) = pod["spec"]["containers"]
    command, url, *options = container["args"]
    assert url == "ws://tickwire"
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert options[0] in result.stdout


def test_helm_test_connects_with_a_token_where_the_release_has_a_key() -> None:
    values = {
        "auth": {"existingSecret": "keys", "guests": False, "audience": "game"},
        "test": {"url": "wss://x.test"},
    }
    (pod,) = kinds(rendered(REQUIRED, values), "Pod")
    environment = environment_of(pod["spec"])
    assert environment["TICKWIRE__AUTH__SECRET"]["valueFrom"]["secretKeyRef"]["name"] == "keys"
    assert environment["TICKWIRE__AUTH__AUDIENCE"]["value"] == "game"
    assert pod["spec"]["containers"][0]["args"][1] == "wss://x.test"
