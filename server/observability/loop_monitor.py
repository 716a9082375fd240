"""Measures the delay of the event loop and the pauses by the garbage collector.

A task sleeps for INTERVAL_S and measures how late it wakes up. Connections, ticks and calls to stores are delayed by
the same time.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from time import perf_counter
from typing import Any

INTERVAL_S = 0.1


class LoopMonitor:
    """Monitors the event loop and the garbage collector of one process. Run `run` as a task.

    Args:
        observe_lag: called with each delay of the loop, seconds.
        observe_gc_pause: called with the generation, 0 to 2, and the duration, seconds, of each collection.
    """

    def __init__(self, observe_lag: Callable[[float], None], observe_gc_pause: Callable[[int, float], None]) -> None:
        self._observe_lag = observe_lag
        self._observe_gc_pause = observe_gc_pause
        self._started_s = 0.0

    async def run(self) -> None:
        """Measure until cancelled."""
        gc.callbacks.append(self._on_gc)
        try:
            while True:
                due_s = perf_counter() + INTERVAL_S
                await asyncio.sleep(INTERVAL_S)
                self._observe_lag(max(0.0, perf_counter() - due_s))
        finally:
            gc.callbacks.remove(self._on_gc)

    def _on_gc(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._started_s = perf_counter()
        else:
            self._observe_gc_pause(int(info["generation"]), perf_counter() - self._started_s)
