"""Shards whose clocks are wrong agree on the time all the same."""

from __future__ import annotations

from tickwire.matchmaking.clock import FleetClock


def test_a_wrong_wall_clock_has_no_effect_after_a_sync() -> None:
    monotonic, wall = [50.0], [1_000_000.0]
    clock = FleetClock(lambda: monotonic[0], lambda: wall[0])
    assert clock.now_s() == 1_000_000.0
    clock.sync(2_000_000_000)
    assert clock.now_s() == 2_000_000.0
    wall[0] += 3600
    monotonic[0] += 7
    assert clock.now_s() == 2_000_007.0
    assert clock.now_ms() == 2_000_007_000
