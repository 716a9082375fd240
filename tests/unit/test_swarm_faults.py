"""The schedule of faults of a stress run."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.loadtest.faults import PAUSE_S, QUIET_END_S, QUIET_START_S, RESTART_S, FaultKind, schedule_faults


@given(st.floats(0, 1200), st.integers(1, 5), st.integers(0, 2**32))
def test_faults_do_not_overlap_and_leave_a_quiet_start_and_end(run_s: float, shards: int, seed: int) -> None:
    end_s = QUIET_START_S
    for number, fault in enumerate(schedule_faults(run_s, shards, random.Random(seed))):
        assert fault.at_s >= end_s + (PAUSE_S[0] if number else 0)
        assert 0 <= fault.shard < shards
        end_s = fault.at_s + (fault.seconds or RESTART_S)
        assert end_s <= run_s - QUIET_END_S


@pytest.mark.parametrize("seed", range(5))
def test_five_minutes_have_every_kind_several_times_and_each_shard(seed: int) -> None:
    faults = schedule_faults(300.0, 2, random.Random(seed))
    for kind in FaultKind:
        assert sum(fault.kind is kind for fault in faults) >= 3
    assert {fault.shard for fault in faults} == {0, 1}
    assert {fault.is_sudden for fault in faults} == {True, False}


def test_same_seed_has_the_same_faults() -> None:
    assert schedule_faults(300.0, 2, random.Random(7)) == schedule_faults(300.0, 2, random.Random(7))


def test_short_run_has_no_long_stalls() -> None:
    faults = schedule_faults(60.0, 2, random.Random(1), has_long_stalls=False)
    assert FaultKind.LONG_STALL not in {fault.kind for fault in faults}
    assert len(faults) >= 3
