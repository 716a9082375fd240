"""The role `api` as a process: its signals and its exit code.

first SIGTERM or SIGINT     the process drains: it is not ready, and finishes the requests in flight
second                      the wait for load balancers ends
third                       the process exits at once, with exit code 1
"""

from __future__ import annotations

import asyncio

from tickwire.server.api.role import ApiRole
from tickwire.server.api.startup_check import find_api_problems
from tickwire.server.config import Settings
from tickwire.server.errors import ConfigError
from tickwire.server.observability import logs, traces
from tickwire.server.process import EXIT_FAILED, EXIT_STOPPED, stop_events


async def run_api(settings: Settings) -> int:
    """Run the player API until a signal or a failure ends it; return the exit code.

    Raises:
        ConfigError: the settings are invalid; one line for each problem.
    """
    stopping, hurried = stop_events(2)
    problems = await find_api_problems(settings)
    if problems:
        raise ConfigError("\n".join(problems))
    role = ApiRole(settings, on_failed=stopping.set)
    logs.configure(format=settings.logging.format, level=settings.logging.level, process_id=role.process_id)
    stop_traces = traces.start(settings.traces.endpoint, settings.traces.sample_ratio, role.process_id)
    try:
        await role.start()
        try:
            await stopping.wait()
            await role.announce_stop(hurried)
        finally:
            await role.stop()
    finally:
        await asyncio.to_thread(stop_traces)
    if role.refusal is not None:
        raise role.refusal
    return EXIT_STOPPED if role.parts.context.health.is_alive else EXIT_FAILED
