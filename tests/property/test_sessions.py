"""Ten thousand random runs of a session; none loses or repeats an event or a command; see
tests/harness/session_simulator.py."""

from __future__ import annotations

import pytest

from tests.harness.session_simulator import simulate

RUNS = 10_000
RUNS_A_TEST = 500


@pytest.mark.parametrize("first", range(0, RUNS, RUNS_A_TEST))
async def test_random_networks_neither_lose_nor_repeat_an_event_or_command(first: int) -> None:
    drops = resumes = 0
    for seed in range(first, first + RUNS_A_TEST):
        try:
            run = await simulate(seed)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        drops, resumes = drops + run.drops, resumes + run.resumes
    assert drops > RUNS_A_TEST
    assert resumes > RUNS_A_TEST / 2, "the schedules do not resume often enough"
