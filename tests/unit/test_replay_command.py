"""`tickwire replay`: describes, verifies, shows and searches recordings, and refuses conditions that are not data."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.harness.recorded_rooms import Bay, RecordedRoom
from tickwire.server.cli.app import app
from tickwire.server.cli.replay import ReplayOptions, replay_file
from tickwire.server.errors import ConfigError
from tickwire.server.recording.expression import ExpressionError, StateCondition
from tickwire.server.recording.search import find_tick

ROOMS = {"bay": Bay}


@pytest.fixture
def room() -> RecordedRoom:
    """A recording of 100 ticks with a keyframe each 20 ticks; the boat 1 is renamed at tick 55."""
    room = RecordedRoom()
    room.join("ann")
    room.step(10)
    room.start()
    for tick in range(11, 111):
        if tick == 55:
            room.call("ann", "say", text="ahoy")
        room.step()
        if tick % 20 == 0:
            room.recorder.write_keyframe()
    return room


@pytest.fixture
def path(room: RecordedRoom, tmp_path: Path) -> Path:
    room.recorder.stop("the test ends")
    path = tmp_path / "bay.tickrec"
    path.write_bytes(bytes(room.data))
    return path


def test_description_and_verification(path: Path) -> None:
    lines, is_equal = replay_file(path, ROOMS, ReplayOptions(verify=True))
    assert is_equal
    assert lines[0].startswith("room bay, id r, recorded by build ")
    assert lines[1].startswith("ticks 10 to 110 (5.0 s), 6 keyframes, ")
    assert lines[2:] == ["ended: the test ends", "verified: 100 ticks have equal checksums"]


def test_control_characters_of_players_do_not_reach_the_terminal(tmp_path: Path) -> None:
    room = RecordedRoom()
    room.join("a\x1b[2Jnn")
    room.start()
    room.step(3)
    room.recorder.stop("closed\x1b]0;title\x07")
    path = tmp_path / "bay.tickrec"
    path.write_bytes(bytes(room.data))
    lines, _ = replay_file(path, ROOMS, ReplayOptions(at=3))
    assert "players: a\\x1b[2Jnn" in lines
    assert all(line.isprintable() for line in lines)


def test_state_at_a_tick(path: Path) -> None:
    lines, _ = replay_file(path, ROOMS, ReplayOptions(at=54, show="boats"))
    assert lines[3:5] == ["tick 54, 2.70 s", "boats: 1 entities"]
    assert "name='ann'" in lines[5]
    lines, _ = replay_file(path, ROOMS, ReplayOptions(at=55, show="boats"))
    assert "name='ahoy'" in lines[5]
    lines, _ = replay_file(path, ROOMS, ReplayOptions(at=55))
    assert "players: ann" in lines


@pytest.mark.parametrize("scan", [False, True])
def test_first_tick_of_a_condition(path: Path, scan: bool) -> None:
    lines, _ = replay_file(path, ROOMS, ReplayOptions(bisect="boats[1].name == 'ahoy'", scan=scan))
    start = 10 if scan else 40
    assert lines[3].startswith("boats[1].name == 'ahoy': first at tick 55; ")
    assert f"{start}" in lines[3]


def test_condition_that_is_true_at_no_tick_or_between_keyframes_only(room: RecordedRoom) -> None:
    replay = room.replay()
    assert find_tick(replay, StateCondition("boats[1].x > 5000", Bay)).tick is None
    assert find_tick(replay, StateCondition("tick > 60 and tick < 64", Bay)).tick == 61
    assert find_tick(replay, StateCondition("tick == 10", Bay)).tick == 10


@pytest.mark.parametrize(
    ("text", "is_true"),
    [
        ("boats[1].gold == 0 and len(players) == 1", True),
        ("not boats[1].gold", True),
        ("boats[99].x > -1e9", False),
        ("not boats[99].x > 0", False),
        ("-20 < boats[1].x < 20 and abs(-tick) % 2 == tick % 2", True),
        ("boats[1].name > 3", False),
        ("1 / 0 > 1", False),
        ("boats[1].name == 'ann' or len(marks) > 1000", True),
        ("boats[len(players)].channel > 0", True),
        ("sum(boats.gold) == 0 and min(boats.x) == max(boats.x)", True),
        ("max(boats.name) == 'ann'", False),
        ("min(marks.code) < 0", False),
    ],
)
def test_conditions(room: RecordedRoom, text: str, is_true: bool) -> None:
    replay = room.replay()
    assert StateCondition(text, Bay).is_true(replay.room) is is_true


@pytest.mark.parametrize(
    "text",
    [
        "",
        "boats",
        "room.close('x')",
        "boats[1].__class__ == 1",
        "boats[1].x.real > 1",
        "__import__('os').system('true')",
        "(lambda: 1)()",
        "[x for x in boats]",
        "boats[1].speed > 1",
        "sum(boats.speed) > 1",
        "sum(boats) > 1",
        "ships[1].x > 1",
        "len(__builtins__)",
        "'a' * 9999999999 == 1 if 1 else 2",
        "2 ** 9999999999 > 1",
        "tick := 1",
        "(" * 400,
        "1" * 501,
        "boats[1].x > 1; 2",
        "f'{tick}'",
        "...",
        "b'a' == 1",
    ],
)
def test_other_code_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        StateCondition(text, Bay)


def test_arithmetic_of_texts_is_no_way_to_fill_the_memory(room: RecordedRoom) -> None:
    assert not StateCondition("'a' * 99999999999 == 'a'", Bay).is_true(room.runtime.room)


def test_options_that_do_not_fit_the_room(path: Path) -> None:
    with pytest.raises(ConfigError, match="no room has the type 'bay'"):
        replay_file(path, {}, ReplayOptions())
    with pytest.raises(ConfigError, match="no table 'ships'; its tables: boats, marks"):
        replay_file(path, ROOMS, ReplayOptions(at=1, show="ships"))
    with pytest.raises(ConfigError, match="--bisect: the table boats has no column 'y'"):
        replay_file(path, ROOMS, ReplayOptions(bisect="boats[1].y > 1"))


def test_divergence_names_tick_entity_and_field(room: RecordedRoom, path: Path) -> None:
    class Calm(Bay):
        def on_tick(self, dt: float) -> None:
            if self.tick != 55:
                super().on_tick(dt)

    lines, is_equal = replay_file(path, {"bay": Calm}, ReplayOptions(verify=True))
    assert not is_equal
    assert lines[3].startswith("the replay diverges at tick 55: boats differs; boats[1].x is ")
    assert "at tick 60, recorded is" in lines[3]


def test_command(room: RecordedRoom, path: Path, tmp_path: Path) -> None:
    environ = {"TICKWIRE__LISTEN__PLAINTEXT": "true"}
    arguments = ["replay", str(path), "--rooms", "tests.harness.recorded_rooms"]
    result = CliRunner().invoke(app, [*arguments, "--verify"], env=environ)
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "verified: 100 ticks have equal checksums")
    other = CliRunner().invoke(app, ["replay", str(path), "--rooms", "tickwire.examples.tag"], env=environ)
    assert other.exit_code == 2
    (tmp_path / "text").write_text("not a recording")
    damaged = CliRunner().invoke(app, ["replay", str(tmp_path / "text"), *arguments[2:]], env=environ)
    assert (damaged.exit_code, damaged.stderr) == (1, "tickwire: the file is not a recording of a room\n")
    missing = CliRunner().invoke(app, ["replay", str(tmp_path / "none"), *arguments[2:]], env=environ)
    assert missing.exit_code == 1
