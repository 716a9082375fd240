"""The budgets of failed logins in MongoDB, for all processes: the collection `login_attempts`.

    _id          "pair:DIGEST:ADDRESS"       what the budget limits
    tokens       4.0                         after the last change
    at                                       the time of the last change, by MongoDB's clock
    expires_at                               when the budget is full again; then a TTL index deletes it

Each change is one update, atomic in MongoDB, and uses the time of MongoDB, which all processes share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from tickwire.server.errors import Locked
from tickwire.server.storage import MongoStore
from tickwire.services.accounts.attempt_budget import Budget

ATTEMPTS_MAX = 5
RETRY_AFTER_MS = 500


class AttemptStore:
    """Charges and refunds budgets.

    Args:
        store: the connection to MongoDB.
    """

    def __init__(self, store: MongoStore) -> None:
        self._attempts = store.database["login_attempts"]
        self._calls = store.calls

    async def charge(self, budgets: Sequence[Budget]) -> int:
        """Take one token of each budget, until one has none left.

        Returns:
            0, or the time until the empty budget has a token, milliseconds.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        for budget in budgets:
            taken = await self._update(budget, -1.0)
            if taken["is_refused"]:
                return budget.wait_ms(taken["tokens"])
        return 0

    async def refund(self, budgets: Sequence[Budget]) -> None:
        """Return one token to each budget.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        for budget in budgets:
            await self._update(budget, 1.0)

    async def delete(self, budget_id: str) -> int:
        """Delete a budget; it is full again.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        result = await self._calls.write(self._attempts.delete_one({"_id": budget_id}))
        return int(result.deleted_count)

    async def _update(self, budget: Budget, change: float) -> dict[str, Any]:
        for _ in range(ATTEMPTS_MAX):
            call = self._attempts.find_one_and_update(
                {"_id": budget.budget_id},
                _stages(budget, change),
                upsert=True,
                return_document=ReturnDocument.AFTER,
            )
            try:
                document: dict[str, Any] = await self._calls.write(call)
            except DuplicateKeyError:  # another process has created it at the same time
                continue
            return document
        raise Locked("other requests use the same budget at the same time, retry", retry_after_ms=RETRY_AFTER_MS)


def _stages(budget: Budget, change: float) -> list[dict[str, Any]]:
    """Return the stages of an update that refills a bucket and then takes or returns a token."""
    elapsed_s = {"$max": [0, {"$divide": [{"$subtract": ["$$NOW", {"$ifNull": ["$at", "$$NOW"]}]}, 1000]}]}
    refilled = {"$add": [{"$ifNull": ["$tokens", budget.burst]}, {"$multiply": [elapsed_s, budget.per_s]}]}
    changed = {"$min": [budget.burst, {"$add": ["$tokens", change]}]}
    missing_ms = {"$multiply": [{"$subtract": [budget.burst, "$tokens"]}, 1000 / budget.per_s]}
    return [
        {"$set": {"tokens": {"$min": [budget.burst, refilled]}, "at": {"$max": ["$$NOW", "$at"]}}},
        {"$set": {"is_refused": {"$lt": [{"$add": ["$tokens", change]}, 0]}}},
        {"$set": {"tokens": {"$cond": ["$is_refused", "$tokens", changed]}}},
        {"$set": {"expires_at": {"$add": ["$$NOW", {"$toLong": missing_ms}]}}},
    ]
