"""Migrates the database schema in numbered steps, which `tickwire migrate-db` runs once and in order.

Each step is safe to repeat and compatible with the build before it, because shards of both builds run during a
rolling deploy. The collection `schema` has the number of the last step. Reasons for the indexes: docs/storage.md.
"""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
from motor.motor_asyncio import AsyncIOMotorDatabase
from pymongo import IndexModel

from tickwire.server.storage.account_collections import create_account_collections
from tickwire.server.storage.audit import create_audit_collection
from tickwire.server.storage.collection_setup import set_up_collection
from tickwire.server.storage.idempotent_requests import create_idempotent_requests
from tickwire.server.storage.mongo_calls import MongoCalls
from tickwire.server.storage.token_collections import create_token_collections

log = structlog.get_logger(__name__)

Database = AsyncIOMotorDatabase[dict[str, Any]]
Step = Callable[[Database], Awaitable[None]]
WHOLE = {"bsonType": ["int", "long"]}
COUNT = WHOLE | {"minimum": 0}
TEXT = {"bsonType": "string"}
FENCE_DAYS = 30
"""Fences expire this long after their last write. No shard is paused for that long, so no older owner can return."""
BAN_KEPT_DAYS = 1
"""Ended bans are deleted after this time. Shards must read them before, to learn that a ban was lifted."""
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


async def _create_collections(database: Database) -> None:
    for name, schema in _VALIDATORS.items():
        await set_up_collection(database, name, {"$jsonSchema": schema}, _INDEXES.get(name, ()))


async def _create_ban_indexes(database: Database) -> None:
    """Index bans, which expire after their end. Tunings are found by id and never deleted."""
    await database["bans"].create_indexes(
        [IndexModel("until", expireAfterSeconds=BAN_KEPT_DAYS * 24 * 3600), IndexModel("changed_at")]
    )


STEPS: tuple[Step, ...] = (
    _create_collections,
    _create_ban_indexes,
    create_idempotent_requests,
    create_account_collections,
    create_token_collections,
    create_audit_collection,
)
VERSION = len(STEPS)


async def get_database_version(database: Database, calls: MongoCalls) -> int:
    """Return the schema version of the database: the number of the last step, or 0.

    Raises:
        Unavailable: MongoDB does not answer.
    """
    document = await calls.read(database["schema"].find_one({"_id": "tickwire"}))
    return int((document or {}).get("version", 0))


async def migrate(database: Database, calls: MongoCalls) -> list[int]:
    """Run the missing steps, and return their numbers.

    Raises:
        Unavailable: MongoDB does not answer; completed steps stay, and a later call runs the others.
        NotSavable: stored documents prevent a step.
    """
    patient = MongoCalls(max(calls.call_s_max, _STEP_S_MAX))
    completed = []
    for number in range(await get_database_version(database, calls) + 1, VERSION + 1):
        log.info("schema_migration_started", step=number)
        await patient.write(STEPS[number - 1](database))
        now = datetime.datetime.now(datetime.UTC)
        done = {"$max": {"version": number}, "$set": {"at": now}}
        await calls.write(database["schema"].update_one({"_id": "tickwire"}, done, upsert=True))
        completed.append(number)
    return completed
