"""Stores refresh tokens and their families: the collections `refresh_families` and `refresh_tokens`.

A rotation is one update of the family, which is the only place that says which token is current: a process that ends
before it has changed nothing, and one that ends after it has changed everything. The hash of each token is stored
before its family names it, so that every token that a client can have leads to its family, also long after its use.

All times are those of MongoDB's primary (`$$NOW`), because the processes of a fleet do not share a clock.
"""

from __future__ import annotations

from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from tickwire.server.storage import Database, MongoCalls
from tickwire.services.accounts.refresh_tokens import EndReason, RefreshFamily

FAMILIES_READ_MAX = 1000
_SEEN: dict[str, Any] = {"$set": {"seen_at": "$$NOW"}}
KEPT_MS = 24 * 3600 * 1000
"""A token's hash is stored for this time after the token has expired, so that no hash expires before its family. An
ended family is stored for this time: its access tokens have expired by then, whether they could be revoked or not."""


class RefreshFamilyStore:
    """Reads and writes families.

    Args:
        database: a Motor database.
        calls: makes the calls, each with a deadline.
        token_s: how long a token is valid after its issue, seconds.
    """

    def __init__(self, database: Database, calls: MongoCalls, token_s: float) -> None:
        self._families = database["refresh_families"]
        self._tokens = database["refresh_tokens"]
        self._calls = calls
        self._token_ms = int(token_s * 1000)

    async def add_token(self, token_hash: bytes, family_id: str) -> None:
        """Store the hash of a token, before its family names it. Idempotent.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        stored = {"family_id": {"$literal": family_id}, "expires_at": {"$add": ["$$NOW", self._token_ms + KEPT_MS]}}
        for _ in range(2):
            try:
                await self._calls.write(self._tokens.update_one({"_id": token_hash}, [{"$set": stored}], upsert=True))
            except DuplicateKeyError:  # another process has just stored it; the next update finds it
                continue
            return

    async def create(self, family_id: str, player_id: str, provider: str, token_hash: bytes) -> RefreshFamily:
        """Create a family; its first token was added.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        created = {
            "player_id": {"$literal": player_id},
            "provider": {"$literal": provider},
            "created_at": "$$NOW",
            "used_at": "$$NOW",
            "expires_at": {"$add": ["$$NOW", self._token_ms]},
            "current": {"$literal": token_hash},
            "previous": {"$literal": b""},
            "secret_id": "",
        }
        document = await self._calls.write(
            self._families.find_one_and_update(
                {"_id": family_id}, [{"$set": created}, _SEEN], upsert=True, return_document=ReturnDocument.AFTER
            )
        )
        return _from_document(document)

    async def find_by_token(self, token_hash: bytes) -> RefreshFamily | None:
        """Return the family that a token belongs to, whether it is current or was used; None if it is unknown.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        found = await self._calls.read(self._tokens.find_one({"_id": token_hash}))
        return await self.find(found["family_id"]) if found is not None else None

    async def find(self, family_id: str) -> RefreshFamily | None:
        """Return a family, or None.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        documents = await self._calls.read(
            self._families.aggregate([{"$match": {"_id": family_id}}, _SEEN]).to_list(1)
        )
        return _from_document(documents[0]) if documents else None

    async def rotate(self, family: RefreshFamily, successor: bytes, secret_id: str) -> RefreshFamily | None:
        """Make the successor the current token, if the current one is still that of `family`.

        Args:
            family: as it was read.
            successor: the hash of the successor, which was added.
            secret_id: the secret that it was derived with.

        Returns:
            The changed family; None if another call has changed it.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        rotated = {
            "previous": "$current",
            "current": {"$literal": successor},
            "secret_id": {"$literal": secret_id},
            "used_at": "$$NOW",
            "expires_at": {"$add": ["$$NOW", self._token_ms]},
        }
        document = await self._calls.write(
            self._families.find_one_and_update(
                {"_id": family.family_id, "current": family.current, "ended_at": {"$exists": False}},
                [{"$set": rotated}, _SEEN],
                return_document=ReturnDocument.AFTER,
            )
        )
        return _from_document(document) if document is not None else None

    async def end(self, family_id: str, reason: EndReason) -> RefreshFamily | None:
        """End a family; return it, or None if it does not exist. Idempotent: the first reason stays.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        ended = {
            "ended_at": {"$ifNull": ["$ended_at", "$$NOW"]},
            "end_reason": {"$ifNull": ["$end_reason", str(reason)]},
            "expires_at": {"$min": ["$expires_at", {"$add": ["$$NOW", KEPT_MS]}]},
        }
        document = await self._calls.write(
            self._families.find_one_and_update(
                {"_id": family_id}, [{"$set": ended}, _SEEN], return_document=ReturnDocument.AFTER
            )
        )
        return _from_document(document) if document is not None else None

    async def mark_revoked(self, family_id: str) -> None:
        """Note that the access tokens of an ended family were revoked. Idempotent.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        await self._calls.write(self._families.update_one({"_id": family_id}, {"$set": {"is_revoked": True}}))

    async def list_of(self, player_id: str) -> list[RefreshFamily]:
        """Return the families of a player that have not ended, the last used first.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        return await self._list({"player_id": player_id, "ended_at": {"$exists": False}})

    async def list_unrevoked(self, player_id: str) -> list[RefreshFamily]:
        """Return the families of a player whose access tokens were not revoked, whether they have ended or not.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        return await self._list({"player_id": player_id, "is_revoked": {"$ne": True}})

    async def _list(self, filters: dict[str, Any]) -> list[RefreshFamily]:
        stages: list[dict[str, Any]] = [
            {"$match": filters},
            {"$sort": {"used_at": -1}},
            {"$limit": FAMILIES_READ_MAX},
            _SEEN,
        ]
        documents = await self._calls.read(self._families.aggregate(stages).to_list(FAMILIES_READ_MAX))
        return [_from_document(document) for document in documents]

    async def delete_of(self, player_id: str) -> int:
        """Delete all families of a player and the hashes of their tokens; return the number of families. Idempotent.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        count = 0
        while True:
            filters = {"player_id": player_id}
            documents = await self._calls.read(
                self._families.find(filters, {"_id": True}).limit(FAMILIES_READ_MAX).to_list(FAMILIES_READ_MAX)
            )
            if not documents:
                return count
            ids = [document["_id"] for document in documents]
            await self._calls.write(self._tokens.delete_many({"family_id": {"$in": ids}}))
            count += int((await self._calls.write(self._families.delete_many({"_id": {"$in": ids}}))).deleted_count)


def _from_document(document: dict[str, Any]) -> RefreshFamily:
    return RefreshFamily(
        family_id=document["_id"],
        player_id=document["player_id"],
        provider=document["provider"],
        created_at=document["created_at"],
        used_at=document["used_at"],
        expires_at=document["expires_at"],
        current=bytes(document["current"]),
        previous=bytes(document["previous"]),
        secret_id=document["secret_id"],
        ended_at=document.get("ended_at"),
        end_reason=document.get("end_reason", ""),
        is_revoked=document.get("is_revoked", False),
        seen_at=document["seen_at"],
    )
