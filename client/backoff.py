"""When to try again: exponential, with jitter, and never before the server's advice. Pure; the randomness comes in.

The whole delay is random (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015: full jitter), so that a
thousand clients that lost their server at one moment come back as a stream and not as a wave.
"""

from __future__ import annotations

from collections.abc import Callable

FIRST_S = 0.25
LONGEST_S = 10.0
ADVICE_SPREAD = 0.25
"""Advice is the same for many: each waits up to this share longer."""


class Backoff:
    """The delays of one series of attempts.

    Args:
        chance: gives random numbers from 0 to 1.
    """

    def __init__(self, chance: Callable[[], float]) -> None:
        self._chance = chance
        self._ceiling_s = FIRST_S

    def next_s(self, advised_s: float = 0.0) -> float:
        """How long to wait before the next attempt.

        Args:
            advised_s: what the server said; 0 if it said nothing.
        """
        jittered_s = self._ceiling_s * self._chance()
        self._ceiling_s = min(LONGEST_S, self._ceiling_s * 2)
        return max(jittered_s, advised_s * (1 + ADVICE_SPREAD * self._chance()))
