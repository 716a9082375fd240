"""The scenario vectors are those of the machine in this tree, and show every event and command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.scenarios.files import FOLDER, created_files
from tests.scenarios.recorder import command_name
from tickwire.client.deadlines import Deadlines
from tickwire.client.machine_commands import MachineCommand
from tickwire.client.stored_session import player_from_token, stored_session_from

README = (FOLDER / "README.md").read_text()
TEXT = (
    '{"version":1,"url":"wss://shard/","initial_url":"wss://home/","player":"alice","resume_token":"s.2",'
    '"last_event":1,"attempt":17,"command_id":1024}'
)


def _scenarios() -> list[Path]:
    return sorted(FOLDER.glob("*.json"))


def test_files_are_those_that_the_machine_writes() -> None:
    files = created_files()
    assert {path.name: path.read_bytes() for path in _scenarios()} == files, "run: make scenarios"


def test_every_event_and_command_is_in_a_scenario_and_in_the_readme() -> None:
    events: set[str] = set()
    commands: set[str] = set()
    for path in _scenarios():
        for step in json.loads(path.read_text())["steps"]:
            events.add(step["event"]["type"])
            commands |= {command["type"] for command in step["commands"]}
    assert commands == {command_name(kind) for kind in MachineCommand.__args__}
    documented = {row.split("|")[1].strip() for row in README.splitlines() if row.startswith("| ")}
    assert events | commands <= documented


@pytest.mark.parametrize("path", _scenarios(), ids=lambda path: path.stem)
def test_timer_is_always_the_earliest_deadline_and_last(path: Path) -> None:
    for step in json.loads(path.read_text())["steps"]:
        kinds = [command["type"] for command in step["commands"]]
        assert "SetTimer" not in kinds[:-1]


def test_deadlines_are_due_in_the_order_of_time_and_then_of_setting() -> None:
    deadlines = Deadlines()
    for key, at_ms in ((1, 20), (2, 10), (3, 10), (2, 10)):
        deadlines.set(key, at_ms)
    assert deadlines.next_ms == 10
    assert [deadlines.pop_due(20) for _ in range(4)] == [(3, 10), (2, 10), (1, 20), None]
    deadlines.set(1, 30)
    assert deadlines.pop_due(29) is None
    deadlines.cancel(1)
    assert deadlines.next_ms is None


def test_stored_text_is_read_again() -> None:
    stored = stored_session_from(TEXT, "wss://home/")
    assert stored is not None
    assert stored.to_text() == TEXT


@pytest.mark.parametrize(
    ("text", "initial_url"),
    [
        (TEXT, "wss://elsewhere/"),
        (TEXT.replace('"version":1', '"version":2'), "wss://home/"),
        (TEXT.replace("wss://shard/", "ws://shard/"), "wss://home/"),
        (TEXT.replace('"s.2"', '""'), "wss://home/"),
        (TEXT.replace('"last_event":1', '"last_event":"x"'), "wss://home/"),
        ("", "wss://home/"),
        ("[]", "wss://home/"),
        (TEXT[:-5], "wss://home/"),
        (TEXT.replace("alice", "\udc80"), "wss://home/"),
    ],
)
def test_stored_text_that_cannot_be_used_is_refused(text: str, initial_url: str) -> None:
    assert stored_session_from(text, initial_url) is None


@pytest.mark.parametrize(
    ("token", "player"),
    [
        ("e30.eyJzdWIiOiJhbGljZSJ9.c2ln", "alice"),
        ("e30.eyJzdWIiOiI_Pz8ifQ.c2ln", "???"),
        ("", ""),
        ("opaque", ""),
        ("a.b.c", ""),
        ("e30.W10.c2ln", ""),
        ("e30.eyJzdWIiOjV9.c2ln", ""),
        ("e30.%%%.c2ln", ""),
        ("é.é.é", ""),
        ("e30." + "W1tb" * 4000 + ".c2ln", ""),
    ],
)
def test_player_is_the_claim_of_the_token(token: str, player: str) -> None:
    assert player_from_token(token) == player
