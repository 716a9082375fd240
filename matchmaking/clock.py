"""The fleet's clock: that of Redis, as it was last heard of, carried on by this machine's monotonic one. Pure.

Two shards' wall clocks differ, and jump. A ticket that one signs and the other checks must not depend on them.
"""

from __future__ import annotations

from collections.abc import Callable


class FleetClock:
    """Tells the same time on all shards, within a round trip to Redis.

    Args:
        monotonic_s: this machine's clock that never jumps.
        wall_s: UTC; counts only until Redis was first heard of.
    """

    def __init__(self, monotonic_s: Callable[[], float], wall_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._ahead_s = wall_s() - monotonic_s()

    def heard(self, redis_ms: int) -> None:
        """Redis has just said what time it is."""
        self._ahead_s = redis_ms / 1000 - self._monotonic_s()

    def now_s(self) -> float:
        """UTC by the clock of Redis, seconds since 1970."""
        return self._monotonic_s() + self._ahead_s

    def now_ms(self) -> int:
        """The same in milliseconds."""
        return int(self.now_s() * 1000)
