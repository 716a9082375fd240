"""What a player's messages cost everybody else: the events that they cause, counted against the player.

An event costs one for each receiver, and one more for each further KiB. A budget is a second's worth; the cost of a
message is known only after it was handled, so a message that is let in may leave a debt, and the next one waits until
that is paid. Pure: the time is a parameter.
"""

from __future__ import annotations

import math

EVENT_BYTES = 1024


def event_cost(size: int) -> int:
    """Return what one receiver of an event of this size costs."""
    return 1 + size // EVENT_BYTES


class FanOutBudget:
    """One player's budget.

    Args:
        rate: what the player's messages may cost in a second.
        now_s: seconds on the clock that the methods are given.
    """

    __slots__ = ("_level", "_rate", "_refilled_s")

    def __init__(self, rate: float, now_s: float) -> None:
        self._rate = rate
        self._level = rate
        self._refilled_s = now_s

    def spend(self, cost: int) -> None:
        """Count what a message has caused; may leave a debt."""
        self._level -= cost

    def wait_ms(self, now_s: float) -> int:
        """Return how long the player's next message has to wait; 0: not at all."""
        self._level = min(self._rate, self._level + (now_s - self._refilled_s) * self._rate)
        self._refilled_s = now_s
        return 0 if self._level >= 0 else math.ceil(-self._level / self._rate * 1000)
