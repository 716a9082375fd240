"""A monotonic clock that stops while the event loop is stalled, so that clients do not time out during a stall.

    loop runs      the clock runs with it
    loop stalls    (a long tick, SIGSTOP, a suspended machine) the clock advances by at most one interval and SLACK_S

The silence of a client, its handshake and its resume window are measured on this clock. A shard that was stopped
for a minute did not read for a minute: it does not know whether a client was silent. Pure: the caller
passes the time.
"""

from __future__ import annotations

SLACK_S = 0.25
"""A loop that is late by less than this counts as running; ticks of a loaded shard are late by about 0.05 s."""


class LoopClock:
    """The time during which the event loop ran.

    Args:
        interval_s: how often `advance` is called.
        now_s: seconds on a monotonic clock.
    """

    __slots__ = ("_advanced_s", "_gap_s_max", "_time_s")

    def __init__(self, interval_s: float, now_s: float) -> None:
        self._gap_s_max = interval_s + SLACK_S
        self._advanced_s = self._time_s = now_s

    def advance(self, now_s: float) -> float:
        """Record that the loop runs.

        Returns:
            The length of the stall that ends now, in seconds; 0 if there was none.
        """
        stall_s = max(0.0, now_s - self._advanced_s - self._gap_s_max)
        self._time_s = self.read(now_s)
        self._advanced_s = now_s
        return stall_s

    def read(self, now_s: float) -> float:
        """Return the time of this clock, in seconds."""
        return self._time_s + min(now_s - self._advanced_s, self._gap_s_max)
