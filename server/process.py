"""One shard as a process: its signals and its exit code.

    first SIGTERM or SIGINT     the shard drains: its rooms move to other shards, for at most `drain_timeout_s`
    second                      the drain ends; the shard saves its rooms, closes them, and exits
    third                       the process exits at once, with exit code 1

A signal during the start takes effect as soon as the ports are open.
"""

from __future__ import annotations

import asyncio
import os
import signal
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
"""Stopped in order."""
EXIT_FAILED = 1
"""The work could not be done: a store does not answer, a task of the shard has failed, a third signal came; or not
all that had changed could be saved at the stop."""
EXIT_USAGE = 2
"""Arguments or settings are wrong: doing the same again cannot succeed."""


async def run_shard(settings: Settings) -> int:
    """Run a shard until a signal, an operator or a failure ends it; return the exit code.

    Raises:
        ConfigError: the settings are invalid; one line for each problem.
    """
    stopping, hurried = stop_events(2)
    problems = await find_problems(settings)
    if problems:
        raise ConfigError("\n".join(problems))
    shard = Shard(settings)
    shard.on_drain = shard.on_failed = stopping.set
    logs.configure(format=settings.logging.format, level=settings.logging.level, shard_id=shard.shard_id)
    stop_traces = traces.start(settings.traces.endpoint, settings.traces.sample_ratio, shard.shard_id)
    is_saved = False
    try:
        await shard.start()
        try:
            await stopping.wait()
            await _until(hurried, shard.drain())
        finally:
            is_saved = await shard.stop()
    finally:
        await asyncio.to_thread(stop_traces)
    if shard.refusal is not None:
        raise shard.refusal
    return EXIT_STOPPED if shard.health.is_alive and is_saved else EXIT_FAILED


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
