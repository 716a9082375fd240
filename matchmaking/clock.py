"""The fleet's clock: the time of Redis at the last heartbeat, advanced by this machine's monotonic clock. Pure.

The wall clocks of two shards differ and jump. A ticket that one shard signs and another checks must not depend on
them.
"""

from __future__ import annotations

from collections.abc import Callable


class FleetClock:
    """A clock that shows the same time on all shards, within a round trip to Redis.

    Args:
        monotonic_s: this machine's monotonic clock.
        wall_s: UTC; used only until the first `sync`.
    """

    def __init__(self, monotonic_s: Callable[[], float], wall_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._ahead_s = wall_s() - monotonic_s()

    def sync(self, redis_ms: int) -> None:
        """Set the clock to the time that Redis has just returned."""
        self._ahead_s = redis_ms / 1000 - self._monotonic_s()

    def now_s(self) -> float:
        """Return UTC by the clock of Redis, seconds since 1970."""
        return self._monotonic_s() + self._ahead_s

    def now_ms(self) -> int:
        """Return UTC by the clock of Redis, milliseconds since 1970."""
        return int(self.now_s() * 1000)
