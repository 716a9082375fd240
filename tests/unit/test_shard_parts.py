"""Small parts of a shard: the delay of its background loops, and the measurement of its load."""

from __future__ import annotations

from tickwire.server.retry_delay import RetryDelay
from tickwire.server.tick_load import TickLoad


def test_delay_grows_with_failures_up_to_its_limit_and_a_success_resets_it() -> None:
    delay = RetryDelay(1.0, 5.0, growth=2)
    seen = []
    for _ in range(4):
        delay.failed()
        seen.append(delay.seconds)
    assert seen == [2.0, 4.0, 5.0, 5.0]
    delay.succeeded()
    assert delay.seconds == 1.0


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
