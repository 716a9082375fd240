"""The commands on stored data: migrate-db, export, import and delete-player."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, TextIO, TypeVar

from tickwire.schemas.terminal_text import escape_controls
from tickwire.server.config import MongoSettings
from tickwire.server.storage import CallSettings, MongoStore, export_import, migrate
from tickwire.services.accounts.account_parts import create_pending_operations
from tickwire.services.accounts.settings import AccountSettings
from tickwire.services.accounts.token_parts import TokenDatabase, create_token_parts

T = TypeVar("T")


def with_store(mongo: MongoSettings, work: Callable[[MongoStore], Awaitable[T]]) -> T:
    """Connect to MongoDB, check its setup, and run some work on the store.

    Args:
        mongo: the settings.
        work: receives the store.

    Returns:
        The result of `work`.

    Raises:
        ConfigError: the setup of MongoDB does not meet the requirements.
        TickwireError: `work` failed.
    """

    async def run() -> T:
        store = MongoStore(mongo.url, mongo.database, calls=CallSettings(mongo.deadline_s))
        try:
            await store.check_setup()
            return await work(store)
        finally:
            store.close()

    return asyncio.run(run())


async def migrate_schema(store: MongoStore) -> list[int]:
    """Migrate the database to the schema of this build; return the steps that were run."""
    return await migrate(store.database, store.calls)


def export_reader(kind: str, key: str) -> Callable[[MongoStore], AsyncIterator[str]]:
    """Return a function that reads a world or a player from a store as JSON lines.

    Args:
        kind: "world" or "player".
        key: TYPE/NAME of a world, or the id of a player.

    Raises:
        ValueError: the kind is unknown, or the key of a world is not TYPE/NAME.
    """
    if kind == "player":
        return lambda store: export_import.export_player(store, key)
    room_type, slash, name = key.partition("/")
    if kind != "world" or not slash:
        raise ValueError("requires `world TYPE/NAME` or `player ID`")
    return lambda store: export_import.export_world(store, room_type, name)


def write_export(
    target: TextIO, read_lines: Callable[[MongoStore], AsyncIterator[str]]
) -> Callable[[MongoStore], Awaitable[int]]:
    """Return a function that writes an export to a file, which may be a terminal, and returns the number of lines."""

    async def write(store: MongoStore) -> int:
        count = 0
        async with aclosing(read_lines(store)) as lines:  # type: ignore[type-var]
            async for line in lines:
                target.write(escape_controls(line) + "\n")
                count += 1
        return count

    return write


def player_deleter(
    settings: AccountSettings, player_id: str
) -> Callable[[MongoStore], Coroutine[Any, Any, Mapping[str, int]]]:
    """Return a function that deletes a player with its account, and returns the number of deleted items by kind."""

    async def delete(store: MongoStore) -> Mapping[str, int]:
        stored = TokenDatabase(store.database, store.calls, store.revocations)
        tokens = create_token_parts(stored, settings, time.time)
        return await create_pending_operations(store, tokens.service).delete_player(player_id)

    return delete
