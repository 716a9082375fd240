"""Runs long work on the event loop in slices, so that other tasks and timers run between them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

SLICE_S = 0.002
"""The duration of a slice, by which it may delay a tick. A step between two yields takes a tenth of it."""

TURNS = 2
"""Turns of the event loop between two slices: a call to Redis by another task needs several turns."""


async def run_in_slices(steps: Generator[None, None, T]) -> T:
    """Run a generator to its end and return its value. Other tasks get TURNS turns after each SLICE_S."""
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
