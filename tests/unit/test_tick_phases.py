"""The arrangement of tick groups in their interval."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.server.rooms.tick_phases import find_free_phase, spread

PHASES = st.floats(0, 1, exclude_max=True, allow_nan=False)
GROUPS = st.lists(st.tuples(PHASES, st.floats(0, 0.4, allow_nan=False)), min_size=1, max_size=12)


@given(GROUPS)
def test_spread_leaves_the_same_idle_time_after_each_group(groups: list[tuple[float, float]]) -> None:
    phases, work = [phase for phase, _ in groups], [share for _, share in groups]
    moved = [phase + move for phase, move in zip(phases, spread(phases, work), strict=True)]
    order = sorted(range(len(groups)), key=phases.__getitem__)
    following = [*(moved[index] for index in order[1:]), moved[order[0]] + 1]
    scale = max(1.0, sum(work))  # more work than time: the groups share the interval in proportion
    idle = [after - moved[index] - work[index] / scale for index, after in zip(order, following, strict=True)]
    assert idle == pytest.approx([max(0.0, 1 - sum(work)) / len(groups)] * len(groups))


@given(GROUPS)
def test_groups_keep_their_order_and_the_largest_move_is_as_small_as_possible(
    groups: list[tuple[float, float]],
) -> None:
    phases = [phase for phase, _ in groups]
    moves = spread(phases, [share for _, share in groups])
    moved = [phase + move for phase, move in zip(phases, moves, strict=True)]
    order = sorted(range(len(phases)), key=phases.__getitem__)
    assert [moved[index] for index in order] == pytest.approx(sorted(moved))
    assert max(moves) == pytest.approx(-min(moves)), "no turn of the whole circle would make both smaller"


def test_groups_that_are_spread_do_not_move() -> None:
    assert spread([0.1, 0.6], [0.2, 0.2]) == pytest.approx([0, 0])
    assert spread([0.7], [0.3]) == [0]
    assert spread([], []) == []


def test_another_group_starts_in_the_middle_of_the_longest_idle_time() -> None:
    assert find_free_phase([], [], 0.1, first=2.618) == pytest.approx(0.618)
    # Idle from 0.3 to 0.5 and from 0.6 to 1.2; 0.2 of work in the middle of the latter.
    assert find_free_phase([0.2, 0.5], [0.1, 0.1], 0.2, first=0) == pytest.approx(0.8)
    assert find_free_phase([0.9], [0.2], 0.1, first=0) == pytest.approx(0.45), "the interval is a circle"
