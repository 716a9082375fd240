"""The collections of players' tokens: signing keys, refresh tokens and their families, and revocations.

    signing_keys      _id: the key's id; the public part, and the private part encrypted
    refresh_families  _id: the family's id; the hashes of the newest token and of the one before it
    refresh_tokens    _id: the hash of a token; leads to the family, also from tokens that were used long ago
    revocations       _id: "player:ID" or "family:ID"; shards poll them

All documents expire by TTL indexes. No document holds a token.
"""

from __future__ import annotations

from typing import Any

from motor.motor_asyncio import AsyncIOMotorDatabase
from pymongo import IndexModel

from tickwire.server.storage.collection_setup import set_up_collection

_TEXT = {"bsonType": "string"}
_DATE = {"bsonType": "date"}
_BINARY = {"bsonType": "binData"}
_WHOLE = {"bsonType": ["int", "long"]}


def _validator(**required: dict[str, Any]) -> dict[str, Any]:
    return {"$jsonSchema": {"bsonType": "object", "required": list(required), "properties": required}}


_VALIDATORS = {
    "signing_keys": _validator(
        period=_WHOLE,
        secret_id=_TEXT,
        public=_BINARY,
        sealed=_BINARY,
        use_from=_DATE,
        use_until=_DATE,
        expires_at=_DATE,
    ),
    "refresh_families": _validator(
        player_id=_TEXT,
        provider=_TEXT,
        created_at=_DATE,
        used_at=_DATE,
        expires_at=_DATE,
        current=_BINARY,
        previous=_BINARY,
        secret_id=_TEXT,
    ),
    "refresh_tokens": _validator(family_id=_TEXT, expires_at=_DATE),
    "revocations": _validator(player_id=_TEXT, tokens_before=_DATE, changed_at=_DATE, expires_at=_DATE),
}
_INDEXES = {
    "signing_keys": [IndexModel("expires_at", expireAfterSeconds=0)],
    "refresh_families": [
        IndexModel("expires_at", expireAfterSeconds=0),
        IndexModel([("player_id", 1), ("used_at", -1)]),
    ],
    "refresh_tokens": [IndexModel("expires_at", expireAfterSeconds=0), IndexModel("family_id")],
    "revocations": [
        IndexModel("expires_at", expireAfterSeconds=0),
        IndexModel("changed_at"),
        IndexModel("player_id"),
    ],
}


async def create_token_collections(database: AsyncIOMotorDatabase[dict[str, Any]]) -> None:
    """Create the collections with their validators and indexes. Safe to repeat."""
    for name, validator in _VALIDATORS.items():
        await set_up_collection(database, name, validator, _INDEXES[name])
