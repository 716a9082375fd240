"""Files with schedules: a written file is read again, and any other file is refused with a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tickwire.testing.schedule import Choice
from tickwire.testing.schedule_file import StoredSchedule, read_schedule, write_schedule

CHOICE = {"stream": "play", "number": 1, "effect": "ann up", "amount": 0, "tick": 3}
FILE = {"format": 1, "test": "test_arena.py::test_duel", "seed": 17, "choices": [CHOICE]}


def test_a_written_schedule_is_read_again(tmp_path: Path) -> None:
    schedule = StoredSchedule("a/test_arena.py::test_duel[x]", 17, [Choice("ann to server", 3, "loss", 12.5, 40)])
    assert read_schedule(write_schedule(tmp_path, schedule)) == schedule


def test_a_choice_without_the_parts_for_the_reader_is_read(tmp_path: Path) -> None:
    path = tmp_path / "schedule.json"
    path.write_text(json.dumps(FILE | {"choices": [{"stream": "play", "number": 2}]}))
    assert read_schedule(path).choices == [Choice("play", 2, "")]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 100_000,
        '{"format": 1, "x": ' + "[" * 100_000,
        "\xff",
        json.dumps(FILE | {"seed": float("inf")}),
        json.dumps(FILE | {"test": 5}),
        json.dumps(FILE | {"choices": "none"}),
        json.dumps(FILE | {"choices": [CHOICE | {"stream": []}]}),
        json.dumps(FILE | {"choices": [CHOICE | {"number": "1"}]}),
    ],
    ids=lambda text: text[:40],
)
def test_a_file_that_is_no_schedule_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "schedule.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"schedule\.json is not a schedule: "):
        read_schedule(path)


def test_a_schedule_of_another_version_is_refused_by_its_format(tmp_path: Path) -> None:
    path = tmp_path / "schedule.json"
    later: dict[str, Any] = {"format": 2, "streams": {}}
    path.write_text(json.dumps(later))
    with pytest.raises(ValueError, match="its format is 2, and this version reads 1; run the test again"):
        read_schedule(path)
