"""Finds a room for a session: the matchmaker says where, this shard makes the room or redirects.

One Join, followed:
    ticket   verified here, without asking Redis, and let in once; the room is made if it is not yet running
    else     the matchmaker places the player (atomic, in Redis): a seat here, or one that is held elsewhere
    then     here: the room is made if it is not yet running, durable ones from the store under their epoch;
             elsewhere: a Redirect with a signed ticket
    last     the player is in; a ticket's seat is told to the directory in the background

Two joins may want the same new room at once: it is made once, the second waits for the first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec
import structlog

from tickwire.matchmaking import (
    BadRequest,
    BadTicket,
    Matchmaker,
    MatchmakerUnavailable,
    MatchmakingError,
    Party,
    Placement,
    PlaceRequest,
    RoomNotFound,
    RoomNotMade,
    StaleLease,
    Ticket,
    TicketKeys,
    UsedTickets,
    new_ticket_id,
    sign,
    verify,
)
from tickwire.matchmaking import PlacementFull as NoSeatLeft
from tickwire.matchmaking import PlacementLocked as NobodyGoesIn
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.messages import Join, Redirect
from tickwire.schemas.payloads import decode_payload
from tickwire.server.errors import (
    Malformed,
    NoSuchRoom,
    RateLimited,
    RoomFull,
    RoomLocked,
    StaleEpoch,
    TickwireError,
    Unauthorized,
    Unavailable,
)
from tickwire.server.persistence.saver import RoomSaver
from tickwire.server.persistence.transactions import TransactionService
from tickwire.server.placement.lease_keeper import LeaseKeeper
from tickwire.server.placement.room_quota import RoomQuota
from tickwire.server.rooms.checkpoint import RoomCheckpoint, SessionCheckpoint
from tickwire.server.rooms.host import RoomHost
from tickwire.server.rooms.ports import NoSessionRestorer, SessionRestorer, Subscriber
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat
from tickwire.server.storage import world_key

log = structlog.get_logger(__name__)
T = TypeVar("T")

CLOCKS_APART_S = 2.0
"""Tickets expire so long before the seats that they are for: two shards' ideas of the fleet's clock may differ."""
ROOM_NAME_CHARACTERS_MAX = 64
MOVING_PAUSE_S = 0.02
"""A join looks so often whether a room that moves has moved."""


class _Restored(list[Subscriber]):
    """Collects the sessions that are restored with a room."""

    def __init__(self, reviver: SessionRestorer) -> None:
        super().__init__()
        self._reviver = reviver

    def revive(self, kept: SessionCheckpoint, /) -> Subscriber | None:
        """See `tickwire.server.rooms.ports.SessionSource.revive`."""
        session = self._reviver.revive(kept)
        if session is not None:
            self.append(session)
        return session


class JoinService:
    """The shard's `Placer`.

    Args:
        shard_id: this shard.
        region: where it is.
        host: its rooms.
        matchmaker: who says where.
        leaseholder: tells the directory of seats.
        saver: durable rooms are loaded from and written to it.
        dealing: knows what players own.
        quota: how many rooms players may create.
        keys: for tickets.
        now_s: the fleet's clock, UTC, seconds since 1970.

    Attributes:
        is_draining: nobody new is taken in.
        reviver: gives those who were in a saved room their sessions again.
        arriving: rooms that are coming from other shards, and are not here yet.
    """

    def __init__(
        self,
        *,
        shard_id: str,
        region: str,
        host: RoomHost,
        matchmaker: Matchmaker,
        leaseholder: LeaseKeeper,
        saver: RoomSaver,
        dealing: TransactionService,
        quota: RoomQuota,
        keys: TicketKeys,
        now_s: Callable[[], float],
    ) -> None:
        self.is_draining = False
        self.reviver: SessionRestorer = NoSessionRestorer()
        self.arriving: set[str] = set()
        self.admissions = UsedTickets()
        self._shard_id = shard_id
        self._region = region
        self._host = host
        self._matchmaker = matchmaker
        self._leaseholder = leaseholder
        self._saver = saver
        self._dealing = dealing
        self._quota = quota
        self._keys = keys
        self._now_s = now_s
        self._making: dict[str, asyncio.Lock] = {}
        # Rooms that have ended here, or moved: under which epoch, and when no ticket for that is good any more.
        self._ended: dict[str, tuple[int, float]] = {}
        self._moved: dict[str, tuple[int, float]] = {}

    async def place(self, subscriber: Subscriber, join: Join) -> Seat | Redirect:
        """See `tickwire.server.rooms.ports.RoomJoiner.place`."""
        options = decode_map(join.options, dict[str, Any], "options")
        try:
            if join.ticket:
                return await self._seat_by_ticket(subscriber, join.ticket, options)
            return await self._seat_by_wish(subscriber, join, options)
        except MatchmakingError as error:
            raise told(error) from error

    async def reopen(self, player_id: str, room_type: str, name: str, labels: Mapping[str, str]) -> Redirect | None:
        """Makes a durable room whose shard is gone again, for one of those who were in it: here, unless it is, or is
        to be, elsewhere; then says where.

        Raises:
            TickwireError: as `place`.
        """
        if self.is_draining:
            raise Unavailable("this shard is draining", retry_after_ms=500)
        wanted = PlaceRequest(
            room_type=room_type,
            players=(player_id,),
            shard_id=self._shard_id,
            region=self._region,
            seats=self._host.type_of(room_type).seats,
            labels=labels,
            name=name,
            may_enter=True,
            is_durable=True,
        )
        try:
            placement = await self._matchmaker.places.place(wanted)
            if placement.shard_id != self._shard_id:
                return Redirect(placement.url, room_type=room_type, room_name=name, is_resume=True)
            await self._make_sure(self._ticket(placement, player_id, is_guest=False), {})
        except MatchmakingError as error:
            raise told(error) from error
        return None

    def redirect(self, ticket: Ticket, url: str) -> Redirect:
        """What sends a player to a seat that is held for it."""
        is_here = ticket.shard_id == self._shard_id
        return Redirect("" if is_here else url, sign(ticket, self._keys), ticket.room_type, ticket.name)

    def ticket_expires_s(self) -> float:
        """When a ticket ends that is signed now: before its reservation does."""
        return self._now_s() + self._matchmaker.ttls.reservation_ms / 1000 - CLOCKS_APART_S

    def room_closed(self, simulation: RoomRuntime) -> None:
        """A room has ended here: tickets for it are not good any more, and do not make it again."""
        self._remember(self._ended, simulation)

    def room_moved(self, simulation: RoomRuntime) -> None:
        """Send players who have a ticket for a room after it: another shard has it now."""
        self._remember(self._moved, simulation)

    def _remember(self, rooms: dict[str, tuple[int, float]], simulation: RoomRuntime) -> None:
        now = self._now_s()
        for room_id in [room_id for room_id, (_, until) in rooms.items() if until <= now]:
            del rooms[room_id]
        rooms[simulation.room.room_id] = simulation.epoch, now + self._matchmaker.ttls.reservation_ms / 1000

    def _has_left(self, ticket: Ticket, rooms: dict[str, tuple[int, float]]) -> bool:
        epoch, _ = rooms.get(ticket.room_id, (0, 0.0))
        return ticket.epoch <= epoch

    # -- by wish --------------------------------------------------------------------------------------------

    async def _seat_by_wish(self, subscriber: Subscriber, join: Join, options: dict[str, Any]) -> Seat | Redirect:
        placement = await self._place(subscriber, self._wanted(subscriber, join))
        ticket = self._ticket(placement, subscriber.player_id, is_guest=subscriber.is_guest)
        if placement.shard_id != self._shard_id:
            return self.redirect(ticket, placement.url)
        try:
            await self._until_at_rest(placement.room_id)
            if self._has_left(ticket, self._moved):
                return await self._follow_room(ticket)
            simulation = await self._make_sure(ticket, options)
            return await self._seat(simulation, subscriber, subscriber.player_id, options)
        except BaseException:  # also one who has gone meanwhile
            self._leaseholder.unseated(placement.room_id, subscriber.player_id, placement.epoch)
            raise

    async def _place(self, subscriber: Subscriber, wanted: PlaceRequest) -> Placement:
        """Find or create the room; a room that was asked for counts against the quota of the player who creates it.

        Raises:
            RateLimited: the room would have to be created, and the quota is used up.
        """
        if not (wanted.name or wanted.is_private or wanted.labels or wanted.party):
            return await self._matchmaker.places.place(wanted)
        player_id, address = subscriber.player_id, subscriber.address
        wait_ms = self._quota.wait_ms(player_id, address)
        try:
            placement = await self._matchmaker.places.place(msgspec.structs.replace(wanted, may_make=not wait_ms))
        except RoomNotMade as error:
            raise RateLimited("too many rooms were created; join one that exists", retry_after_ms=wait_ms) from error
        if placement.is_new:
            self._quota.spend(player_id, address)
        return placement

    def _wanted(self, subscriber: Subscriber, join: Join) -> PlaceRequest:
        if len(join.room_name) > ROOM_NAME_CHARACTERS_MAX:
            raise Malformed(f"a room's name has at most {ROOM_NAME_CHARACTERS_MAX} characters")
        room_class = self._host.type_of(join.room_type)
        return PlaceRequest(
            room_type=join.room_type,
            players=(subscriber.player_id,),
            shard_id=self._shard_id,
            region=self._region,
            seats=room_class.seats,
            labels=decode_map(join.labels, dict[str, str], "labels"),
            name=join.room_name or None,
            room_id=join.room_id or None,
            code=join.code or None,
            is_private=join.is_private,
            party=Party(join.party, join.party_size) if join.party else None,
            seat_here=True,
            is_durable=room_class.durable,
        )

    def _ticket(self, placement: Placement, player_id: str, *, is_guest: bool) -> Ticket:
        return Ticket(
            room_id=placement.room_id,
            player_id=player_id,
            shard_id=placement.shard_id,
            epoch=placement.epoch,
            expires_at_s=self.ticket_expires_s(),
            is_guest=is_guest,
            room_type=placement.room_type,
            name=placement.name,
            code=placement.code,
            labels=placement.labels,
        )

    # -- by ticket ------------------------------------------------------------------------------------------

    async def _seat_by_ticket(self, subscriber: Subscriber, text: str, options: dict[str, Any]) -> Seat | Redirect:
        ticket = verify(text, self._keys, self._now_s())
        if ticket.is_guest != subscriber.is_guest:
            raise BadTicket("it is for another player")
        if not ticket.is_guest and ticket.player_id != subscriber.player_id:
            raise BadTicket("it is for another player")
        await self._until_at_rest(ticket.room_id)
        if ticket.shard_id != self._shard_id or self._has_left(ticket, self._moved):
            return await self._follow_room(ticket)
        if self._has_left(ticket, self._ended):
            raise NoSuchRoom("the ticket's room has ended: join by type or name")
        self.admissions.admit(ticket, self._now_s())
        try:
            simulation = await self._make_sure(ticket, options)
            if simulation.epoch != ticket.epoch:
                raise NoSuchRoom("the ticket's room has had another owner since: join by type or name")
            seat = await self._seat(
                simulation, subscriber, ticket.player_id, options, team=ticket.team, skill=ticket.skill
            )
        except BaseException:
            # It may try again, for as long as the ticket lives and there is a seat; none is held for it meanwhile.
            self.admissions.withdraw(ticket)
            self._leaseholder.unseated(ticket.room_id, ticket.player_id, ticket.epoch)
            raise
        self._leaseholder.seated(seat, simulation.epoch)
        return seat

    async def _until_at_rest(self, room_id: str) -> None:
        """Wait while a room is moving: it is soon here again, or elsewhere. The join has a deadline."""
        while (simulation := self._host.get(room_id)) is not None and simulation.is_frozen:
            await asyncio.sleep(MOVING_PAUSE_S)

    async def _follow_room(self, ticket: Ticket) -> Redirect:
        """Return a ticket for a room that has moved since the one before was signed; its seat has moved with it.

        Raises:
            NoSuchRoom: the room has ended.
        """
        home = await self._matchmaker.directory.home_of(ticket.room_id)
        if home is not None and home.shard_id == ticket.shard_id != self._shard_id and home.url:
            return self.redirect(ticket, home.url)  # the player was moved since
        if home is None or not home.url or home.shard_id == self._shard_id or home.epoch <= ticket.epoch:
            raise NoSuchRoom("the ticket's room is not here any more: join by type or name")
        self.admissions.admit(ticket, self._now_s())
        moved = msgspec.structs.replace(ticket, shard_id=home.shard_id, epoch=home.epoch, ticket_id=new_ticket_id())
        return self.redirect(moved, home.url)

    # -- both -----------------------------------------------------------------------------------------------

    async def _seat(
        self,
        simulation: RoomRuntime,
        subscriber: Subscriber,
        player_id: str,
        options: Mapping[str, Any],
        *,
        team: int = 0,
        skill: float = 0.0,
    ) -> Seat:
        def on_ended(seat: Seat) -> None:
            self._leaseholder.unseated(seat.room_id, seat.player_id, simulation.epoch)

        room_id, record = simulation.room.room_id, None
        if simulation.room.uses_ledger:
            record = (await self._dealing.load([player_id]))[player_id]
        return self._host.seat(
            room_id, subscriber, player_id, options, on_ended, team=team, skill=skill, record=record
        )

    async def _make_sure(self, ticket: Ticket, options: dict[str, Any]) -> RoomRuntime:
        """The ticket's room, which runs here from now on; made once, whoever asks at the same time."""
        room_id = ticket.room_id
        simulation = self._host.get(room_id)
        if simulation is not None:
            return simulation
        async with self._making.setdefault(room_id, asyncio.Lock()):
            try:
                return self._host.get(room_id) or await self._make(ticket, options)
            finally:
                self._making.pop(room_id, None)

    async def _make(self, ticket: Ticket, options: dict[str, Any]) -> RoomRuntime:
        room_class = self._host.type_of(ticket.room_type)
        saved: RoomCheckpoint | None = None
        epoch, records = ticket.epoch, {}
        if room_class.durable and ticket.name:
            saved, epoch = await self._claim(ticket)
        if saved is not None:
            saved = await self._salvaged(ticket.room_type, ticket.room_id, ticket.name, epoch, saved)
        if saved is not None and room_class.uses_ledger:
            # After the claim: nothing more is booked in this room by those who had it before.
            records = await self._dealing.load([seat.player_id for seat in saved.seats])
            saved = msgspec.structs.replace(saved, seats=await self._dealing.answered(saved.seats))
        restored = _Restored(self.reviver)
        try:
            return self._host.create(
                room_id=ticket.room_id,
                room_type=ticket.room_type,
                name=ticket.name,
                epoch=epoch,
                options=options,
                saved=saved,
                code=ticket.code,
                labels=ticket.labels,
                mode=ticket.mode,
                reviver=restored,
                on_ended=lambda seat: self._leaseholder.unseated(seat.room_id, seat.player_id, epoch),
                records=records,
            )
        finally:  # also where the room's code raised: its players keep their sessions
            for session in restored:
                self.reviver.settle(session)

    def settle(self, simulation: RoomRuntime) -> None:
        """Take in the sessions of a room that has come from another shard, and is ours."""
        for seat in list(simulation.seats):
            self.reviver.settle(seat.subscriber)

    async def remake(
        self, room_id: str, room_type: str, name: str, saved: RoomCheckpoint, *, code: str, mode: str
    ) -> RoomRuntime:
        """A room that comes from another shard, with those who play in it: made, and not yet ticking, under no epoch.

        Raises:
            TickwireError: this build does not host it, its code raised, or MongoDB does not answer.
        """
        room_class, records = self._host.type_of(room_type), {}
        saved = await self._salvaged(room_type, room_id, name, 0, saved)
        if room_class.uses_ledger:
            records = await self._dealing.load([seat.player_id for seat in saved.seats])
            saved = msgspec.structs.replace(saved, seats=await self._dealing.answered(saved.seats))
        return self._host.prepare(
            room_id=room_id,
            room_type=room_type,
            name=name,
            saved=saved,
            code=code,
            mode=mode,
            reviver=self.reviver,
            on_ended=lambda seat: self._leaseholder.unseated(seat.room_id, seat.player_id, seat.simulation.epoch),
            records=records,
        )

    async def _salvaged(
        self, room_type: str, room_id: str, name: str, epoch: int, saved: RoomCheckpoint
    ) -> RoomCheckpoint:
        """A saved state that can be read; parts that did not fit when they were saved are kept in the quarantine."""
        saved = self._host.salvage(room_type, room_id, saved)
        return await self._saver.quarantine(world_key(room_type, name or room_id), epoch, saved)

    async def _claim(self, ticket: Ticket) -> tuple[RoomCheckpoint | None, int]:
        """The saved state and the epoch under which it is ours."""
        try:
            return await self._saver.claim(ticket.room_type, ticket.name, ticket.epoch), ticket.epoch
        except StaleEpoch as error:
            # Redis says that the room is ours, and the store knows a greater epoch: Redis was emptied since, and
            # counts from the beginning. If it is ours still, it gets an epoch that is above; else this raises.
            log.warning("epoch_behind_store", room_id=ticket.room_id, epoch=ticket.epoch, newest=error.newest)
            epoch = await self._matchmaker.leases.raise_epoch(
                ticket.room_id, shard_id=self._shard_id, epoch=ticket.epoch, above=error.newest
            )
            return await self._saver.claim(ticket.room_type, ticket.name, epoch), epoch


def decode_map(data: bytes, kind: type[T], what: str) -> T:
    """A msgpack map that a client has sent; an empty one for no bytes.

    Raises:
        Malformed: it is none.
    """
    try:
        value: T = decode_payload(data or b"\x80", kind)
        return value
    except MalformedMessage as error:
        raise Malformed(f"the {what} are not a msgpack map as it should be: {error}") from error


def told(error: MatchmakingError) -> TickwireError:
    """What the matchmaker raised, as a client is told of it."""
    match error:
        case NoSeatLeft():
            return RoomFull(str(error), retry_after_ms=1000)
        case NobodyGoesIn():
            return RoomLocked(str(error))
        case RoomNotFound():
            return NoSuchRoom(str(error))
        case StaleLease():
            return NoSuchRoom("the room has another owner since: join again", retry_after_ms=500)
        case BadTicket():
            return Unauthorized(f"the ticket is not good: {error}")
        case BadRequest():
            return Malformed(str(error))
        case MatchmakerUnavailable():
            return Unavailable(f"no room can be found now: {error}", retry_after_ms=error.retry_after_ms)
        case _:
            log.error("matchmaking_failed", error=error.detail)
            return Unavailable("no room can be found now", retry_after_ms=1000)
