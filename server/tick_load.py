"""The share of the event loop's time that rooms spend in ticks. Pure: the caller passes the elapsed time."""

from __future__ import annotations

from collections.abc import Callable

ELAPSED_S_MIN = 1e-3


class TickLoad:
    """Measures the load of a shard from the total time of its ticks.

    Args:
        tick_seconds: returns the total duration of all ticks since the start, seconds.

    Attributes:
        share: tick time divided by elapsed time at the last measurement; 1 means that the loop did nothing else.
    """

    def __init__(self, tick_seconds: Callable[[], float]) -> None:
        self.share = 0.0
        self._tick_seconds = tick_seconds
        self._measured_s = 0.0

    def measure(self, elapsed_s: float) -> None:
        """Update `share` for the time since the measurement before.

        Args:
            elapsed_s: the length of that time, seconds.
        """
        total_s = self._tick_seconds()
        self.share = (total_s - self._measured_s) / max(elapsed_s, ELAPSED_S_MIN)
        self._measured_s = total_s
