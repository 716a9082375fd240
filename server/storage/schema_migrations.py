"""How the database came to look as it does: steps, each made once, in order, by `tickwire migrate-db`.

What the steps do is safe to repeat, and leaves alone what a build of one step before needs: shards of both run while
a deploy rolls. `schema` holds how far they have come. Why which index is there: docs/storage.md.
"""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import structlog
from motor.motor_asyncio import AsyncIOMotorDatabase
from pymongo import IndexModel
from pymongo.errors import CollectionInvalid

from tickwire.server.storage.mongo_calls import MongoCalls

log = structlog.get_logger(__name__)

Database = AsyncIOMotorDatabase[dict[str, Any]]
Step = Callable[[Database], Awaitable[None]]
WHOLE = {"bsonType": ["int", "long"]}
COUNT = WHOLE | {"minimum": 0}
TEXT = {"bsonType": "string"}
FENCE_DAYS = 30
"""A fence that nobody has touched for so long keeps nobody out: no shard sleeps through it."""
BAN_KEPT_DAYS = 1
"""A ban that is over is kept for a while: shards learn of it by asking for what has changed."""
_STEP_S_MAX = 60.0


def _object(required: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"bsonType": "object", "required": list(required), "properties": {**required, **more}}


_VALIDATORS: dict[str, dict[str, Any]] = {
    "worlds": _object(
        {"epoch": COUNT, "room_type": TEXT, "name": TEXT},
        tick=COUNT,
        tables={"bsonType": "object"},
        sessions={"bsonType": "object"},
    ),
    "world_parts": _object({"world": TEXT, "epoch": COUNT, "at": COUNT, "data": {"bsonType": "binData"}}),
    "fences": _object({"epoch": COUNT, "touched_at": {"bsonType": "date"}}),
    "players": _object(
        {"version": COUNT, "holdings": {"bsonType": "object", "additionalProperties": COUNT}},
        profile={"bsonType": "object"},
    ),
    "ledger": _object(
        {
            "at": {"bsonType": "date"},
            "player_id": TEXT,
            "session_id": TEXT,
            "reply": {"bsonType": "binData"},
            "entries": {
                "bsonType": "array",
                "items": _object({"player_id": TEXT, "item": TEXT, "amount": WHOLE}),
            },
        },
        refused=TEXT,
        expires_at={"bsonType": "date"},
    ),
}
_INDEXES: dict[str, list[IndexModel]] = {
    "worlds": [IndexModel("room_id")],
    "world_parts": [IndexModel([("world", 1), ("epoch", 1)])],
    "fences": [IndexModel("touched_at", expireAfterSeconds=FENCE_DAYS * 24 * 3600)],
    "ledger": [
        IndexModel([("session_id", 1), ("at", -1)]),
        IndexModel([("entries.player_id", 1), ("at", 1)]),
        IndexModel("player_id"),
        IndexModel("expires_at", expireAfterSeconds=0),
    ],
}


async def _collections(database: Database) -> None:
    there = set(await database.list_collection_names())
    for name, schema in _VALIDATORS.items():
        if name not in there:
            with suppress(CollectionInvalid):  # another shard has just made it
                await database.create_collection(name)
        await database.command("collMod", name, validator={"$jsonSchema": schema})
    for name, indexes in _INDEXES.items():
        await database[name].create_indexes(indexes)


async def _orders(database: Database) -> None:
    """What operators order: bans, gone a while after they are over, and tunings, which stay."""
    await database["bans"].create_indexes(
        [IndexModel("until", expireAfterSeconds=BAN_KEPT_DAYS * 24 * 3600), IndexModel("changed_at")]
    )


STEPS: tuple[Step, ...] = (_collections, _orders)
VERSION = len(STEPS)


async def version_of(database: Database, calls: MongoCalls) -> int:
    """How many steps have been made.

    Raises:
        Unavailable: MongoDB does not answer.
    """
    document = await calls.read(database["schema"].find_one({"_id": "tickwire"}))
    return int((document or {}).get("version", 0))


async def migrate(database: Database, calls: MongoCalls) -> list[int]:
    """Makes the steps that are missing, and says which.

    Raises:
        Unavailable: MongoDB does not answer; what was made stays, and the rest may be made later.
        NotSavable: what is stored stands in a step's way.
    """
    patient = MongoCalls(max(calls.call_s_max, _STEP_S_MAX))
    made = []
    for number in range(await version_of(database, calls) + 1, VERSION + 1):
        log.info("migrates", step=number)
        await patient.write(STEPS[number - 1](database))
        now = datetime.datetime.now(datetime.UTC)
        done = {"$max": {"version": number}, "$set": {"at": now}}
        await calls.write(database["schema"].update_one({"_id": "tickwire"}, done, upsert=True))
        made.append(number)
    return made
