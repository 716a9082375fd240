"""Limits how many recordings one cause writes: a fixed number of each key in a fixed window of time.

Failures are counted by room type, so that a type that fails again and again does not remove the recordings of the
others from the directory. Pure: the clock is a parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

KEYS_MAX = 10_000
"""The keys that are remembered: a player has one. The oldest is forgotten first."""


class WindowLimit(NamedTuple):
    """At most `most` in each `window_s` seconds."""

    most: int
    window_s: float


LIMITS = {
    "failure": WindowLimit(6, 60.0),
    "report of a player": WindowLimit(1, 60.0),
    "report in a room": WindowLimit(1, 30.0),
}
"""The second report of a room within half a minute adds little: the file of the first has the same seconds."""


class TriggerLimits:
    """Counts recordings by cause and key.

    Args:
        now_s: a monotonic clock in seconds.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._windows: dict[tuple[str, str], tuple[float, int]] = {}

    def wait_s(self, cause: str, key: str) -> float:
        """Return how long until `allows` returns True, in seconds; 0 if it does now."""
        limit = LIMITS[cause]
        since_s, count = self._windows.get((cause, key), (self._now_s(), 0))
        left_s = since_s + limit.window_s - self._now_s()
        return left_s if count >= limit.most and left_s > 0 else 0.0

    def allows(self, cause: str, key: str) -> bool:
        """Return whether another recording is allowed, and count it if so."""
        if self.wait_s(cause, key):
            return False
        now_s, place = self._now_s(), (cause, key)
        since_s, count = self._windows.pop(place, (now_s, 0))
        if now_s - since_s >= LIMITS[cause].window_s:
            since_s, count = now_s, 0
        self._windows[place] = since_s, count + 1
        if len(self._windows) > KEYS_MAX:
            del self._windows[next(iter(self._windows))]
        return True
