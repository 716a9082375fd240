"""Long work on the event loop, in slices: other tasks and timers run between them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

SLICE_S = 0.002
"""How late a tick may be because of a slice. A step, between two yields of the generator, takes a tenth of that."""

TURNS = 2
"""Turns of the event loop between two slices: a call to Redis of another task needs some, and gets on meanwhile."""


async def run_in_slices(steps: Generator[None, None, T]) -> T:
    """Run a generator to its end, and return its value. After each SLICE_S, other tasks have some turns."""
    ends_s = time.perf_counter() + SLICE_S
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: T = done.value
            return result
        if time.perf_counter() >= ends_s:
            for _ in range(TURNS):
                await asyncio.sleep(0)
            ends_s = time.perf_counter() + SLICE_S
