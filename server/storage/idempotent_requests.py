"""Stores answers to requests with an Idempotency-Key, in the collection `idempotent_requests`.

One document a request, one update a call. All times are those of MongoDB's primary (`$$NOW`), because the processes
of a fleet do not share a clock. A document expires by a TTL index, which runs once a minute.

    missing ──begin──> running ──complete──> completed ──expires_at──> missing
                        │  ^
              lease_until  └─begin by another attempt (also after abandon, which ends the lease)

The id of a document is a digest of caller, operation and key, so that none of them can forge another's.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from motor.motor_asyncio import AsyncIOMotorDatabase
from pymongo import IndexModel, ReturnDocument
from pymongo.errors import DuplicateKeyError

from tickwire.server.errors import IdempotencyKeyReused, Internal, RequestInProgress
from tickwire.server.idempotent_request import IdempotentRequest, Lease, StoredAnswer
from tickwire.server.storage.collection_setup import set_up_collection
from tickwire.server.storage.mongo_calls import MongoCalls

LEASE_S = 15.0
"""The time that an attempt has: longer than an operation runs (server/http/idempotency.py). After a crash a retry is
refused for the rest of it."""
STORED_S = 24 * 3600.0
"""Answers are stored for this time after the first attempt; the client must retry within it."""

COLLECTION = "idempotent_requests"
INDEXES = [IndexModel("expires_at", expireAfterSeconds=0), IndexModel("caller")]
_TEXT = {"bsonType": "string"}
VALIDATOR: dict[str, Any] = {
    "bsonType": "object",
    "required": ["caller", "operation", "key", "digest", "token", "attempt", "lease_until", "expires_at"],
    "properties": {
        "caller": _TEXT,
        "operation": _TEXT,
        "key": _TEXT,
        "digest": {"bsonType": "binData"},
        "token": _TEXT,
        "attempt": {"bsonType": ["int", "long"], "minimum": 1},
        "lease_until": {"bsonType": "date"},
        "expires_at": {"bsonType": "date"},
        "answer": {"bsonType": "object", "required": ["status", "headers", "body"]},
    },
}


class StoredRequests:
    """Implements `IdempotentRequestStore`.

    Args:
        database: a Motor database.
        calls: makes the calls, each with a deadline.
        lease_s: the time that an attempt has, seconds.
        stored_s: the time for which answers are stored, seconds.
    """

    def __init__(
        self,
        database: AsyncIOMotorDatabase[dict[str, Any]],
        calls: MongoCalls,
        *,
        lease_s: float = LEASE_S,
        stored_s: float = STORED_S,
    ) -> None:
        self._requests = database[COLLECTION]
        self._calls = calls
        self._lease_ms = int(lease_s * 1000)
        self._stored_ms = int(stored_s * 1000)

    async def begin(self, request: IdempotentRequest) -> Lease | StoredAnswer:
        """See `IdempotentRequestStore.begin`."""
        request_id = _request_id(request)
        token = secrets.token_hex(12)
        found = await self._acquire(request_id, request, token)
        if found["token"] == token:
            return Lease(request_id, token, found["attempt"])
        if bytes(found["digest"]) != request.digest:
            raise IdempotencyKeyReused("the Idempotency-Key belongs to another request; use a new key for this one")
        if answer := found.get("answer"):
            return _answer_from_document(answer)
        left_ms = int((found["lease_until"] - found["seen_at"]).total_seconds() * 1000)
        message = "a request with this Idempotency-Key runs at present; retry for its answer"
        raise RequestInProgress(message, retry_after_ms=max(1, left_ms))

    async def complete(self, lease: Lease, answer: StoredAnswer) -> StoredAnswer:
        """See `IdempotentRequestStore.complete`."""
        document = {"status": answer.status, "headers": [list(pair) for pair in answer.headers], "body": answer.body}
        found = await self._calls.write(
            self._requests.find_one_and_update(
                {"_id": lease.request_id},
                [{"$set": {"answer": {"$ifNull": ["$answer", {"$literal": document}]}}}],
                return_document=ReturnDocument.AFTER,
            )
        )
        return answer if found is None else _answer_from_document(found["answer"])  # None: it has expired

    async def abandon(self, lease: Lease) -> None:
        """See `IdempotentRequestStore.abandon`."""
        filters = {"_id": lease.request_id, "token": lease.token}
        await self._calls.write(self._requests.update_one(filters, [{"$set": {"lease_until": "$$NOW"}}]))

    async def list_of(self, caller: str) -> list[dict[str, Any]]:
        """Return the requests of a caller for an export of their data: operation, key and answer.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        fields = {"_id": False, "operation": True, "key": True, "answer": True, "expires_at": True}
        return await self._calls.read(self._requests.find({"caller": caller}, fields).to_list(None))

    async def delete_of(self, caller: str) -> int:
        """Delete the requests of a caller; return how many there were. Idempotent.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        return int((await self._calls.write(self._requests.delete_many({"caller": caller}))).deleted_count)

    async def _acquire(self, request_id: str, request: IdempotentRequest, token: str) -> dict[str, Any]:
        """Create the request, or take over a lease that has ended, or change nothing; return the document."""
        for _ in range(3):
            try:
                found = await self._calls.write(
                    self._requests.find_one_and_update(
                        {"_id": request_id},
                        self._acquisition(request, token),
                        upsert=True,
                        return_document=ReturnDocument.AFTER,
                    )
                )
            except DuplicateKeyError:  # another process has created it just now; the next update finds it
                continue
            if found is not None:
                return dict(found)
        raise Internal(f"the request {request_id} can neither be created nor found")

    def _acquisition(self, request: IdempotentRequest, token: str) -> list[dict[str, Any]]:
        """Return the stages of an update. Texts of the client are literals: one may begin with a dollar sign."""
        is_new = {"$eq": [{"$type": "$token"}, "missing"]}
        is_free = {
            "$and": [
                {"$eq": [{"$type": "$answer"}, "missing"]},
                {"$lte": ["$lease_until", "$$NOW"]},
                {"$eq": ["$digest", {"$literal": request.digest}]},
            ]
        }
        created = {
            "caller": {"$literal": request.caller},
            "operation": {"$literal": request.operation},
            "key": {"$literal": request.key},
            "digest": {"$literal": request.digest},
            "expires_at": {"$add": ["$$NOW", self._stored_ms]},
        }
        leased = {
            "token": token,
            "attempt": {"$add": [{"$ifNull": ["$attempt", 0]}, 1]},
            "lease_until": {"$add": ["$$NOW", self._lease_ms]},
        }
        # The conditions read the document as it was before each stage, so they are computed once, at first.
        return [
            {"$set": {"is_new": is_new, "is_free": is_free, "seen_at": "$$NOW"}},
            {"$set": {name: {"$cond": ["$is_new", value, f"${name}"]} for name, value in created.items()}},
            {
                "$set": {
                    name: {"$cond": [{"$or": ["$is_new", "$is_free"]}, value, f"${name}"]}
                    for name, value in leased.items()
                }
            },
            {"$unset": ["is_new", "is_free"]},
        ]


async def create_idempotent_requests(database: AsyncIOMotorDatabase[dict[str, Any]]) -> None:
    """Create the collection with its validator and its indexes. Safe to repeat."""
    await set_up_collection(database, COLLECTION, {"$jsonSchema": VALIDATOR}, INDEXES)


def _request_id(request: IdempotentRequest) -> str:
    digest = hashlib.blake2b(digest_size=24)
    for text in (request.caller, request.operation, request.key):
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(4, "big") + data)
    return digest.hexdigest()


def _answer_from_document(document: dict[str, Any]) -> StoredAnswer:
    headers = tuple((str(name), str(value)) for name, value in document["headers"])
    return StoredAnswer(int(document["status"]), headers, bytes(document["body"]))
