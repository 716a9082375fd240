"""How well the process itself does: how late its event loop is, and for how long the collector stops everything.

The loop is asked to wake this module up ten times a second; how much later that happens is what a connection, a tick
or a call to a store would have waited, too.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from time import perf_counter
from typing import Any

BEAT_S = 0.1


class LoopMonitor:
    """Feels one process's pulse; `run` is its task.

    Args:
        lag: told of each lateness, seconds.
        pause: told of each run of the collector: its generation, 0 to 2, and seconds.
    """

    def __init__(self, lag: Callable[[float], None], pause: Callable[[int, float], None]) -> None:
        self._lag = lag
        self._pause = pause
        self._started_s = 0.0

    async def run(self) -> None:
        """Feels it until it is cancelled."""
        gc.callbacks.append(self._collects)
        try:
            while True:
                due_s = perf_counter() + BEAT_S
                await asyncio.sleep(BEAT_S)
                self._lag(max(0.0, perf_counter() - due_s))
        finally:
            gc.callbacks.remove(self._collects)

    def _collects(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._started_s = perf_counter()
        else:
            self._pause(int(info["generation"]), perf_counter() - self._started_s)
