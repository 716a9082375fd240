"""The ledger: every change of what players own, once, for good. The sums of its entries are what players hold.

    _id          "SESSION/7"                  the idempotency key
    at           when it was written
    player_id, session_id, command_id         who asked
    fence, epoch                              in which room, under which owner
    entries      [ { player_id, item, amount }, ... ]
    reply        BinData (msgpack)            what the player was, or is to be, told
    refused      "not enough gold"            instead of entries: it did not happen, and will not under this key;
    attempted    BinData                      a digest of the entries that it would have had;
    expires_at                                forgotten after a week

A deal is one transaction, acknowledged by a majority: its entry here, the fence of its room, the players. Whichever
of two with the same key is first decides; the other is given what the first was answered. A key that another command
uses for other moves, or for another player's profile, is refused (KeyReused).

Guarantees: all of it or nothing; nobody owns less than nothing; nothing happens under an epoch that is older than the
fence's; the records that a decision was based on are the newest when it is written, and are locked until then; a call
that failed may have been carried out, and is safe to repeat.
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorDatabase
from pymongo import ReturnDocument, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from tickwire.limits import AMOUNT_MAX, REPLIES_MAX
from tickwire.server.errors import KeyReused, StaleEpoch, Unavailable, VersionConflict
from tickwire.server.storage.mongo_calls import RETRY_AFTER_MS, MongoCalls
from tickwire.server.storage.player_store import PlayerRecord, record_of
from tickwire.server.storage.stale_transactions import StaleTransactionKiller

REFUSED_DAYS = 7
AT_ONCE_MAX = 16
"""Transactions under way; each holds a thread. Who waits for longer than a call may take is told to come again."""
_DUPLICATE_KEY = 11000
Document = dict[str, Any]
T = TypeVar("T")


class TransactionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A deal, ready to be booked.

    Args:
        key: it happens once under this.
        changes: by player and item; what is below 0 is taken.
        reply: what the player is told, packed.
        fence, epoch: what the room is known by, and under which owner it asks.
        versions: of the players' records that the decision was based on; all of them must be the newest.
        profile: takes the place of `player_id`'s, whose version must be among `versions`.
    """

    key: str
    player_id: str
    session_id: str
    command_id: int
    fence: str
    epoch: int
    changes: Mapping[str, Mapping[str, int]] = {}
    reply: bytes = b""
    versions: Mapping[str, int] = {}
    profile: Document | None = None


class TransactionResult(msgspec.Struct, frozen=True):
    """What has become of a booking.

    Args:
        is_new: it was booked by this call; else by one before.
        refused: why it did not happen; empty when it did.
        players: as they are now; only of one that is new.
        is_own: it was booked for this command; else for another one with the same key and the same moves.
        changes: as they were booked; only of one that is not new.
    """

    is_new: bool
    reply: bytes = b""
    refused: str = ""
    players: Mapping[str, PlayerRecord] = {}
    is_own: bool = True
    changes: Mapping[str, Mapping[str, int]] = {}


class Answer(msgspec.Struct, frozen=True):
    """What a session was answered, or would have been."""

    session_id: str
    command_id: int
    reply: bytes
    refused: str


class _Retry(Exception):
    """What was in the way is gone."""


class _Refused(Exception):
    """It cannot be; the argument says why, for the player."""


class Ledger:
    """The collection `ledger`, and with it what changes in `players`.

    Args:
        client: of MongoDB; transactions are its own.
        database: a Motor database.
        calls: the door.
        abandoned: ends what others have left in the way.
    """

    def __init__(
        self,
        client: AsyncIOMotorClient[Document],
        database: AsyncIOMotorDatabase[Document],
        calls: MongoCalls,
        abandoned: StaleTransactionKiller,
    ) -> None:
        self._client = client
        self._ledger = database["ledger"]
        self._players = database["players"]
        self._fences = database["fences"]
        self._calls = calls
        self._abandoned = abandoned
        self._slots = asyncio.Semaphore(AT_ONCE_MAX)
        self._under_way: set[asyncio.Task[Any]] = set()
        self._may_be_blocked = False
        self._ending: asyncio.Task[Any] | None = None

    async def book(self, booking: TransactionRequest) -> TransactionResult:
        """Carries a deal out, or says what became of it before.

        Raises:
            StaleEpoch: a newer owner has the room; nothing has happened.
            VersionConflict: a record that the decision was based on has changed; nothing has happened, and nothing
                ever will with these versions.
            KeyReused: the key names another deal; nothing has happened.
            NotSavable: it is nothing that MongoDB can hold; nothing has happened.
            Unavailable: MongoDB does not answer; it may or may not have happened, and may be asked again.
        """
        while True:
            if self._may_be_blocked:
                self._end_abandoned()  # beside it: a transaction that is blocked is tried again and again
            try:
                players = await self._in_time(self._transact(booking))
                self._may_be_blocked = False
                return TransactionResult(True, booking.reply, "", players)
            except VersionConflict:
                raise
            except (Unavailable, asyncio.CancelledError):  # also when who asked does not wait any longer
                self._may_be_blocked = True
                self._end_abandoned()  # who asks again finds it done
                raise
            except _Retry:
                continue  # somebody else has changed the player: so things move on, if not for us
            except DuplicateKeyError:
                return await self._booked_before(booking)
            except _Refused as refused:
                return await self._refuse(booking, str(refused))

    async def _refuse(self, booking: TransactionRequest, why: str) -> TransactionResult:
        """Writes down that it did not happen, so that it never does: the player is told so."""
        now = datetime.datetime.now(datetime.UTC)
        expires = now + datetime.timedelta(days=REFUSED_DAYS)
        try:
            refusal = {"refused": why, "attempted": _digest_of(booking.changes), "expires_at": expires}
            await self._calls.write(self._ledger.insert_one(_entry_of(booking, now, []) | refusal))
        except DuplicateKeyError:
            return await self._booked_before(booking)
        return TransactionResult(True, b"", why)

    async def _booked_before(self, booking: TransactionRequest) -> TransactionResult:
        document = await self._calls.read(self._ledger.find_one({"_id": booking.key}))
        if document is None:  # refused a week ago, and forgotten between the two calls
            raise Unavailable("the deal is being forgotten", retry_after_ms=RETRY_AFTER_MS)
        is_own = (document["session_id"], document["command_id"]) == (booking.session_id, booking.command_id)
        if not is_own and not _is_same(document, booking):
            raise KeyReused(f"the key {booking.key.removeprefix('key:')!r} names another deal already")
        changes = _changes_of(document["entries"])
        return TransactionResult(
            False, document["reply"], document.get("refused", ""), is_own=is_own, changes=changes
        )

    async def _in_time(self, work: Any) -> Any:
        """Runs a transaction, and does not wait for one that hangs: it ends by itself, soon after."""
        return await self._calls.write(asyncio.shield(self._run(self._in_slot(work), "book")))

    def _run(self, work: Any, name: str) -> asyncio.Task[Any]:
        task = asyncio.create_task(work, name=name)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return task

    def _end_abandoned(self) -> None:
        if self._ending is None or self._ending.done():
            self._ending = self._run(self._abandoned.end(), "end abandoned")

    async def _in_slot(self, work: Any) -> Any:
        try:
            async with self._calls.timeout(self._calls.call_s_max):
                await self._slots.acquire()
        except TimeoutError:
            work.close()
            raise
        try:
            return await work
        finally:
            self._slots.release()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked has been told, or has been told that it takes too long

    async def _transact(self, booking: TransactionRequest) -> dict[str, PlayerRecord]:
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + self._calls.call_s_max

        async def steps(session: Any) -> dict[str, PlayerRecord]:
            if loop.time() > deadline_s:  # the driver would try for two minutes, and keep the slot for as long
                raise Unavailable("others keep what is to be changed locked", retry_after_ms=RETRY_AFTER_MS)
            return await self._steps(booking, session)

        async with await self._client.start_session() as session:
            found: dict[str, PlayerRecord] = await session.with_transaction(steps)
            return found

    async def _steps(self, booking: TransactionRequest, session: Any) -> dict[str, PlayerRecord]:
        now = datetime.datetime.now(datetime.UTC)
        await self._ledger.insert_one(_entry_of(booking, now, _entries_of(booking.changes)), session=session)
        changes = dict(booking.changes)
        if booking.profile is not None:
            changes.setdefault(booking.player_id, {})
        await self._lock(booking, sorted(booking.versions.keys() - changes.keys()), now, session)
        players = {
            player_id: await self._change(booking, player_id, items, now, session)
            for player_id, items in sorted(changes.items())
        }
        await self._pass_fence(booking, now, session)  # last, so that a claim waits for as short as can be
        return players

    async def _pass_fence(self, booking: TransactionRequest, now: datetime.datetime, session: Any) -> None:
        """Touches the room's fence, so that of this and a newer owner's claim one must wait for the other."""
        try:
            await self._fences.update_one(
                {"_id": booking.fence, "epoch": {"$lte": booking.epoch}},
                {"$set": {"epoch": booking.epoch, "touched_at": now}},
                upsert=True,
                session=session,
            )
        except DuplicateKeyError as error:
            raise StaleEpoch(f"{booking.fence} has a newer owner than epoch {booking.epoch}") from error

    async def _lock(
        self, booking: TransactionRequest, player_ids: list[str], now: datetime.datetime, session: Any
    ) -> None:
        """Lock the records that are read and not changed: a write conflicts with every other one until the end."""
        if not player_ids:
            return
        lock: Document = {"$set": {"read_at": now}, "$setOnInsert": {"holdings": {}, "created_at": now}}
        versions = [(player_id, booking.versions[player_id]) for player_id in player_ids]
        locks = [UpdateOne({"_id": id, "version": version}, lock, upsert=not version) for id, version in versions]
        try:
            done = await self._players.bulk_write(locks, session=session)
            if done.matched_count + done.upserted_count == len(locks):
                return
        except BulkWriteError as error:
            if any(one["code"] != _DUPLICATE_KEY for one in error.details["writeErrors"]):
                raise
        for player_id in player_ids:
            reason = await self._why_not(booking, player_id, {})
            if isinstance(reason, VersionConflict):
                raise reason
        raise _Retry

    async def _change(
        self,
        booking: TransactionRequest,
        player_id: str,
        items: Mapping[str, int],
        now: datetime.datetime,
        session: Any,
    ) -> PlayerRecord:
        takes = {item: -amount for item, amount in items.items() if amount < 0}
        wanted: Document = {"_id": player_id}
        wanted |= {f"holdings.{item}": {"$gte": amount} for item, amount in takes.items()}
        # A player who has none of an item has no such field: $not holds for that, too.
        wanted |= {f"holdings.{i}": {"$not": {"$gt": AMOUNT_MAX - n}} for i, n in items.items() if n > 0}
        change: Document = {"$inc": {"version": 1} | {f"holdings.{item}": n for item, n in items.items()}}
        change["$set"] = {"updated_at": now}
        change["$setOnInsert"] = {"created_at": now}
        is_new = not takes
        if player_id in booking.versions:
            wanted["version"] = booking.versions[player_id]
            is_new = is_new and not booking.versions[player_id]
        if booking.profile is not None and player_id == booking.player_id:
            change["$set"]["profile"] = booking.profile
        if is_new and not items:
            change["$setOnInsert"]["holdings"] = {}
        try:
            document = await self._players.find_one_and_update(
                wanted, change, upsert=is_new, return_document=ReturnDocument.AFTER, session=session
            )
        except DuplicateKeyError:  # it is there, and not as wanted
            document = None
        if document is None:
            raise await self._why_not(booking, player_id, takes)
        return record_of(document)

    async def _why_not(self, booking: TransactionRequest, player_id: str, takes: Mapping[str, int]) -> Exception:
        """Why a player could not be changed: as it is now, not as the transaction sees it."""
        document = await self._players.find_one({"_id": player_id}) or {"_id": player_id, "version": 0}
        record = record_of(document)
        version = booking.versions.get(player_id, record.version)
        if record.version != version:
            return VersionConflict(f"the player has been changed since version {version}")
        for item, amount in takes.items():
            if record.holdings.get(item, 0) < amount:
                return _Refused(f"not enough {item}")
        for item, amount in booking.changes.get(player_id, {}).items():
            if record.holdings.get(item, 0) + amount > AMOUNT_MAX:
                return _Refused(f"nobody can own more than {AMOUNT_MAX} {item}")
        return _Retry()

    # -- what was booked ------------------------------------------------------------------------------------

    async def answers(self, session_ids: Sequence[str]) -> list[Answer]:
        """What some sessions were answered last, each one's oldest first. With the fence of their room raised nothing
        more can come.

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
                # Of each session: one that deals a lot does not push out another's.
                {"$group": {"_id": "$session_id", "answers": {"$firstN": {"input": one, "n": REPLIES_MAX}}}},
            ]
        )
        return [
            Answer(session["_id"], int(one["command_id"]), one["reply"], one.get("refused") or "")
            for session in await self._calls.read(newest.to_list(None))
            for one in reversed(session["answers"])
        ]

    async def sums(self, player_id: str) -> dict[str, int]:
        """What the entries of a player come to, by item: what it holds.

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
        """Waits for what is under way; it ends on its own deadlines."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=self._calls.call_s_max)


def _entries_of(changes: Mapping[str, Mapping[str, int]]) -> list[Document]:
    return [
        {"player_id": player_id, "item": item, "amount": amount}
        for player_id, items in changes.items()
        for item, amount in items.items()
    ]


def _changes_of(entries: Sequence[Document]) -> dict[str, dict[str, int]]:
    changes: dict[str, dict[str, int]] = {}
    for entry in entries:
        changes.setdefault(entry["player_id"], {})[entry["item"]] = int(entry["amount"])
    return changes


def _is_same(document: Document, booking: TransactionRequest) -> bool:
    """Whether an entry of another command is of the same deal: the same moves, and no other player's profile."""
    if booking.profile is not None and document["player_id"] != booking.player_id:
        return False
    if document.get("refused"):  # older builds wrote no digest
        return bool(document.get("attempted", _digest_of(booking.changes)) == _digest_of(booking.changes))
    return _changes_of(document["entries"]) == booking.changes


def _digest_of(changes: Mapping[str, Mapping[str, int]]) -> bytes:
    """A digest, so that a refusal holds nothing of the other players in it."""
    ordered = sorted((player_id, sorted(items.items())) for player_id, items in changes.items())
    return hashlib.blake2b(msgspec.msgpack.encode(ordered), digest_size=16).digest()


def _entry_of(booking: TransactionRequest, now: datetime.datetime, entries: list[Document]) -> Document:
    return {
        "_id": booking.key,
        "at": now,
        "player_id": booking.player_id,
        "session_id": booking.session_id,
        "command_id": booking.command_id,
        "fence": booking.fence,
        "epoch": booking.epoch,
        "entries": entries,
        "reply": booking.reply,
    }
