"""Thousands of random runs of a session in a fleet that migrates, crashes and misdirects its players; see
tests/harness/fleet_simulator.py."""

from __future__ import annotations

import pytest

from tests.harness.fleet_simulator import Policy, simulate

RUNS_A_TEST = 400
TESTS = 3


@pytest.mark.parametrize("first", range(0, TESTS * RUNS_A_TEST, RUNS_A_TEST))
@pytest.mark.parametrize("policy", ["replace", "refuse", "allow"])
async def test_one_copy_of_a_transferred_session_lives_and_loses_or_repeats_nothing(
    policy: Policy, first: int
) -> None:
    crashes = moves = redirects = resumes = logins = 0
    for seed in range(first, first + RUNS_A_TEST):
        try:
            run = await simulate(seed, policy)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        crashes, moves = crashes + run.crashes, moves + run.moves
        redirects, resumes, logins = redirects + run.redirects, resumes + run.resumes, logins + run.logins
    assert logins > RUNS_A_TEST / 16
    assert min(crashes, moves, redirects, resumes) > RUNS_A_TEST / 8, (crashes, moves, redirects, resumes)
