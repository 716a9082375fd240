"""Tickwire, a real-time game session server: the API for games.

A game imports from here: rooms and tables, the fields of tables, commands and transactions. `tickwire.client` has the
Python client, `tickwire.matchmaking` the modes and rules of queues, `tickwire.examples` games to start from. All
other modules are internal and may change in any release.

Names are imported when they are first used, so that `tickwire.client` does not import the server.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tickwire.server import __version__

if TYPE_CHECKING:
    from tickwire.server.rooms import (
        EVERYONE,
        NOBODY,
        CommandRefused,
        Grid,
        InputBatch,
        ItemChange,
        Player,
        Room,
        Row,
        SaveData,
        SchemaChanges,
        Table,
        TableFull,
        Transaction,
        Tuning,
        angle,
        blob,
        boolean,
        entity,
        enumeration,
        grant,
        local,
        real,
        sint,
        spend,
        text,
        trade,
        transfer,
        uint,
    )

__all__ = [
    "EVERYONE",
    "NOBODY",
    "CommandRefused",
    "Grid",
    "InputBatch",
    "ItemChange",
    "Player",
    "Room",
    "Row",
    "SaveData",
    "SchemaChanges",
    "Table",
    "TableFull",
    "Transaction",
    "Tuning",
    "__version__",
    "angle",
    "blob",
    "boolean",
    "entity",
    "enumeration",
    "grant",
    "local",
    "real",
    "sint",
    "spend",
    "text",
    "trade",
    "transfer",
    "uint",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module("tickwire.server.rooms"), name)
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
