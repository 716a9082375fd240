"""Checks everything that a shard needs before it opens its ports, except the stores themselves.

`tickwire check` and `tickwire serve` report all problems at once: files that cannot be read, modules that cannot be
imported, URLs that the drivers refuse.
"""

from __future__ import annotations

from collections.abc import Callable

from tickwire.server.admin.console import check_console
from tickwire.server.assembly import create_matchmaker, load_certificate
from tickwire.server.config import Settings
from tickwire.server.edge import static_files
from tickwire.server.edge.auth import key_sources
from tickwire.server.errors import ConfigError
from tickwire.server.game_modules import load_modes, load_room_types
from tickwire.server.observability import traces
from tickwire.server.storage import MongoStore


async def find_problems(settings: Settings) -> list[str]:
    """Return a line for each problem; an empty list means that the shard can start as soon as its stores answer.

    Creates the clients of the stores, which needs an event loop, and closes them without connecting.
    """
    problems: list[str] = []

    def attempt(check: Callable[[], object]) -> None:
        try:
            check()
        except ConfigError as error:
            problems.extend(str(error).splitlines())

    attempt(lambda: _check_rooms(settings.rooms))
    attempt(lambda: load_certificate(settings))
    attempt(lambda: key_sources.check_file(settings.auth))
    attempt(lambda: static_files.load(settings.listen.pages))
    attempt(lambda: check_console(settings.operations.console))
    attempt(lambda: traces.check(settings.traces.endpoint))
    attempt(lambda: MongoStore(settings.mongo.url, settings.mongo.database).close())
    try:
        await create_matchmaker(settings.redis).aclose()
    except ConfigError as error:
        problems.append(str(error))
    return problems


def _check_rooms(modules: list[str]) -> None:
    room_types = load_room_types(modules)
    if not room_types:
        text = f"must name at least one module with rooms; the ROOMS of {', '.join(modules)} are empty"
        raise ConfigError(f"rooms: {text}")
    load_modes(modules, room_types)
