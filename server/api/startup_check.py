"""Checks what a process of the role `api` needs before it opens its ports, except the stores themselves."""

from __future__ import annotations

import time
from collections.abc import Callable

from tickwire.server.api.assembly import load_api_certificate
from tickwire.server.assembly import create_redis_connection
from tickwire.server.config import Settings
from tickwire.server.errors import ConfigError
from tickwire.server.observability import traces
from tickwire.server.storage import MongoStore
from tickwire.services.accounts.providers.registry import create_providers


async def find_api_problems(settings: Settings, *, needs_accounts: bool = False) -> list[str]:
    """Return a line for each problem; an empty list means that the process can start as soon as its stores answer.

    Creates the clients of the stores, which needs an event loop, and closes them without connecting.

    Args:
        settings: the settings of the process.
        needs_accounts: whether a missing `accounts.secret` is a problem. A process without it runs without accounts.
    """
    problems: list[str] = []

    def attempt(check: Callable[[], object]) -> None:
        try:
            check()
        except ConfigError as error:
            problems.extend(str(error).splitlines())

    attempt(lambda: load_api_certificate(settings))
    attempt(lambda: traces.check(settings.traces.endpoint))
    attempt(lambda: MongoStore(settings.mongo.url, settings.mongo.database).close())
    attempt(lambda: create_providers(settings.accounts.providers, time.time))
    if needs_accounts and not settings.accounts.secret:
        problems.append("accounts.secret: is not set, so that no player can log in; set at least 32 characters")
    try:
        await create_redis_connection(settings.redis).aclose()
    except ConfigError as error:
        problems.append(str(error))
    return problems
