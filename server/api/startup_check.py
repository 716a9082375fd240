"""Checks what a process of the role `api` needs before it opens its ports, except the stores themselves."""

from __future__ import annotations

from collections.abc import Callable

from tickwire.server.api.assembly import load_api_certificate
from tickwire.server.assembly import create_redis_connection
from tickwire.server.config import Settings
from tickwire.server.errors import ConfigError
from tickwire.server.observability import traces
from tickwire.server.storage import MongoStore


async def find_api_problems(settings: Settings) -> list[str]:
    """Return a line for each problem; an empty list means that the process can start as soon as its stores answer."""
    problems: list[str] = []

    def attempt(check: Callable[[], object]) -> None:
        try:
            check()
        except ConfigError as error:
            problems.extend(str(error).splitlines())

    attempt(lambda: load_api_certificate(settings))
    attempt(lambda: traces.check(settings.traces.endpoint))
    attempt(lambda: MongoStore(settings.mongo.url, settings.mongo.database).close())
    try:
        await create_redis_connection(settings.redis).aclose()
    except ConfigError as error:
        problems.append(str(error))
    return problems
