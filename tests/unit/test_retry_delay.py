"""The delay of background loops."""

from __future__ import annotations

from tickwire.retry_delay import LONGEST_S, RetryDelay


def test_delay_grows_with_failures_up_to_its_limit_and_a_success_resets_it() -> None:
    delay = RetryDelay(1.0, 5.0, growth=2)
    seen = []
    for _ in range(4):
        delay.failed()
        seen.append(delay.seconds)
    assert seen == [2.0, 4.0, 5.0, 5.0]
    delay.succeeded()
    assert delay.seconds == 1.0


def test_delay_of_any_interval_reaches_the_common_limit_within_a_dozen_failures() -> None:
    delay = RetryDelay(0.2)
    for _ in range(12):
        delay.failed()
    assert delay.seconds == LONGEST_S
