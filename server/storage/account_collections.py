"""The validators and indexes of the collections of accounts: a step of the schema's migration.

Their documents: services/accounts/account.py and services/accounts/attempt_store.py.
"""

from __future__ import annotations

from typing import Any

from motor.motor_asyncio import AsyncIOMotorDatabase
from pymongo import IndexModel

from tickwire.server.storage.collection_setup import set_up_collection

IDENTITIES_MAX = 40
_TEXT = {"bsonType": "string", "minLength": 1, "maxLength": 400}
_TEXTS = {"bsonType": "array", "maxItems": 100, "items": _TEXT}
_DATE = {"bsonType": "date"}
_BINARY = {"bsonType": "binData"}
_IDENTITY = {
    "bsonType": "object",
    "required": ["key", "provider", "subject", "linked_at"],
    "properties": {
        "key": _TEXT,
        "provider": _TEXT,
        "subject": _TEXT,
        "linked_at": _DATE,
        "secret": _BINARY,
        "password": _TEXT,
    },
}
VALIDATORS: dict[str, dict[str, Any]] = {
    "accounts": {
        "bsonType": "object",
        "required": ["version", "created_at", "identities", "absorbing", "merged_from"],
        "properties": {
            "version": {"bsonType": ["int", "long"], "minimum": 1},
            "created_at": _DATE,
            "identities": {"bsonType": "array", "maxItems": IDENTITIES_MAX, "items": _IDENTITY},
            "absorbing": _TEXTS,
            "merged_from": _TEXTS,
            "merging_into": _TEXT,
            "merged_into": _TEXT,
            "merge_proof": _BINARY,
            "deleting_since": _DATE,
            "pending_since": _DATE,
        },
    },
    "login_attempts": {
        "bsonType": "object",
        "required": ["tokens", "at", "expires_at"],
        "properties": {"tokens": {"bsonType": "number"}, "at": _DATE, "expires_at": _DATE},
    },
}
_HAS_IDENTITY = {"identities.key": {"$exists": True}}
INDEXES: dict[str, list[IndexModel]] = {
    "accounts": [
        # Partial, because all accounts without identities would have the same entry.
        IndexModel("identities.key", unique=True, partialFilterExpression=_HAS_IDENTITY),
        IndexModel("pending_since", partialFilterExpression={"pending_since": {"$exists": True}}),
        IndexModel("merged_into", sparse=True),
    ],
    "login_attempts": [IndexModel("expires_at", expireAfterSeconds=0)],
}


async def create_account_collections(database: AsyncIOMotorDatabase[dict[str, Any]]) -> None:
    """Create the collections of accounts, or update their validators."""
    for name, schema in VALIDATORS.items():
        await set_up_collection(database, name, {"$jsonSchema": schema}, INDEXES[name])
