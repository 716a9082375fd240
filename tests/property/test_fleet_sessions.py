"""Thousands of random lives in a fleet that moves, crashes and misdirects its players; see
tests/harness/fleet_simulator.py."""

from __future__ import annotations

import pytest

from tests.harness.fleet_simulator import Policy, live

LIVES_A_TEST = 400
TESTS = 3


@pytest.mark.parametrize("first", range(0, TESTS * LIVES_A_TEST, LIVES_A_TEST))
@pytest.mark.parametrize("policy", ["replace", "refuse", "allow"])
async def test_one_copy_of_a_transferred_session_lives_and_loses_or_repeats_nothing(
    policy: Policy, first: int
) -> None:
    crashes = moves = redirects = resumes = 0
    for seed in range(first, first + LIVES_A_TEST):
        try:
            life = await live(seed, policy)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        crashes, moves = crashes + life.crashes, moves + life.moves
        redirects, resumes = redirects + life.redirects, resumes + life.resumes
    assert min(crashes, moves, redirects, resumes) > LIVES_A_TEST / 8, (crashes, moves, redirects, resumes)
