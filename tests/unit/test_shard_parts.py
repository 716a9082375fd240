"""Small parts of a shard: the measurement of its load."""

from __future__ import annotations

from tickwire.server.tick_load import TickLoad


def test_load_is_the_share_of_the_elapsed_time_since_the_measurement_before() -> None:
    tick_seconds = 0.0
    load = TickLoad(lambda: tick_seconds)
    tick_seconds = 0.25
    load.measure(1.0)
    assert load.share == 0.25
    tick_seconds = 0.75
    load.measure(2.0)
    assert load.share == 0.25
    load.measure(0.0)
    assert load.share == 0.0, "no ticks since, and no division by zero"
