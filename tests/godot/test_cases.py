"""The GDScript client: its own cases, and the golden vectors, in Godot without a display."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.godot_cases import GodotCase, GodotResult, list_cases, run_cases


@pytest.mark.parametrize("case", list_cases(), ids=lambda case: case.name)
def test_godot(case: GodotCase, godot_results: dict[str, GodotResult]) -> None:
    failures = godot_results[case.name].failures
    assert not failures, "\n".join(failures)


def test_a_run_that_was_stopped_is_repeated(tmp_path: Path) -> None:
    (tmp_path / "project" / "cases").mkdir(parents=True)
    results = run_cases(["true"], tmp_path)
    assert {result.failures[0][:21] for result in results.values()} == {"the case did not run;"}
