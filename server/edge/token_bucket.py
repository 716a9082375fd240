"""A token bucket: a rate limit with a burst. Pure: the caller passes the time.

On the hot path callers decrement `bucket.tokens` themselves, once per message. They call `refill` only when the
bucket is empty, so that most messages read no clock and make no call.
"""

from __future__ import annotations


class TokenBucket:
    """Tokens that are added at a steady rate.

    Args:
        per_second: the rate.
        burst: the capacity.
        now_s: seconds on any monotonic clock.
        tokens: the initial tokens; None for a full bucket.

    Attributes:
        tokens: the tokens that are left; below zero after a large message.
        per_second: the rate.
    """

    __slots__ = ("_at_s", "_burst", "per_second", "tokens")

    def __init__(self, per_second: float, burst: float, now_s: float, *, tokens: float | None = None) -> None:
        self.tokens = burst if tokens is None else tokens
        self.per_second = per_second
        self._burst = burst
        self._at_s = now_s

    def refill(self, now_s: float) -> bool:
        """Add the tokens since the last call.

        Returns:
            Whether the number of tokens is not below zero.
        """
        self.tokens = min(self._burst, self.tokens + (now_s - self._at_s) * self.per_second)
        self._at_s = now_s
        return self.tokens >= 0

    def is_full(self, now_s: float) -> bool:
        """Return whether the bucket is full."""
        self.refill(now_s)
        return self.tokens >= self._burst

    def try_take(self, now_s: float, count: float = 1) -> bool:
        """Take tokens if there are enough; return whether they were taken."""
        self.refill(now_s)
        if self.tokens < count:
            return False
        self.tokens -= count
        return True
