"""The GDScript client: its own cases, and the golden vectors, in Godot without a display."""

from __future__ import annotations

import pytest

from tests.harness.godot_cases import GodotCase, GodotResult, list_cases


@pytest.mark.parametrize("case", list_cases(), ids=lambda case: case.name)
def test_godot(case: GodotCase, godot_results: dict[str, GodotResult]) -> None:
    failures = godot_results[case.name].failures
    assert not failures, "\n".join(failures)
