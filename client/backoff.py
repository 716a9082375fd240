"""Exponential backoff with jitter, never shorter than the delay that the server advised. Pure.

The whole delay is random (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015: full jitter), which spreads
the reconnects of the clients that lost the same server at the same moment.
"""

from __future__ import annotations

from collections.abc import Callable

FIRST_S = 0.25
MAX_S = 10.0
ADVICE_SPREAD = 0.25
"""Many clients receive the same advice: each adds a random delay of up to this share."""


class Backoff:
    """The delays of one series of attempts.

    Args:
        random: returns random numbers from 0 to 1.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._ceiling_s = FIRST_S

    def next_s(self, advised_s: float = 0.0) -> float:
        """Return the delay before the next attempt, in seconds.

        Args:
            advised_s: the delay that the server advised; 0 without advice.
        """
        jittered_s = self._ceiling_s * self._random()
        self._ceiling_s = min(MAX_S, self._ceiling_s * 2)
        return max(jittered_s, advised_s * (1 + ADVICE_SPREAD * self._random()))
