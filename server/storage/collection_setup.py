"""Creates a collection with its validator and indexes, for the steps of the schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from motor.motor_asyncio import AsyncIOMotorDatabase
from pymongo import IndexModel
from pymongo.errors import CollectionInvalid, OperationFailure

_NAMESPACE_EXISTS = 48


async def set_up_collection(
    database: AsyncIOMotorDatabase[dict[str, Any]],
    name: str,
    validator: Mapping[str, Any],
    indexes: Sequence[IndexModel] = (),
) -> None:
    """Create a collection unless it exists, replace its validator, and create its indexes.

    Safe to repeat, and in several processes at the same time: all shards of a new deployment may migrate.

    Args:
        database: a Motor database.
        name: the collection.
        validator: the rule for documents, such as {"$jsonSchema": ...}.
        indexes: its indexes.
    """
    try:
        await database.create_collection(name)
    except CollectionInvalid:
        pass  # the driver looks whether it exists, before it sends the command
    except OperationFailure as error:  # another process has created it since the driver has looked
        if error.code != _NAMESPACE_EXISTS:
            raise
    await database.command("collMod", name, validator=validator)
    if indexes:
        await database[name].create_indexes(list(indexes))
