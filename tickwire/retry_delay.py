"""The delay between the rounds of a background loop: constant while they succeed, growing while they fail. Pure.

Not the back-off of many clients, which needs jitter (client/backoff.py): a shard has few such loops for each store.
"""

from __future__ import annotations

LONGEST_S = 5.0
"""A loop notices within this time that its store answers again."""
GROWTH = 1.5


class RetryDelay:
    """Tracks one loop's delay.

    Args:
        interval_s: the delay after a success.
        longest_s: the longest delay after failures.
        growth: the factor by which each further failure lengthens the delay.

    Attributes:
        seconds: the delay before the next round.
    """

    def __init__(self, interval_s: float, longest_s: float = LONGEST_S, growth: float = GROWTH) -> None:
        self.seconds = interval_s
        self._interval_s = interval_s
        self._longest_s = longest_s
        self._growth = growth

    def succeeded(self) -> None:
        """Return to the regular interval."""
        self.seconds = self._interval_s

    def failed(self) -> None:
        """Lengthen the delay, up to the limit."""
        self.seconds = min(self._longest_s, self.seconds * self._growth)
