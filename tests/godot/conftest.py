"""Runs Godot once for all tests of this folder, whatever the number of test processes."""

from __future__ import annotations

import os

import pytest

from tests.harness.godot import GodotMissing, find_godot
from tests.harness.godot_cases import GodotResult, run_cases


@pytest.fixture(scope="session")
def godot() -> list[str]:
    """The command that starts Godot without a display."""
    try:
        return find_godot()
    except GodotMissing as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def godot_results(godot: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, GodotResult]:
    """The results of all cases of tests/godot/cases."""
    base = tmp_path_factory.getbasetemp()
    return run_cases(godot, (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "godot")
