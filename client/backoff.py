"""Exponential backoff with jitter, never shorter than the delay that the server advised. Pure.

The whole delay is random (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015: full jitter), which spreads
the reconnects of the clients that lost the same server at the same moment.
"""

from __future__ import annotations

from collections.abc import Callable
from math import floor

FIRST_MS = 250
MAX_MS = 10_000
ADVICE_SPREAD = 0.25
"""Many clients receive the same advice: each adds a random delay of up to this share."""


class Backoff:
    """The delays of one series of attempts.

    Args:
        random: returns random numbers from 0 to 1.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._ceiling_ms = FIRST_MS

    def next_ms(self, advised_ms: float = 0) -> int:
        """Return the delay before the next attempt, in whole milliseconds. Draws two random numbers.

        Args:
            advised_ms: the delay that the server advised; 0 without advice.
        """
        jittered_ms = to_whole_ms(self._ceiling_ms * self._random())
        self._ceiling_ms = min(MAX_MS, self._ceiling_ms * 2)
        return max(jittered_ms, to_whole_ms(advised_ms * (1 + ADVICE_SPREAD * self._random())))


def to_whole_ms(ms: float) -> int:
    """Round to whole milliseconds, halves up: all clients round alike, so that scenarios hold for each of them."""
    return floor(ms + 0.5)
