"""A token bucket: a rate with a burst. Pure; the time comes in.

Taking is the caller's to write out (`bucket.level -= n`), because it is done for every message; only when the level
falls below zero is `refill` asked, so the usual case reads no clock and makes no call.
"""

from __future__ import annotations


class TokenBucket:
    """Tokens that flow in at a steady rate.

    Args:
        per_second: the rate.
        burst: the most that is held.
        now_s: seconds on any clock that does not run backwards.
        level: the tokens at the beginning; None: it is full.

    Attributes:
        level: what is left.
        per_second: the rate.
    """

    __slots__ = ("_at_s", "_burst", "level", "per_second")

    def __init__(self, per_second: float, burst: float, now_s: float, *, level: float | None = None) -> None:
        self.level = burst if level is None else level
        self.per_second = per_second
        self._burst = burst
        self._at_s = now_s

    def refill(self, now_s: float) -> bool:
        """Lets in what has come since it was asked last.

        Returns:
            Whether the level is not below zero.
        """
        self.level = min(self._burst, self.level + (now_s - self._at_s) * self.per_second)
        self._at_s = now_s
        return self.level >= 0

    def is_full(self, now_s: float) -> bool:
        """Return whether it holds as much as it can."""
        self.refill(now_s)
        return self.level >= self._burst

    def take(self, now_s: float, count: float = 1) -> bool:
        """Takes tokens if there are enough."""
        self.refill(now_s)
        if self.level < count:
            return False
        self.level -= count
        return True
