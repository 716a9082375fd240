"""The session machine of the C# client passes the scenario vectors, as those of all clients do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.csharp.conftest import run
from tests.scenarios.files import FOLDER
from tests.scenarios.recorder import described
from tickwire.schemas.codec import decode_client

FILES = sorted(FOLDER.glob("*.json"))


@pytest.fixture(scope="session")
def played(program: Path) -> dict[str, list[dict[str, Any]]]:
    """The results and commands of each step, by the name of the scenario."""
    done = run(program, "scenarios")
    assert done.returncode == 0, done.stderr
    return {played["name"]: played["steps"] for played in map(json.loads, done.stdout.splitlines())}


def shown(command: dict[str, Any]) -> dict[str, Any]:
    """Return a command in the form of the files."""
    if command["type"] != "Send":
        return command
    return {"type": "Send", "message": described(decode_client(bytes.fromhex(command["hex"])))}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_machine_returns_the_commands_of_the_scenario(
    path: Path, played: dict[str, list[dict[str, Any]]]
) -> None:
    scenario = json.loads(path.read_text())
    for step, got in zip(scenario["steps"], played[scenario["name"]], strict=True):
        expected = step["event"].get("call", step["event"].get("seq", 0))
        if step["event"]["type"] != "abandon":
            assert got["result"] == expected, step["event"]
        commands = [shown(command) for command in got["commands"]]
        assert json.loads(json.dumps(commands)) == step["commands"], step["event"]


def test_there_are_scenarios() -> None:
    assert len(FILES) > 50
