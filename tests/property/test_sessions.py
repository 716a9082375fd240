"""Ten thousand random lives of a session, and in none is anything lost, doubled or run twice; see
tests/harness/session_simulator.py."""

from __future__ import annotations

import pytest

from tests.harness.session_simulator import live

LIVES = 10_000
LIVES_A_TEST = 500


@pytest.mark.parametrize("first", range(0, LIVES, LIVES_A_TEST))
async def test_random_networks_neither_lose_nor_repeat_an_event_or_command(first: int) -> None:
    drops = resumes = 0
    for seed in range(first, first + LIVES_A_TEST):
        try:
            life = await live(seed)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        drops, resumes = drops + life.drops, resumes + life.resumes
    assert drops > LIVES_A_TEST
    assert resumes > LIVES_A_TEST / 2, "the schedules do not do what they are for"
