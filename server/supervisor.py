"""N shards on one machine: one process each, started, watched, and stopped together.

A shard that ends by itself is started again after a pause that grows while it keeps failing. The first SIGTERM or
SIGINT is passed on; the shards then stop in order, at the same time.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from contextlib import suppress

import structlog

from server.config import Settings

log = structlog.get_logger(__name__)

PAUSE_S_MIN, PAUSE_S_MAX = 0.5, 10.0
SETTLED_S = 10.0


async def supervise(settings: Settings, count: int, config_arguments: list[str]) -> None:
    """Runs `count` shards until a signal comes; ports count up from those in the settings.

    Args:
        settings: of the first shard.
        count: how many.
        config_arguments: what each shard gets on its command line.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    shared = dict(os.environ)
    if not settings.tickets.keys:  # tickets of one shard are verified by the others: they need a common key
        shared |= {
            "TICKWIRE__TICKETS__KEYS__COMMON": secrets.token_hex(32),
            "TICKWIRE__TICKETS__CURRENT": "common",
        }
    async with asyncio.TaskGroup() as group:
        for index in range(count):
            environ = shared | {
                "TICKWIRE__LISTEN__PORT": str(settings.listen.port + index),
                "TICKWIRE__OPERATIONS__PORT": str(settings.operations.port + index),
            }
            command = [sys.executable, "-m", "server", "serve", *config_arguments]
            keeping = _keep_running(index, command, environ, stopping, settings.drain_s + settings.shutdown_s)
            group.create_task(keeping, name=f"shard {index}")


async def _keep_running(
    index: int, command: list[str], environ: dict[str, str], stopping: asyncio.Event, shutdown_s: float
) -> None:
    loop = asyncio.get_running_loop()
    pause_s = PAUSE_S_MIN
    while not stopping.is_set():
        started = loop.time()
        process = await asyncio.create_subprocess_exec(*command, env=environ, start_new_session=True)
        ended = asyncio.create_task(process.wait(), name=f"shard {index} ended")
        stopped = asyncio.create_task(stopping.wait(), name=f"shard {index} stopping")
        try:
            await asyncio.wait((ended, stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            if not ended.done():
                await _stop(process, ended, shutdown_s + 5)
        if stopping.is_set():
            return
        pause_s = PAUSE_S_MIN if loop.time() - started > SETTLED_S else min(PAUSE_S_MAX, pause_s * 2)
        log.error("shard_ended", shard=index, exit_code=process.returncode, again_in_s=pause_s)
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), pause_s)


async def _stop(process: asyncio.subprocess.Process, ended: asyncio.Task[int], deadline_s: float) -> None:
    process.terminate()
    done, _ = await asyncio.wait((ended,), timeout=deadline_s)
    if not done:
        process.kill()
        await ended
