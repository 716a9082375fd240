"""Runs several shards on one machine, one process each, and restarts those that end by themselves.

The delay before a restart doubles while a shard keeps failing. The first SIGTERM or SIGINT is passed to all shards,
which drain and stop at the same time; the second ends their drain. If the supervisor is killed, the kernel sends
SIGTERM to its shards.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

import structlog

from tickwire.retry_delay import RetryDelay
from tickwire.server.config import Settings
from tickwire.server.dev.local_stores import end_with
from tickwire.server.errors import ConfigError
from tickwire.server.process import EXIT_FAILED, EXIT_STOPPED, stop_events
from tickwire.server.startup_check import find_problems

log = structlog.get_logger(__name__)

PAUSE_S_MIN, PAUSE_S_MAX = 0.5, 10.0
SETTLED_S = 10.0
"""A shard that ran for this long did not fail at its start: the delay is reset to the shortest."""
EXIT_S_MAX = 5.0
"""A shard is killed if it still runs this long after the time limits of its drain and its stop."""
SIGNAL_INTERVAL_S = 0.5
"""A process that receives two signals in one turn of its event loop notices one."""
PORT_MAX = 65_535


class ShardCommand(NamedTuple):
    """How to start and to stop one shard of several."""

    number: int
    arguments: list[str]
    environ: Mapping[str, str]
    stop_timeout_s: float
    drains: bool = True


async def supervise(settings: Settings, count: int, arguments: list[str], *, drains: bool = True) -> int:
    """Run `count` shards until a signal arrives; their ports count up from those of the settings.

    Args:
        settings: the settings of the first shard.
        count: the number of shards.
        arguments: the command line of each shard, after `serve`.
        drains: whether the shards drain when they are stopped; otherwise they save and close their rooms at once.

    Returns:
        The exit code: EXIT_STOPPED if every shard made an orderly stop.

    Raises:
        ConfigError: one line for each problem.
    """
    stopping, hurried = stop_events(2)
    problems = [*_contradictions(settings, count), *await find_problems(settings)]
    if problems:
        raise ConfigError("\n".join(problems))
    commands = [command._replace(drains=drains) for command in _commands(settings, count, arguments)]
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_supervise_shard(command, stopping, hurried), name=f"shard {command.number}")
            for command in commands
        ]
    return EXIT_STOPPED if all(task.result() == EXIT_STOPPED for task in tasks) else EXIT_FAILED


def _contradictions(settings: Settings, count: int) -> Iterator[str]:
    listen, operations = settings.listen, settings.operations
    for name, port in (("listen.port", listen.port), ("operations.port", operations.port)):
        port_max = PORT_MAX - count + 1
        if port > port_max:
            yield f"{name}: must be at most {port_max} with {count} shards, whose ports count up; got {port}"
    if listen.port and operations.port and abs(listen.port - operations.port) < count:
        yield f"operations.port: must be {count} or more from listen.port ({listen.port}) with {count} shards"
    if listen.url:
        yield "listen.url: must be empty with several shards, because each of them has a port of its own"


def _commands(settings: Settings, count: int, arguments: list[str]) -> list[ShardCommand]:
    shared = dict(os.environ)
    if not settings.tickets.keys:  # shards verify the tickets of one another, so they need a common key
        shared |= {
            "TICKWIRE__TICKETS__KEYS__COMMON": secrets.token_hex(32),
            "TICKWIRE__TICKETS__CURRENT": "common",
        }
    stop_timeout_s = settings.drain_timeout_s + settings.shutdown_timeout_s + EXIT_S_MAX
    commands = []
    for index in range(count):
        ports = {
            "TICKWIRE__LISTEN__PORT": settings.listen.port,
            "TICKWIRE__OPERATIONS__PORT": settings.operations.port,
        }
        environ = shared | {name: str(port + index if port else 0) for name, port in ports.items()}
        command = [sys.executable, "-m", "tickwire", "serve", *arguments]
        commands.append(ShardCommand(index, command, environ, stop_timeout_s))
    return commands


async def _supervise_shard(command: ShardCommand, stopping: asyncio.Event, hurried: asyncio.Event) -> int:
    """Run a shard, and restart it whenever it ends, until `stopping` is set; return its last exit code."""
    loop = asyncio.get_running_loop()
    delay = RetryDelay(PAUSE_S_MIN, PAUSE_S_MAX, growth=2)
    exit_code = EXIT_STOPPED
    while not stopping.is_set():
        started = loop.time()
        process = await asyncio.create_subprocess_exec(
            *command.arguments,
            env=command.environ,
            start_new_session=True,
            # Safe although other threads run: it makes system calls only.
            preexec_fn=end_with(os.getpid()) if sys.platform == "linux" else None,
        )
        exit_code = await _run(process, command, stopping, hurried)
        if stopping.is_set():
            break
        if loop.time() - started > SETTLED_S:
            delay.succeeded()
        else:
            delay.failed()
        report = log.info if exit_code == EXIT_STOPPED else log.error  # after a drain by an operator
        report("shard_ended", shard=command.number, exit_code=exit_code, restart_in_s=delay.seconds)
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), delay.seconds)
    return exit_code


async def _run(
    process: asyncio.subprocess.Process, command: ShardCommand, stopping: asyncio.Event, hurried: asyncio.Event
) -> int:
    """Wait until a shard ends, and stop it once `stopping` is set; return its exit code."""
    ended = asyncio.create_task(process.wait(), name=f"shard {command.number} ended")
    try:
        await _first(ended, stopping)
        if not ended.done():
            process.terminate()
            await _first(ended, hurried, command.stop_timeout_s if command.drains else SIGNAL_INTERVAL_S)
        if not ended.done() and (hurried.is_set() or not command.drains):
            process.terminate()
            await asyncio.wait((ended,), timeout=command.stop_timeout_s)
    finally:
        if not ended.done():
            log.error("shard_killed", shard=command.number, pid=process.pid)
            process.kill()
        exit_code = await ended
    if not command.drains and exit_code == -signal.SIGTERM:
        # The second signal came after the event loop was closed, when everything was saved, or before the start.
        return EXIT_STOPPED
    return exit_code


async def _first(ended: asyncio.Task[int], event: asyncio.Event, timeout_s: float | None = None) -> None:
    """Wait until the process ends, the event is set, or the timeout expires."""
    waiting = asyncio.create_task(event.wait(), name="signal")
    try:
        await asyncio.wait((ended, waiting), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
