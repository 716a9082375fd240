"""Files with the part of a schedule that a failure needs, as JSON.

    {"format": 1, "test": "tests/test_arena.py::test_duel", "seed": 17,
     "choices": [{"stream": "ann to server", "number": 3, "effect": "loss", "amount": 0, "tick": 12}]}

A run that repeats the file uses its seed and keeps the numbers of its choices. The rest is for the reader.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from tickwire.testing.schedule import Choice

FORMAT = 1
NAME_CHARACTERS_MAX = 100


class _ScheduleHeader(msgspec.Struct):
    format: int


class _StoredChoice(msgspec.Struct):
    """A Choice: msgspec decodes a named tuple from a list only."""

    stream: str
    number: int
    effect: str = ""
    amount: float = 0.0
    tick: int = 0


class _ScheduleFile(msgspec.Struct):
    test: str
    seed: int
    choices: list[_StoredChoice]


class StoredSchedule(NamedTuple):
    """The contents of a file.

    Args:
        test: the id of the test.
        seed: the seed of the run.
        choices: the choices that the run keeps.
    """

    test: str
    seed: int
    choices: Sequence[Choice]


def write_schedule(folder: Path, schedule: StoredSchedule) -> Path:
    """Write a schedule, and return the path of its file. An older file of the same test and seed is replaced.

    Args:
        folder: the folder.
        schedule: the schedule.
    """
    name = "".join(character if character.isalnum() else "_" for character in schedule.test.rpartition("/")[2])
    digest = zlib.crc32(schedule.test.encode())  # two tests may have the same name
    path = folder / f"{name[-NAME_CHARACTERS_MAX:]}-{digest:08x}-seed-{schedule.seed}.json"
    choices = [choice._asdict() for choice in schedule.choices]
    value = {"format": FORMAT, "test": schedule.test, "seed": schedule.seed, "choices": choices}
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    return path


def read_schedule(path: Path) -> StoredSchedule:
    """Return the schedule of a file.

    Raises:
        ValueError: the file is not a schedule of this format.
        OSError: the file cannot be read.
    """
    data = path.read_bytes()
    try:
        header = msgspec.json.decode(data, type=_ScheduleHeader)
        if header.format != FORMAT:
            raise ValueError(
                f"its format is {header.format}, and this version reads {FORMAT}; run the test again to write one"
            )
        file = msgspec.json.decode(data, type=_ScheduleFile)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a schedule: {error}") from error
    return StoredSchedule(file.test, file.seed, [Choice(*msgspec.structs.astuple(choice)) for choice in file.choices])
