"""The ledger: an append-only record of all transactions. The holdings of players are the sums of its entries.

A commit is one MongoDB transaction, acknowledged by a majority: the ledger entry, the fence of the room, the players.
The first of two requests with the same key decides; the second receives the result of the first. If another command
uses a key for different changes, or for another player's profile, its request is refused (KeyReused).

Guarantees: a commit is atomic; no amount falls below 0; no commit succeeds under an epoch older than the fence's; the
records that a decision was based on are the newest at the commit, and are locked until it ends; a call that failed
may have been committed, and is safe to repeat.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorDatabase
from pymongo import ReturnDocument, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from tickwire.limits import AMOUNT_MAX, REPLIES_MAX
from tickwire.server.errors import Unavailable
from tickwire.server.storage.ledger_documents import (
    Document,
    LedgerReply,
    TransactionRequest,
    TransactionResult,
    create_entry,
    entries_from_changes,
)
from tickwire.server.storage.ledger_rules import (
    check_version,
    create_refusal,
    create_stale_epoch,
    find_refusal,
    list_changes,
    list_read_only,
    result_from_entry,
)
from tickwire.server.storage.mongo_calls import RETRY_AFTER_MS, MongoCalls
from tickwire.server.storage.mongo_transactions import MongoTransactions
from tickwire.server.storage.player_record import PlayerRecord, record_from_document
from tickwire.server.storage.stale_transactions import StaleTransactionKiller

_DUPLICATE_KEY = 11000


class _Retry(Exception):
    """The cause of the conflict is gone, so the transaction can be retried."""


class _Refused(Exception):
    """The transaction is impossible; the argument is the reason, for the player."""


class Ledger:
    """Commits transactions: writes the collection `ledger` and the changed records in `players`.

    Args:
        client: a Motor client, which runs the MongoDB transactions.
        database: a Motor database.
        calls: makes the calls, each with a deadline.
        stale_transactions: ends transactions of killed shards that hold locks.

    Attributes:
        transactions: runs the MongoDB transactions.
    """

    def __init__(
        self,
        client: AsyncIOMotorClient[Document],
        database: AsyncIOMotorDatabase[Document],
        calls: MongoCalls,
        stale_transactions: StaleTransactionKiller,
    ) -> None:
        self.transactions = MongoTransactions(client, calls, stale_transactions)
        self._ledger = database["ledger"]
        self._players = database["players"]
        self._fences = database["fences"]
        self._calls = calls

    async def commit(self, request: TransactionRequest) -> TransactionResult:
        """Commit a transaction, or return the outcome that an earlier call with the same key decided.

        Raises:
            StaleEpoch: a newer owner has the room; nothing was committed.
            VersionConflict: a record that the decision was based on has changed; nothing was committed, and a request
                with these versions never will be.
            KeyReused: another transaction has this key; nothing was committed.
            NotSavable: MongoDB cannot hold the request; nothing was committed.
            Unavailable: MongoDB does not answer; the outcome is unknown, and the call is safe to repeat.
        """
        while True:
            try:
                players = await self.transactions.run(partial(self._steps, request))
                return TransactionResult(True, request.reply, "", players)
            except _Retry:
                continue  # another transaction has changed the player, so the system as a whole makes progress
            except DuplicateKeyError:
                return await self._find_result(request)
            except _Refused as refused:
                return await self._refuse(request, str(refused))

    async def _refuse(self, request: TransactionRequest, reason: str) -> TransactionResult:
        """Write the refusal to the ledger, so that it is final before the reply reaches the player."""
        refusal = create_refusal(request, reason, datetime.datetime.now(datetime.UTC))
        try:
            await self._calls.write(self._ledger.insert_one(refusal))
        except DuplicateKeyError:
            return await self._find_result(request)
        return TransactionResult(True, b"", reason)

    async def _find_result(self, request: TransactionRequest) -> TransactionResult:
        document = await self._calls.read(self._ledger.find_one({"_id": request.key}))
        if document is None:  # a refusal that expired between the two calls
            raise Unavailable(
                "the earlier result of this command is being deleted, retry", retry_after_ms=RETRY_AFTER_MS
            )
        return result_from_entry(document, request)

    async def _steps(self, request: TransactionRequest, session: Any) -> dict[str, PlayerRecord]:
        now = datetime.datetime.now(datetime.UTC)
        await self._ledger.insert_one(
            create_entry(request, now, entries_from_changes(request.changes)), session=session
        )
        await self._lock(request, list_read_only(request), now, session)
        players = {
            player_id: await self._change(request, player_id, items, now, session)
            for player_id, items in list_changes(request).items()
        }
        await self._touch_fence(request, now, session)  # last, to keep the fence locked for the shortest time
        return players

    async def _touch_fence(self, request: TransactionRequest, now: datetime.datetime, session: Any) -> None:
        """Write the room's fence, so that this transaction and the claim of a newer owner exclude each other."""
        try:
            await self._fences.update_one(
                {"_id": request.fence, "epoch": {"$lte": request.epoch}},
                {"$set": {"epoch": request.epoch, "touched_at": now}},
                upsert=True,
                session=session,
            )
        except DuplicateKeyError as error:
            raise create_stale_epoch(request) from error

    async def _lock(
        self, request: TransactionRequest, player_ids: list[str], now: datetime.datetime, session: Any
    ) -> None:
        """Lock records that were read and are not changed: a write to them conflicts with other transactions."""
        if not player_ids:
            return
        lock: Document = {"$set": {"read_at": now}, "$setOnInsert": {"holdings": {}, "created_at": now}}
        versions = [(player_id, request.versions[player_id]) for player_id in player_ids]
        locks = [UpdateOne({"_id": id, "version": version}, lock, upsert=not version) for id, version in versions]
        try:
            done = await self._players.bulk_write(locks, session=session)
            if done.matched_count + done.upserted_count == len(locks):
                return
        except BulkWriteError as error:
            if any(one["code"] != _DUPLICATE_KEY for one in error.details["writeErrors"]):
                raise
        for player_id in player_ids:
            check_version(request, await self._read_newest(player_id))
        raise _Retry

    async def _change(
        self,
        request: TransactionRequest,
        player_id: str,
        items: Mapping[str, int],
        now: datetime.datetime,
        session: Any,
    ) -> PlayerRecord:
        spent = {item: -amount for item, amount in items.items() if amount < 0}
        filters: Document = {"_id": player_id}
        filters |= {f"holdings.{item}": {"$gte": amount} for item, amount in spent.items()}
        # The record has no field for an item that the player does not hold; $not matches that, too.
        filters |= {f"holdings.{i}": {"$not": {"$gt": AMOUNT_MAX - n}} for i, n in items.items() if n > 0}
        change: Document = {"$inc": {"version": 1} | {f"holdings.{item}": n for item, n in items.items()}}
        change["$set"] = {"updated_at": now}
        change["$setOnInsert"] = {"created_at": now}
        is_new = not spent
        if player_id in request.versions:
            filters["version"] = request.versions[player_id]
            is_new = is_new and not request.versions[player_id]
        if request.profile is not None and player_id == request.player_id:
            change["$set"]["profile"] = request.profile
        if is_new and not items:
            change["$setOnInsert"]["holdings"] = {}
        try:
            document = await self._players.find_one_and_update(
                filters, change, upsert=is_new, return_document=ReturnDocument.AFTER, session=session
            )
        except DuplicateKeyError:  # the record exists and does not match the filter
            document = None
        if document is None:
            await self._raise_conflict(request, player_id)
            raise _Retry
        return record_from_document(document)

    async def _raise_conflict(self, request: TransactionRequest, player_id: str) -> None:
        """Raise why a player could not be changed, if it still cannot."""
        record = await self._read_newest(player_id)
        check_version(request, record)
        if refused := find_refusal(request, record):
            raise _Refused(refused)

    async def _read_newest(self, player_id: str) -> PlayerRecord:
        """Return the newest record of a player, outside of the transaction's view."""
        document = await self._players.find_one({"_id": player_id})
        return record_from_document(document) if document else PlayerRecord(player_id)

    # -- reading --------------------------------------------------------------------------------------------

    async def list_replies(self, session_ids: Sequence[str]) -> list[LedgerReply]:
        """Return the last replies to some sessions, at most REPLIES_MAX for each, each session's oldest first.

        Call it after raising the fence of their room: then no further replies can be committed.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        if not session_ids:
            return []
        one = {"command_id": "$command_id", "reply": "$reply", "refused": "$refused"}
        newest = self._ledger.aggregate(
            [
                {"$match": {"session_id": {"$in": list(session_ids)}}},
                {"$sort": {"session_id": 1, "at": -1}},
                # Limited per session, so that a busy session does not displace the replies of another.
                {"$group": {"_id": "$session_id", "replies": {"$firstN": {"input": one, "n": REPLIES_MAX}}}},
            ]
        )
        return [
            LedgerReply(session["_id"], int(one["command_id"]), one["reply"], one.get("refused") or "")
            for session in await self._calls.read(newest.to_list(None))
            for one in reversed(session["replies"])
        ]

    async def sums(self, player_id: str) -> dict[str, int]:
        """Return the sums of a player's entries by item, which equal its holdings.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        theirs = {"entries.player_id": player_id}
        cursor = self._ledger.aggregate(
            [
                {"$match": theirs},
                {"$unwind": "$entries"},
                {"$match": theirs},
                {"$group": {"_id": "$entries.item", "sum": {"$sum": "$entries.amount"}}},
            ]
        )
        found = await self._calls.read(cursor.to_list(None))
        return {one["_id"]: int(one["sum"]) for one in found}

    async def close(self) -> None:
        """Wait for transactions in flight; each ends at its own deadline."""
        await self.transactions.close()
