"""Runs the transactions of rooms: the only module that uses both rooms and the ledger.

The transactions of a room are committed one after the other, because each of them touches the room's fence. At most
TRANSACTIONS_WAITING_MAX wait. Several may be in flight, each decided when its command arrived. When its turn comes, a
decision is written only if its premises still hold:

    an earlier transaction has an unknown outcome    that one is completed first; no other runs until then
    the room has applied another transaction since   the room decides again, before anything is written
    a record that the room read has changed          the ledger refuses, the records are read, the room decides again

Every command gets a Reply within the deadline. A Reply with `retry_after_ms` leaves the outcome open.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
import structlog

from tickwire.matchmaking.loop_timeout import LoopTimeout
from tickwire.schemas.messages import Command, ErrorCode, Reply
from tickwire.server.edge.services import Outcome
from tickwire.server.errors import KeyReused, NotSavable, StaleEpoch, TickwireError, Unavailable, VersionConflict
from tickwire.server.persistence.attempts import CommandAttempt, TransactionAttempt, create_reply, fence_key
from tickwire.server.persistence.ports import PlayerRecordReader, TransactionLedger
from tickwire.server.rooms.checkpoint import SeatCheckpoint
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat, SeatRoom
from tickwire.server.rooms.transactions import Decision, RecordVersion
from tickwire.server.storage import LedgerReply, PlayerRecord, TransactionResult

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

log = structlog.get_logger(__name__)

TRANSACTIONS_WAITING_MAX = 128
"""Waiting transactions of one room. At a few milliseconds each, the last one waits less than a second."""
CONFLICTS_MAX = 5
"""Attempts to commit one transaction while other transactions change its records."""
RETRY_AFTER_MS = 1000
"""When a client retries after a Reply with an open outcome, if the error names no other time."""


class TransactionService:
    """Commits the transactions of a shard's rooms. Implements `TransactionRunner`.

    Args:
        players: reads player records.
        ledger: writes transactions.
        on_fenced: called with the fence key of a room that another shard owns now.
        timeout_s: the longest time that a transaction may take, including the wait for its turn.

    Attributes:
        results: transactions by result: committed, repeated, refused, unavailable, failed.
    """

    def __init__(
        self,
        players: PlayerRecordReader,
        ledger: TransactionLedger,
        *,
        on_fenced: Callable[[str], None],
        timeout_s: float,
    ) -> None:
        self.results: Counter[str] = Counter()
        self._players = players
        self._ledger = ledger
        self._on_fenced = on_fenced
        self._timeout_s = timeout_s
        self._pending: dict[str, TransactionAttempt] = {}  # by fence key: the transaction with an unknown outcome
        self._turns: dict[str, asyncio.Lock] = {}
        self._waiting: Counter[str] = Counter()

    @property
    def waiting(self) -> int:
        """Return the number of transactions that are in flight or wait for their turn."""
        return self._waiting.total()

    async def wait_settled(self, runtime: RoomRuntime) -> None:
        """Wait until no transaction of a room is in flight and the outcome of each is known.

        Raises:
            Unavailable: the outcome of a transaction cannot be determined now.
        """
        fence = fence_key(runtime)
        while self._waiting[fence]:
            await asyncio.sleep(0.005)
        del self._waiting[fence]  # reading a Counter creates an entry
        await self._settle_pending(runtime)

    async def load(self, player_ids: Sequence[str]) -> dict[str, RecordVersion]:
        """Return the records of players, by player id.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        found = await self._players.load(player_ids)
        return {player_id: _to_record_version(record) for player_id, record in found.items()}

    async def add_replies(self, seats: Sequence[SeatCheckpoint]) -> tuple[SeatCheckpoint, ...]:
        """Return the seats of a saved room with the replies to transactions that the ledger has and the save lacks.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        answers = await self._ledger.list_replies([seat.session.session_id for seat in seats])
        return tuple(_add_replies(seat, answers) for seat in seats)

    async def run(self, seat: Seat, command: Command, decision: Decision) -> Outcome:
        """See `tickwire.server.edge.services.TransactionRunner.run`."""
        return await self.retry(CommandAttempt(seat, command, decision))

    async def retry(self, pending: CommandAttempt) -> Outcome:
        """See `tickwire.server.edge.services.TransactionRunner.retry`."""
        attempt = pending
        error = await self.settle(attempt)
        if attempt.reply is not None:
            return Outcome(attempt.reply)
        retry_after_ms = getattr(error, "retry_after_ms", 0) or RETRY_AFTER_MS
        code, id = ErrorCode.UNAVAILABLE, attempt.command.id
        reply = Reply(id, ok=False, error=code, message=str(error), retry_after_ms=retry_after_ms)
        return Outcome(reply, attempt if attempt.is_tried else None)

    async def settle(self, attempt: TransactionAttempt) -> TickwireError | None:
        """Commit an attempt within the time limit, after the room's earlier ones.

        Returns:
            None if the attempt is decided; otherwise why its outcome is open. After StaleEpoch it never succeeds,
            otherwise it may be repeated.
        """
        error: TickwireError
        try:
            async with LoopTimeout(self._timeout_s), self._acquire_turn(attempt.fence):
                await self._settle_pending(attempt.runtime)  # may be this attempt
                await self._settle(attempt)
        except TimeoutError:
            error = Unavailable("the transaction was not written in time", retry_after_ms=RETRY_AFTER_MS)
        except Unavailable as failure:
            error = failure
        except StaleEpoch as failure:
            if attempt.runtime.is_open:  # otherwise the newer owner may be this shard
                self._on_fenced(attempt.fence)
            error = StaleEpoch("another shard owns the room now", newest=failure.newest)
        if attempt.is_decided:
            return None
        self.results["unavailable"] += 1
        return error

    def evict(self, runtime: RoomRuntime) -> None:
        """Discard the pending transaction of a room that has ended here: no later one depends on its outcome."""
        self._pending.pop(fence_key(runtime), None)

    @asynccontextmanager
    async def _acquire_turn(self, fence: str) -> AsyncIterator[None]:
        if self._waiting[fence] >= TRANSACTIONS_WAITING_MAX:
            raise Unavailable(
                f"{TRANSACTIONS_WAITING_MAX} transactions are waiting in this room", retry_after_ms=1000
            )
        self._waiting[fence] += 1
        try:
            async with self._turns.setdefault(fence, asyncio.Lock()):
                yield
        finally:
            self._waiting[fence] -= 1
            if not self._waiting[fence]:
                del self._waiting[fence], self._turns[fence]

    async def _settle_pending(self, runtime: SeatRoom) -> None:
        """Complete the transaction whose outcome is unknown, if there is one.

        One of an older epoch is discarded: what it has written was known when the room was restored, and it can write
        nothing any more.
        """
        pending = self._pending.get(fence_key(runtime))
        if pending is not None and pending.runtime.epoch < runtime.epoch:
            del self._pending[pending.fence]
        elif pending is not None:
            await self._settle(pending)

    async def _settle(self, attempt: TransactionAttempt) -> None:
        """Commit a transaction. On a conflict the room decides again, until a decision is written or refused.

        Raises:
            Unavailable, StaleEpoch: the outcome is open.
        """
        if attempt.is_outdated:
            attempt.redecide()
        for _ in range(CONFLICTS_MAX):
            if not attempt.is_decided:
                await self._commit(attempt)
        if not attempt.is_decided:
            raise VersionConflict("the player record is changed by other transactions, retry", retry_after_ms=200)

    async def _commit(self, attempt: TransactionAttempt) -> None:
        """Try to commit a transaction once; on a conflict the room decides again.

        Raises:
            Unavailable, StaleEpoch: the outcome is open.
        """
        room_id = attempt.runtime.room.room_id
        attempt.is_tried, self._pending[attempt.fence] = True, attempt
        try:
            await self._apply_result(attempt, await self._ledger.commit(attempt.to_request()))
        except VersionConflict:  # it was not and will never be written: versions only grow
            attempt.is_tried = False
        except (Unavailable, StaleEpoch):
            raise
        except KeyReused as error:
            attempt.fail(ErrorCode.KEY_REUSED, str(error))
        except NotSavable as error:
            log.error("transaction_rejected", room_id=room_id, transaction=attempt.name, error=str(error))
            self.results["failed"] += 1
            attempt.fail(ErrorCode.COMMAND_FAILED, "the transaction cannot be stored")
        except Exception as error:  # a fault in one transaction must not block the others of the room
            log.exception("transaction_failed", room_id=room_id, transaction=attempt.name)
            self._pending.pop(attempt.fence, None)
            raise Unavailable("the server failed to write the transaction", retry_after_ms=RETRY_AFTER_MS) from error
        self._pending.pop(attempt.fence, None)
        if not attempt.is_decided:
            attempt.update_records(await self.load(list(attempt.versions)))
            attempt.redecide()

    async def _apply_result(self, attempt: TransactionAttempt, result: TransactionResult) -> None:
        """Apply a result of the ledger to the room."""
        kind = "refused" if result.refused else "committed"
        self.results[kind if result.is_new else "repeated"] += 1
        records: dict[str, RecordVersion] = {}
        if result.is_new:
            records = {player_id: _to_record_version(record) for player_id, record in result.players.items()}
        elif not result.refused:
            records = await self.load(attempt.player_ids)
        attempt.decide(result, records)


def _to_record_version(record: PlayerRecord) -> RecordVersion:
    return RecordVersion(record.version, record.holdings, record.profile)


def _add_replies(seat: SeatCheckpoint, answers: Sequence[LedgerReply]) -> SeatCheckpoint:
    session = seat.session
    known = {reply.id for reply in session.replies}
    more = tuple(
        create_reply(answer.command_id, answer.reply, answer.refused)
        for answer in answers
        if answer.session_id == session.session_id and answer.command_id not in known
    )
    return msgspec.structs.replace(seat, session=msgspec.structs.replace(session, replies=session.replies + more))
