"""Carries out what commands do to what players own: the one place that knows both rooms and the ledger.

A room's deals are booked one after the other, since each touches the room's fence; DEALS_WAITING_MAX wait at most. A
deal that finds the player changed since its profile was read is asked of the room again. Whatever happens there is a
Reply within the deadline; one that says UNAVAILABLE says nothing of whether it happened, and may be asked again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
import structlog

from schemas.messages import Command, ErrorCode, Reply
from server.errors import NotSavable, StaleEpoch, Unavailable, VersionConflict
from server.rooms.deals import Deal, Record, net
from server.rooms.seat import Seat
from server.rooms.simulation import Simulation
from server.rooms.state import KeptSeat
from server.saving import is_durable
from server.storage import Answer, Booked, Booking, Ledger, PlayerRecord, Players, world_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

log = structlog.get_logger(__name__)

DEALS_WAITING_MAX = 128
"""A room's: with a few milliseconds each, who is behind them waits for less than a second."""
CONFLICTS_MAX = 5
RETRY_AFTER_MS = 1000
"""When a client asks again after a reply that decides nothing and that no error has a time for."""


class Dealing:
    """The shard's `Dealer`.

    Args:
        players, ledger: the store.
        on_fenced: told of a room that another shard owns by now.
        deadline_s: the longest that a deal may take, waiting and all.

    Attributes:
        results: of deals: booked, repeated, refused, unavailable, failed.
    """

    def __init__(
        self, players: Players, ledger: Ledger, *, on_fenced: Callable[[str], None], deadline_s: float
    ) -> None:
        self.results: Counter[str] = Counter()
        self._players = players
        self._ledger = ledger
        self._on_fenced = on_fenced
        self._deadline_s = deadline_s
        self._turns: dict[str, asyncio.Lock] = {}
        self._waiting: Counter[str] = Counter()

    @property
    def waiting(self) -> int:
        """Deals under way, or waiting for their turn."""
        return self._waiting.total()

    async def settled(self, simulation: Simulation) -> None:
        """Returns when none of a room's deals is under way any more; each has its deadline."""
        fence = fence_of(simulation)
        while self._waiting[fence]:
            await asyncio.sleep(0.005)
        del self._waiting[fence]  # looking made an entry

    async def load(self, player_ids: Sequence[str]) -> dict[str, Record]:
        """What some players own.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        found = await self._players.load(player_ids)
        return {player_id: _record_of(record) for player_id, record in found.items()}

    async def answered(self, seats: Sequence[KeptSeat]) -> tuple[KeptSeat, ...]:
        """The seats of a saved room, with all that their players' deals were answered, also after it was saved.

        Raises:
            Unavailable: MongoDB does not answer.
        """
        answers = await self._ledger.answers([seat.session.session_id for seat in seats])
        return tuple(_with_answers(seat, answers) for seat in seats)

    async def deal(self, seat: Seat, command: Command, deal: Deal, *, is_again: bool = False) -> Reply:
        """See `server.rooms.ports.Dealer.deal`."""
        fence = fence_of(seat.simulation)
        try:
            async with asyncio.timeout(self._deadline_s), self._turn(fence):
                return await self._book(fence, seat, command, deal, is_again=is_again)
        except TimeoutError:
            return self._undecided(command, "writing it down takes too long")
        except Unavailable as error:
            return self._undecided(command, str(error), error.retry_after_ms or RETRY_AFTER_MS)
        except StaleEpoch:
            self._on_fenced(fence)
            return self._undecided(command, "the room goes on at another shard")
        except (NotSavable, TypeError, ValueError) as error:
            log.error("deal_not_savable", room_id=seat.room_id, command=command.name, error=str(error))
            self.results["failed"] += 1
            text = "the room failed to run the command"
            return Reply(command.id, ok=False, error=ErrorCode.COMMAND_FAILED, message=text)

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

    async def _book(self, fence: str, seat: Seat, command: Command, deal: Deal, *, is_again: bool) -> Reply:
        for _ in range(CONFLICTS_MAX):
            try:
                booked = await self._ledger.book(_booking(fence, seat, command, deal))
                return await self._told(seat, command, deal, booked, is_again=is_again)
            except VersionConflict:
                seat.player.record = (await self.load([seat.player_id]))[seat.player_id]
                again = seat.command(command)
                if isinstance(again, Reply):
                    return again
                deal = again
        raise VersionConflict("others change the player all the time", retry_after_ms=200)

    async def _told(self, seat: Seat, command: Command, deal: Deal, booked: Booked, *, is_again: bool) -> Reply:
        """Tells the room, and gives the Reply."""
        if booked.refused:
            self.results["refused" if booked.is_new else "repeated"] += 1
        elif booked.is_new:
            self.results["booked"] += 1
            records = {player_id: _record_of(record) for player_id, record in booked.players.items()}
            seat.simulation.dealt(seat, command.name, deal, records)
        else:
            self.results["repeated"] += 1
            records = await self.load([seat.player_id, *net(deal.moves)])
            if is_again:  # it was written when its answer was lost
                seat.simulation.dealt(seat, command.name, deal, records)
            else:
                seat.simulation.learn(seat, records)
        return _reply(command.id, booked.reply, booked.refused)

    def _undecided(self, command: Command, why: str, retry_after_ms: int = RETRY_AFTER_MS) -> Reply:
        self.results["unavailable"] += 1
        code = ErrorCode.UNAVAILABLE
        return Reply(command.id, ok=False, error=code, message=why, retry_after_ms=retry_after_ms)


def fence_of(simulation: Simulation) -> str:
    """What a room's deals are fenced by: a durable one's claims raise it."""
    room = simulation.room
    return world_key(room.room_type, room.name) if is_durable(simulation) else room.room_id


def _booking(fence: str, seat: Seat, command: Command, deal: Deal) -> Booking:
    session_id = seat.subscriber.session_id
    return Booking(
        key=f"key:{deal.key}" if deal.key else f"{session_id}/{command.id}",
        player_id=seat.player_id,
        session_id=session_id,
        command_id=command.id,
        fence=fence,
        epoch=seat.simulation.epoch,
        changes=net(deal.moves),
        reply=msgspec.msgpack.encode(deal.reply),
        profile=None if deal.profile is None else (seat.player.record.version, deal.profile),
    )


def _record_of(record: PlayerRecord) -> Record:
    return Record(record.version, record.holdings, record.profile)


def _reply(command_id: int, reply: bytes, refused: str) -> Reply:
    if refused:
        return Reply(command_id, ok=False, error=ErrorCode.COMMAND_FAILED, message=refused)
    return Reply(command_id, ok=True, payload=reply)


def _with_answers(seat: KeptSeat, answers: Sequence[Answer]) -> KeptSeat:
    session = seat.session
    known = {reply.id for reply in session.replies}
    more = tuple(
        _reply(answer.command_id, answer.reply, answer.refused)
        for answer in answers
        if answer.session_id == session.session_id and answer.command_id not in known
    )
    return msgspec.structs.replace(seat, session=msgspec.structs.replace(session, replies=session.replies + more))
