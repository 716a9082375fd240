"""The clock that peers are judged by: it runs with the event loop and stops with it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.server.edge.loop_clock import SLACK_S, LoopClock


def test_the_clock_runs_with_a_loop_that_is_on_time() -> None:
    clock = LoopClock(1.0, 100.0)
    for second in range(101, 200):
        assert clock.advance(second + 0.1) == 0.0
    assert clock.read(199.5) == pytest.approx(199.5)


def test_a_stall_does_not_count() -> None:
    clock = LoopClock(1.0, 100.0)
    assert clock.read(160.0) == pytest.approx(101.0 + SLACK_S), "before the loop has noticed"
    assert clock.advance(160.0) == pytest.approx(59.0 - SLACK_S)
    assert clock.read(160.0) == pytest.approx(101.0 + SLACK_S)
    assert clock.advance(161.0) == 0.0
    assert clock.read(161.0) == pytest.approx(102.0 + SLACK_S), "and it runs on"


@given(st.lists(st.tuples(st.floats(0, 30), st.booleans()), max_size=50))
def test_the_clock_never_goes_back_and_never_runs_ahead(steps: list[tuple[float, bool]]) -> None:
    clock = LoopClock(1.0, 0.0)
    now_s = last_s = stalls_s = 0.0
    for pause_s, advances in steps:
        now_s += pause_s
        if advances:
            stalls_s += clock.advance(now_s)
        assert last_s <= clock.read(now_s) <= now_s
        last_s = clock.read(now_s)
    stalls_s += clock.advance(now_s)
    assert clock.read(now_s) + stalls_s == pytest.approx(now_s)
