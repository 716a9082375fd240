"""One shard as a process: its signals, its exit code, and the settings of the interpreter.

    first SIGTERM or SIGINT     the shard drains: its rooms move to other shards, for at most `drain_timeout_s`
    second                      the drain ends; the shard saves its rooms, closes them, and exits
    third                       the process exits at once, with exit code 1

A signal during the start takes effect as soon as the ports are open.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any

import structlog

from tickwire.server.config import Settings
from tickwire.server.errors import ConfigError
from tickwire.server.observability import logs, traces
from tickwire.server.shard import Shard
from tickwire.server.startup_check import find_problems

log = structlog.get_logger(__name__)

EXIT_STOPPED = 0
"""An orderly stop."""
EXIT_FAILED = 1
"""The work failed: a store did not answer, a task of the shard failed, a third signal ended the process, or some
changes could not be saved before the stop."""
EXIT_USAGE = 2
"""Arguments or settings are invalid: the same command will fail again."""
GC_THRESHOLD = (20_000, 50, 100)
"""Runs the garbage collector rarely: a tick creates no reference cycles, and a full collection takes milliseconds."""
SWITCH_INTERVAL_S = 0.0005
"""Limits how long a thread that packs or writes worlds may hold the GIL. Python's default is 5 ms."""


async def run_shard(settings: Settings) -> int:
    """Run a shard until a signal, an operator or a failure ends it; return the exit code.

    Raises:
        ConfigError: the settings are invalid; one line for each problem.
    """
    stopping, hurried = stop_events(2)
    problems = await find_problems(settings)
    if problems:
        raise ConfigError("\n".join(problems))
    shard = Shard(settings, on_drain=stopping.set, on_failed=stopping.set)
    logs.configure(format=settings.logging.format, level=settings.logging.level, shard_id=shard.shard_id)
    stop_traces = traces.start(settings.traces.endpoint, settings.traces.sample_ratio, shard.shard_id)
    is_saved = False
    try:
        await shard.start()
        tune_process()
        try:
            await stopping.wait()
            await _until(hurried, shard.drain())
        finally:
            is_saved = await shard.stop()
    finally:
        await asyncio.to_thread(stop_traces)
    if shard.refusal is not None:
        raise shard.refusal
    return EXIT_STOPPED if shard.parts.health.is_alive and is_saved else EXIT_FAILED


def tune_process() -> None:
    """Set the garbage collector and the switching of threads for one shard. Call it once, after the shard's start.

    Objects that exist then live as long as the process, so they are excluded from further collections.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)
    sys.setswitchinterval(SWITCH_INTERVAL_S)


def stop_events(count: int) -> list[asyncio.Event]:
    """Install signal handlers, and return events: each SIGTERM or SIGINT sets the next event.

    A signal after the last event exits the process at once.
    """
    events = [asyncio.Event() for _ in range(count)]
    loop = asyncio.get_running_loop()

    def stop() -> None:
        unset = [event for event in events if not event.is_set()]
        if not unset:
            os._exit(EXIT_FAILED)
        unset[0].set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    return events


async def _until(event: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Run the work until it is done or the event is set."""
    tasks = [asyncio.create_task(work, name="drain"), asyncio.create_task(event.wait(), name="second signal")]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    for task, result in zip(tasks, await asyncio.gather(*tasks, return_exceptions=True), strict=True):
        if isinstance(result, Exception):
            log.error("drain_failed", task=task.get_name(), exc_info=result)
