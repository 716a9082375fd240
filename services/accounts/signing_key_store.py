"""Stores signing keys in MongoDB: the collection `signing_keys`.

Guarantees: of two keys with one id, the one that was added first stays. A key that was added is in the answer of
every later read until it expires.
"""

from __future__ import annotations

import datetime
from contextlib import suppress
from typing import Any

from pymongo.errors import DuplicateKeyError

from tickwire.server.storage import Database, MongoCalls
from tickwire.services.accounts.signing_keys import SigningKey

KEYS_MAX = 256
"""The most keys that are read. There are three a rotation period, while a secret is replaced."""


class SigningKeyStore:
    """Reads and adds signing keys.

    Args:
        database: a Motor database.
        calls: makes the calls, each with a deadline.
    """

    def __init__(self, database: Database, calls: MongoCalls) -> None:
        self._keys = database["signing_keys"]
        self._calls = calls

    async def add(self, key: SigningKey) -> None:
        """Add a key, unless there is one with its id.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        document = {
            "_id": key.key_id,
            "period": key.period,
            "secret_id": key.secret_id,
            "public": key.public,
            "sealed": key.sealed,
            "use_from": key.use_from,
            "use_until": key.use_until,
            "expires_at": key.expires_at,
        }
        with suppress(DuplicateKeyError):  # another process has made it just now, and that one is used
            await self._calls.write(self._keys.insert_one(document))

    async def list_valid(self, now: datetime.datetime) -> list[SigningKey]:
        """Return the keys that have not expired.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        cursor = self._keys.find({"expires_at": {"$gt": now}}).sort("use_until", 1).limit(KEYS_MAX)
        return [_from_document(document) for document in await self._calls.read(cursor.to_list(KEYS_MAX))]


def _from_document(document: dict[str, Any]) -> SigningKey:
    return SigningKey(
        key_id=document["_id"],
        period=document["period"],
        secret_id=document["secret_id"],
        public=bytes(document["public"]),
        sealed=bytes(document["sealed"]),
        use_from=document["use_from"],
        use_until=document["use_until"],
        expires_at=document["expires_at"],
    )
