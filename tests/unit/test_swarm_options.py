"""A swarm's options are checked before anything begins."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from tickwire.loadtest.option_limits import FILES, NUMBERS, problems

SOURCE = (Path(__file__).parents[2] / "loadtest" / "options.py").read_text()


def options(**values: object) -> argparse.Namespace:
    return argparse.Namespace(report="", summary="", **values)


@pytest.mark.parametrize("option", NUMBERS)
def test_number_out_of_range_names_the_option(option: str) -> None:
    low, high = NUMBERS[option]
    name = "num_users" if option == "--users" else option[2:].replace("-", "_")
    for value in (low - 1, high + 1, float("nan"), float("inf"), -1e300):
        (sentence,) = problems(options(**{name: value}))
        assert re.fullmatch(rf"{option} must be from \S+ to \S+; got \S+", sentence)
    for value in (low, high):
        assert not list(problems(options(**{name: value})))


def test_every_number_among_the_options_has_a_range() -> None:
    numbers = re.findall(r'option\("(--[a-z-]+)"[^)]*type=(?:float|int)', SOURCE)
    assert len(numbers) > 5
    assert set(numbers) <= set(NUMBERS)


@pytest.mark.parametrize("option", FILES)
def test_unwritable_file_is_reported_before_the_run(option: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    values = {"report": "", "summary": "", option[2:]: str(tmp_path / "file" / "x")}
    (sentence,) = problems(argparse.Namespace(**values))
    assert sentence.startswith(f"{option} {tmp_path / 'file' / 'x'}: cannot be written: ")


def test_existing_file_is_kept_until_the_end(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text("of the last run")
    assert not list(problems(argparse.Namespace(report=str(report), summary="")))
    assert report.read_text() == "of the last run"
