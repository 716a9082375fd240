"""A ledger in memory, for tests of games: it keeps the contract of the ledger in MongoDB.

The order of the checks, the results and the errors are those of server/storage/ledger_rules.py, which both use; each
transaction is applied in one step of the event loop. tests/contract/test_ledger.py runs on both, and
tests/property/test_memory_ledger.py compares them. It has no bound: a test ends.
"""

from __future__ import annotations

import datetime
import itertools
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import bson
from bson.codec_options import CodecOptions
from bson.errors import BSONError

from tickwire.limits import REPLIES_MAX
from tickwire.server.errors import NotSavable, StaleEpoch
from tickwire.server.storage import LedgerReply, PlayerRecord, TransactionRequest, TransactionResult
from tickwire.server.storage.ledger_documents import Document, create_entry, entries_from_changes
from tickwire.server.storage.ledger_rules import (
    check_version,
    create_refusal,
    create_stale_epoch,
    find_refusal,
    list_changes,
    list_read_only,
    result_from_entry,
)
from tickwire.testing.ledger_entry import LedgerEntry, entry_from_document
from tickwire.testing.ledger_faults import LedgerFault, LedgerFaults, check_fault
from tickwire.testing.schedule import ChoiceStream, Schedule

DOCUMENT_BYTES_MAX = 16 * 1024 * 1024
"""MongoDB's limit for a document."""
NESTING_MAX = 180
"""MongoDB's limit for the values in values of a stored document."""
_OPTIONS: CodecOptions[Document] = CodecOptions(tz_aware=True)  # as the shard's client


class MemoryLedger(LedgerFaults):
    """Commits transactions and reads player records. Implements `TransactionLedger` and `PlayerRecordReader`.

    Args:
        now: returns the time, with a time zone; refusals expire by it.
        stream: the chance of random faults.
    """

    def __init__(
        self,
        now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
        stream: ChoiceStream | None = None,
    ) -> None:
        super().__init__(now, stream or Schedule(0).stream("ledger"))
        self._documents: dict[str, Document] = {}  # by key, in the order of the commits
        self._refusals: deque[tuple[datetime.datetime, str]] = deque()  # when each expires, and its key
        self._records: dict[str, bytes] = {}
        self._epochs: dict[str, int] = {}
        self._numbers = itertools.count(1)  # of the calls of `set_record`

    # -- what the services of a shard call ------------------------------------------------------------------

    async def commit(self, request: TransactionRequest) -> TransactionResult:
        """See `tickwire.server.persistence.ports.TransactionLedger.commit`."""
        await self.wait_for_turn()
        self.check_available()
        fault = self.next_fault()
        check_fault(fault, LedgerFault.UNAVAILABLE)
        result = self._commit(request)
        check_fault(fault, LedgerFault.ANSWER_LOST)
        return result

    async def load(self, player_ids: Sequence[str]) -> dict[str, PlayerRecord]:
        """See `tickwire.server.persistence.ports.PlayerRecordReader.load`."""
        self.check_available()
        return {player_id: self._read(player_id) for player_id in player_ids}

    async def list_replies(self, session_ids: Sequence[str]) -> list[LedgerReply]:
        """See `tickwire.server.persistence.ports.TransactionLedger.list_replies`."""
        self.check_available()
        self._delete_expired()
        found: dict[str, list[LedgerReply]] = {session_id: [] for session_id in session_ids}
        for document in self._documents.values():
            if (session_id := document["session_id"]) in found:
                reply = LedgerReply(
                    session_id, document["command_id"], document["reply"], document.get("refused", "")
                )
                found[session_id].append(reply)
        return [reply for replies in found.values() for reply in replies[-REPLIES_MAX:]]

    async def sums(self, player_id: str) -> dict[str, int]:
        """Return the sums of a player's entries by item, which equal its holdings."""
        self.check_available()
        entries = [entry for document in self._documents.values() for entry in document["entries"]]
        sums: Counter[str] = Counter()
        for entry in entries:
            if entry["player_id"] == player_id:
                sums[entry["item"]] += entry["amount"]
        return dict(sums)

    def raise_fence(self, fence: str, epoch: int) -> None:
        """Let a newer owner have a room: commits under older epochs fail from now on.

        Raises:
            StaleEpoch: an owner with an even newer epoch has it.
        """
        newest = self._epochs.get(fence, 0)
        if newest > epoch:
            raise StaleEpoch(
                f"{fence} is owned by another shard, with epoch {newest}; ours is {epoch}", newest=newest
            )
        self._epochs[fence] = epoch

    # -- what tests call ------------------------------------------------------------------------------------

    @property
    def entries(self) -> list[LedgerEntry]:
        """All transactions, committed and refused, in their order."""
        self._delete_expired()
        return [entry_from_document(document) for document in self._documents.values()]

    def holdings(self, player_id: str) -> dict[str, int]:
        """Return the amounts that a player owns, by item and without zeros.

        It works while the ledger is unavailable, as do all methods for tests.
        """
        return {item: amount for item, amount in self._read(player_id).holdings.items() if amount}

    def all_holdings(self) -> dict[str, dict[str, int]]:
        """Return the amounts of all players that own something, by player and item."""
        return {player_id: found for player_id in self._records if (found := self.holdings(player_id))}

    def profile(self, player_id: str) -> dict[str, Any]:
        """Return a player's profile."""
        return self._read(player_id).profile

    def set_record(
        self, player_id: str, holdings: Mapping[str, int] | None = None, profile: Mapping[str, Any] | None = None
    ) -> None:
        """Replace what a player owns, its profile, or both, as a transaction of another room does.

        Raises:
            ValueError: an amount is below 0 or above AMOUNT_MAX.
            NotSavable: MongoDB could not hold the profile.
        """
        record = self._read(player_id)
        items = {} if holdings is None else dict.fromkeys(record.holdings, 0) | dict(holdings)
        changes = {item: amount - record.holdings.get(item, 0) for item, amount in items.items()}
        request = TransactionRequest(
            key=f"set/{next(self._numbers)}",
            player_id=player_id,
            session_id="",
            command_id=0,
            fence="",
            epoch=0,
            changes={player_id: {item: amount for item, amount in changes.items() if amount}},
            profile=None if profile is None else dict(profile),
        )
        if refused := self._commit(request).refused:
            raise ValueError(f"the record of {player_id!r} cannot be set: {refused}")

    def set_records(
        self, holdings: Mapping[str, Mapping[str, int]], profiles: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Call `set_record` for all players that have holdings or a profile here."""
        for player_id in sorted(holdings.keys() | profiles.keys()):
            self.set_record(player_id, holdings.get(player_id), profiles.get(player_id))

    # -- the transaction ------------------------------------------------------------------------------------

    def _commit(self, request: TransactionRequest) -> TransactionResult:
        """Apply a transaction, in the order of server/storage/ledger_rules.py."""
        self._delete_expired()
        if (found := self._documents.get(request.key)) is not None:
            return result_from_entry(found, request)
        entry = create_entry(request, self._now(), entries_from_changes(request.changes))
        entry = _decode(_encode(entry))
        for player_id in list_read_only(request):
            check_version(request, self._read(player_id))
        records: dict[str, bytes] = {}
        for player_id, items in list_changes(request).items():
            record = self._read(player_id)
            changed = _encode_changed(request, record, items)
            check_version(request, record)
            if refused := find_refusal(request, record):
                self._documents[request.key] = refusal = create_refusal(request, refused, self._now())
                self._refusals.append((refusal["expires_at"], request.key))
                return TransactionResult(True, b"", refused)
            records[player_id] = changed
        if self._epochs.get(request.fence, request.epoch) > request.epoch:
            raise create_stale_epoch(request)
        self._epochs[request.fence] = request.epoch
        self._documents[request.key] = entry
        self._records |= records
        return TransactionResult(True, request.reply, "", {player_id: self._read(player_id) for player_id in records})

    def _read(self, player_id: str) -> PlayerRecord:
        """Return a copy of a record, which the caller may change."""
        stored = self._records.get(player_id)
        if stored is None:
            return PlayerRecord(player_id, 0, {}, {})
        return PlayerRecord(player_id, **_decode(stored))

    def _delete_expired(self) -> None:
        """Delete the refusals that have expired."""
        while self._refusals and self._refusals[0][0] <= self._now():
            del self._documents[self._refusals.popleft()[1]]


def _encode_changed(request: TransactionRequest, record: PlayerRecord, items: Mapping[str, int]) -> bytes:
    """Return a record with changes, as MongoDB stores it."""
    holdings = record.holdings | {item: record.holdings.get(item, 0) + amount for item, amount in items.items()}
    is_owner = request.profile is not None and record.player_id == request.player_id
    profile = request.profile if is_owner else record.profile
    changed = {"version": record.version + 1, "holdings": holdings, "profile": profile}
    data = _encode(changed)
    if _nesting(changed) > NESTING_MAX:
        raise NotSavable(f"MongoDB could not hold this: more than {NESTING_MAX} levels of values in values")
    return data


def _nesting(value: Any) -> int:
    """Return how many levels of values a value has; an empty one has none."""
    values = list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return 1 + max(map(_nesting, values)) if values else 0


def _encode(document: Document) -> bytes:
    """Encode a document as the driver of MongoDB does.

    Raises:
        NotSavable: MongoDB could not hold it.
    """
    try:
        data = bson.encode(document, codec_options=_OPTIONS)
    except (BSONError, OverflowError, UnicodeEncodeError) as error:
        raise NotSavable(f"MongoDB could not hold this: {error}") from error
    if len(data) > DOCUMENT_BYTES_MAX:
        raise NotSavable(f"MongoDB could not hold this: {len(data)} bytes; at most {DOCUMENT_BYTES_MAX} are possible")
    return data


def _decode(data: bytes) -> Document:
    return bson.decode(data, codec_options=_OPTIONS)
