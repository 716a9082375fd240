"""Commands on what is stored: migrate, export, import, forget. Each connects, does one thing, and says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import TextIO, TypeVar

from tickwire.schemas.terminal_text import escape_controls
from tickwire.server.config import MongoSettings
from tickwire.server.storage import MongoStore, export_import, migrate

T = TypeVar("T")


def with_store(mongo: MongoSettings, work: Callable[[MongoStore], Awaitable[T]]) -> T:
    """Runs something on the store of some settings.

    Raises:
        ConfigError: MongoDB is not set up as it must be.
        TickwireError: what `work` raises.
    """

    async def run() -> T:
        store = MongoStore(mongo.url, mongo.database, call_s_max=mongo.deadline_s)
        try:
            await store.check_setup()
            return await work(store)
        finally:
            store.close()

    return asyncio.run(run())


async def make_steps(store: MongoStore) -> list[int]:
    """Brings the database to what this build wants."""
    return await migrate(store.database, store.calls)


def export_of(kind: str, key: str) -> Callable[[MongoStore], AsyncIterator[str]]:
    """The lines of a world, by TYPE/NAME, or of a player, by id.

    Raises:
        ValueError: it is neither.
    """
    if kind == "player":
        return lambda store: export_import.export_player(store, key)
    room_type, slash, name = key.partition("/")
    if kind != "world" or not slash:
        raise ValueError("what to export is: world TYPE/NAME, or: player ID")
    return lambda store: export_import.export_world(store, room_type, name)


def export_to(
    target: TextIO, lines_of: Callable[[MongoStore], AsyncIterator[str]]
) -> Callable[[MongoStore], Awaitable[int]]:
    """Writes lines of JSON to a file, which may be a terminal; gives how many."""

    async def write(store: MongoStore) -> int:
        count = 0
        async with aclosing(lines_of(store)) as lines:  # type: ignore[type-var]
            async for line in lines:
                target.write(escape_controls(line) + "\n")
                count += 1
        return count

    return write
