"""Carries out what commands do to what players own: the one place that knows both rooms and the ledger.

A room's deals are booked one after the other, since each touches the room's fence; DEALS_WAITING_MAX wait at most.
Many may be on their way at once, each decided when its command came. When its turn comes, a decision is written only
if what it was based on still holds:

    the outcome of an earlier deal is unknown   that one is carried out first; until then no other one is
    the room has applied another deal since     the room decides again, before anything is written
    a record that the room read has changed     the ledger refuses, the records are read, the room decides again

A Reply follows within the deadline, whatever happens; one with `retry_after_ms` decides nothing.
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
from tickwire.server.errors import KeyReused, NotSavable, StaleEpoch, Unavailable, VersionConflict
from tickwire.server.persistence.saver import is_durable
from tickwire.server.rooms.checkpoint import SeatCheckpoint
from tickwire.server.rooms.ports import Outcome
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat
from tickwire.server.rooms.transactions import Decision, RecordVersion, net
from tickwire.server.storage import (
    Answer,
    Ledger,
    PlayerRecord,
    PlayerStore,
    TransactionRequest,
    TransactionResult,
    world_key,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

log = structlog.get_logger(__name__)

DEALS_WAITING_MAX = 128
"""A room's: with a few milliseconds each, who is behind them waits for less than a second."""
CONFLICTS_MAX = 5
RETRY_AFTER_MS = 1000
"""When a client asks again after a reply that decides nothing and that no error has a time for."""


class TransactionService:
    """The shard's `Dealer`.

    Args:
        players, ledger: the store.
        on_fenced: told of a room that another shard owns by now.
        deadline_s: the longest that a deal may take, waiting and all.

    Attributes:
        results: of deals: booked, repeated, refused, unavailable, failed.
    """

    def __init__(
        self, players: PlayerStore, ledger: Ledger, *, on_fenced: Callable[[str], None], deadline_s: float
    ) -> None:
        self.results: Counter[str] = Counter()
        self._players = players
        self._ledger = ledger
        self._on_fenced = on_fenced
        self._deadline_s = deadline_s
        self._pending: dict[str, _Attempt] = {}  # by fence: the one deal of the room whose outcome is unknown
        self._turns: dict[str, asyncio.Lock] = {}
        self._waiting: Counter[str] = Counter()

    @property
    def waiting(self) -> int:
        """Deals under way, or waiting for their turn."""
        return self._waiting.total()

    async def settled(self, simulation: RoomRuntime) -> None:
        """Return when none of a room's deals is under way any more, and the outcome of every one is known.

        Raises:
            Unavailable: the outcome of one cannot be found out now.
        """
        fence = fence_of(simulation)
        while self._waiting[fence]:
            await asyncio.sleep(0.005)
        del self._waiting[fence]  # looking made an entry
        await self._settle_pending(fence)

    async def load(self, player_ids: Sequence[str]) -> dict[str, RecordVersion]:
        """What some players own.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        found = await self._players.load(player_ids)
        return {player_id: _record_of(record) for player_id, record in found.items()}

    async def answered(self, seats: Sequence[SeatCheckpoint]) -> tuple[SeatCheckpoint, ...]:
        """The seats of a saved room, with all that their players' deals were answered, also after it was saved.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        answers = await self._ledger.answers([seat.session.session_id for seat in seats])
        return tuple(_with_answers(seat, answers) for seat in seats)

    async def deal(self, seat: Seat, command: Command, decision: Decision) -> Outcome:
        """See `tickwire.server.rooms.ports.TransactionRunner.deal`."""
        return await self.deal_again(_Attempt(seat, command, decision))

    async def deal_again(self, pending: _Attempt) -> Outcome:
        """See `tickwire.server.rooms.ports.TransactionRunner.deal_again`."""
        attempt, fence = pending, pending.fence
        retry_after_ms = RETRY_AFTER_MS
        try:
            async with LoopTimeout(self._deadline_s), self._turn(fence):
                await self._settle_pending(fence)  # it may be this one
                await self._settle(attempt)
        except TimeoutError:
            why = "writing it down takes too long"
        except Unavailable as error:
            why, retry_after_ms = str(error), error.retry_after_ms or RETRY_AFTER_MS
        except StaleEpoch:
            self._on_fenced(fence)
            why = "the room goes on at another shard"
        if attempt.reply is not None:
            return Outcome(attempt.reply)
        self.results["unavailable"] += 1
        code, id = ErrorCode.UNAVAILABLE, attempt.command.id
        reply = Reply(id, ok=False, error=code, message=why, retry_after_ms=retry_after_ms)
        return Outcome(reply, attempt if attempt.is_tried else None)

    def forget(self, simulation: RoomRuntime) -> None:
        """The room has ended here: no later deal depends on what became of its last one."""
        self._pending.pop(fence_of(simulation), None)

    @asynccontextmanager
    async def _turn(self, fence: str) -> AsyncIterator[None]:
        if self._waiting[fence] >= DEALS_WAITING_MAX:
            raise Unavailable("too many deals are waiting in this room", retry_after_ms=1000)
        self._waiting[fence] += 1
        try:
            async with self._turns.setdefault(fence, asyncio.Lock()):
                yield
        finally:
            self._waiting[fence] -= 1
            if not self._waiting[fence]:
                del self._waiting[fence], self._turns[fence]

    async def _settle_pending(self, fence: str) -> None:
        """Carry out the deal whose outcome is unknown, if there is one."""
        pending = self._pending.get(fence)
        if pending is not None:
            await self._settle(pending)

    async def _settle(self, attempt: _Attempt) -> None:
        """Write the decision, or have the room decide again until one can be written, or none is to be.

        Raises:
            Unavailable, StaleEpoch: the attempt is not decided.
        """
        if attempt.is_outdated:
            attempt.decide_again()
        for _ in range(CONFLICTS_MAX):
            if attempt.reply is None:
                await self._try(attempt)
        if attempt.reply is None:
            raise VersionConflict("others change the player all the time", retry_after_ms=200)

    async def _try(self, attempt: _Attempt) -> None:
        """Write the decision; on a conflict have the room decide again."""
        attempt.is_tried, self._pending[attempt.fence] = True, attempt
        try:
            attempt.reply = await self._told(attempt, await self._ledger.book(attempt.booking()))
        except VersionConflict:  # it was not written and never will be: versions only grow
            attempt.is_tried = False
        except (Unavailable, StaleEpoch):
            raise
        except KeyReused as error:
            attempt.fail(ErrorCode.KEY_REUSED, str(error))
        except NotSavable as error:
            log.error(
                "deal_not_savable", room_id=attempt.seat.room_id, command=attempt.command.name, error=str(error)
            )
            self.results["failed"] += 1
            attempt.fail(ErrorCode.COMMAND_FAILED, "the room failed to run the command")
        except Exception as error:  # a fault in one deal must not keep the room's other deals waiting
            log.exception("deal_raised", room_id=attempt.seat.room_id, command=attempt.command.name)
            self._pending.pop(attempt.fence, None)
            raise Unavailable("the server failed to write it down", retry_after_ms=RETRY_AFTER_MS) from error
        self._pending.pop(attempt.fence, None)
        if attempt.reply is None:
            records = await self.load(list(attempt.decision.versions))
            attempt.seat.simulation.learn(attempt.seat, records)
            attempt.decide_again()

    async def _told(self, attempt: _Attempt, booked: TransactionResult) -> Reply:
        """Tells the room, and gives the Reply."""
        seat, deal = attempt.seat, attempt.decision.deal
        result = "refused" if booked.refused else "booked"
        self.results[result if booked.is_new else "repeated"] += 1
        if booked.refused:
            return _reply(attempt.command.id, booked.reply, booked.refused)
        if booked.is_new:
            records = {player_id: _record_of(record) for player_id, record in booked.players.items()}
        else:
            records = await self.load([seat.player_id, *net(deal.moves)])
        # What was written for this command, by this attempt or an earlier one, the room has not applied yet.
        if booked.is_new or (booked.is_own and booked.changes == net(deal.moves)):
            seat.simulation.dealt(seat, attempt.command.name, deal, records)
        else:
            seat.simulation.learn(seat, records)
        return _reply(attempt.command.id, booked.reply, booked.refused)


class _Attempt:
    """One command on its way into the ledger.

    Attributes:
        reply: set when the command is decided.
        is_tried: whether the decision may have been written.
    """

    def __init__(self, seat: Seat, command: Command, decision: Decision) -> None:
        self.seat = seat
        self.command = command
        self.decision = decision
        self.fence = fence_of(seat.simulation)
        self.reply: Reply | None = None
        self.is_tried = False

    @property
    def is_outdated(self) -> bool:
        """Whether the room has applied another deal since it decided, and nothing was written."""
        return not self.is_tried and self.decision.sequence != self.seat.simulation.deals_applied

    def decide_again(self) -> None:
        """Have the room decide again.

        Raises:
            Unavailable: the room is moving.
        """
        if not self.seat.is_open:
            self.fail(ErrorCode.OUT_OF_ORDER, "in no room")
            return
        answer = self.seat.command(self.command)
        if isinstance(answer, Decision):
            self.decision = answer
        elif answer.retry_after_ms:
            raise Unavailable(answer.message, retry_after_ms=answer.retry_after_ms)
        else:
            self.reply = answer

    def fail(self, code: ErrorCode, message: str) -> None:
        """Decide the command: nothing was written."""
        self.reply = Reply(self.command.id, ok=False, error=code, message=message)

    def booking(self) -> TransactionRequest:
        """Return what the ledger is to write."""
        decision, session_id = self.decision, self.seat.subscriber.session_id
        key = decision.deal.key
        return TransactionRequest(
            key=f"key:{key}" if key else f"{session_id}/{self.command.id}",
            player_id=self.seat.player_id,
            session_id=session_id,
            command_id=self.command.id,
            fence=self.fence,
            epoch=self.seat.simulation.epoch,
            changes=net(decision.deal.moves),
            reply=decision.reply,
            versions=decision.versions,
            profile=decision.profile,
        )


def fence_of(simulation: RoomRuntime) -> str:
    """What a room's deals are fenced by: a durable one's claims raise it."""
    room = simulation.room
    return world_key(room.room_type, room.name) if is_durable(simulation) else room.room_id


def _record_of(record: PlayerRecord) -> RecordVersion:
    return RecordVersion(record.version, record.holdings, record.profile)


def _reply(command_id: int, reply: bytes, refused: str) -> Reply:
    if refused:
        return Reply(command_id, ok=False, error=ErrorCode.COMMAND_FAILED, message=refused)
    return Reply(command_id, ok=True, payload=reply)


def _with_answers(seat: SeatCheckpoint, answers: Sequence[Answer]) -> SeatCheckpoint:
    session = seat.session
    known = {reply.id for reply in session.replies}
    more = tuple(
        _reply(answer.command_id, answer.reply, answer.refused)
        for answer in answers
        if answer.session_id == session.session_id and answer.command_id not in known
    )
    return msgspec.structs.replace(seat, session=msgspec.structs.replace(session, replies=session.replies + more))
