"""Measures whether the event loop of a shard has time for ticks, independently of the load of the machine."""

from __future__ import annotations

import time

from tickwire.server.shard import Shard

START_TICKS = 20
SKIPPED_SHARE_MAX = 0.25


class TickMeter:
    """Compares the ticks of a shard in this process with the CPU time of its thread.

    While other processes use the CPU, neither advances. A loop that is busy with other work uses CPU time and skips
    ticks.

    Args:
        shard: a shard with one room.
        tick_rate_hz: the tick rate of the room.
    """

    def __init__(self, shard: Shard, tick_rate_hz: float) -> None:
        self._counters = shard.parts.host.counters
        self._tick_rate_hz = tick_rate_hz
        self._first, self._started_s = self._counters.ticks, time.thread_time()

    def check(self) -> None:
        """Assert that the room has ticked: of the ticks that fit in the CPU time, few were skipped."""
        due = (time.thread_time() - self._started_s) * self._tick_rate_hz
        ticked = self._counters.ticks - self._first
        assert ticked >= due * (1 - SKIPPED_SHARE_MAX) - START_TICKS, f"{ticked} ticks of {due:.0f} that were due"
