"""Revoked access tokens of the whole fleet: the collection `revocations`, which shards poll as they poll bans.

    _id            "player:ID": all tokens of a player that were issued before a time
                   "family:ID": all tokens of one refresh family, which has ended
    tokens_before  UTC; only ever moves forward
    changed_at     MongoDB's time of the last change; shards poll by it
    expires_at     the revoked tokens have expired by then

Guarantees: a revocation that was acknowledged is in the answer of every later poll.
"""

from __future__ import annotations

import datetime
from typing import Any

import msgspec
from motor.motor_asyncio import AsyncIOMotorDatabase

from tickwire.server.fault_isolation import FaultIsolation
from tickwire.server.storage.mongo_calls import MongoCalls
from tickwire.server.storage.polled_collection import PolledCollection


class Revocation(msgspec.Struct, frozen=True):
    """Access tokens that are not valid any more.

    Args:
        player_id: the player.
        family_id: the refresh family of the tokens; empty for all tokens of the player that were issued before
            `tokens_before`.
        tokens_before: UTC.
        expires_at: UTC; the tokens have expired by themselves then.
    """

    player_id: str
    family_id: str
    tokens_before: datetime.datetime
    expires_at: datetime.datetime

    @property
    def document_id(self) -> str:
        """The id of its document."""
        return f"family:{self.family_id}" if self.family_id else f"player:{self.player_id}"

    def covers(self, family_id: str, issued_at_s: float) -> bool:
        """Return whether a token of the player is revoked.

        Args:
            family_id: the family of the token.
            issued_at_s: its time of issue: UTC, seconds since 1970. Compared in milliseconds, which tokens have.
        """
        if self.family_id:
            return family_id == self.family_id
        return round(issued_at_s * 1000) < round(self.tokens_before.timestamp() * 1000)


class RevocationStore:
    """Reads and writes the collection `revocations`.

    Args:
        database: a Motor database.
        calls: makes the calls, each with a deadline.
        isolation: guards the reading of each document, so that an invalid one does not hide the others.
    """

    def __init__(
        self, database: AsyncIOMotorDatabase[dict[str, Any]], calls: MongoCalls, isolation: FaultIsolation
    ) -> None:
        self._revocations = database["revocations"]
        self._calls = calls
        self._polled = PolledCollection(self._revocations, calls, isolation, _from_document)

    async def save(self, revocation: Revocation) -> None:
        """Revoke tokens. Idempotent; an earlier time changes nothing.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        change = {
            "$set": {"player_id": revocation.player_id, "family_id": revocation.family_id},
            "$max": {"tokens_before": revocation.tokens_before, "expires_at": revocation.expires_at},
            "$currentDate": {"changed_at": True},
        }
        await self._calls.write(self._revocations.update_one({"_id": revocation.document_id}, change, upsert=True))

    async def find(self, player_id: str, family_id: str = "") -> list[Revocation]:
        """Return the revocations that concern tokens of a player, and of one family.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        ids = [f"player:{player_id}", *([f"family:{family_id}"] if family_id else [])]
        documents = await self._calls.read(self._revocations.find({"_id": {"$in": ids}}).to_list(2))
        return self._polled.decode_all(documents)

    async def list_changed(
        self, since: datetime.datetime | None
    ) -> tuple[list[Revocation], datetime.datetime | None]:
        """Return the revocations that have changed, and the value of `since` for the next call.

        Args:
            since: the second value that the last call returned; None on the first call, which returns all.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        return await self._polled.list_changed(since, first={})


def _from_document(document: dict[str, Any]) -> Revocation:
    return Revocation(
        document["player_id"],
        document.get("family_id", ""),
        document["tokens_before"],
        document["expires_at"],
    )
