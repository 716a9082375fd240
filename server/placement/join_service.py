"""Seats sessions in rooms. The matchmaker chooses the shard; this shard creates the room or redirects the client.

The path of one Join:
    with a ticket     the ticket is verified here, without Redis, and admitted once
    without a ticket  the matchmaker places the player atomically in Redis: a seat here, or a reservation elsewhere
    on this shard     the room is created unless it runs already; a durable room is restored under its epoch
    elsewhere         the client receives a Redirect with a signed ticket
    seated            the directory receives the seat of a ticket's player in the background

Concurrent joins for the same new room create it once: the others wait for the first one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakValueDictionary

import msgspec
import structlog

from tickwire.matchmaking import (
    BadTicket,
    Matchmaker,
    MatchmakingError,
    Party,
    Placement,
    PlaceRequest,
    RoomNotCreated,
    Ticket,
    TicketKeys,
    UsedTickets,
    new_ticket_id,
    sign,
    verify,
)
from tickwire.schemas.messages import Join, Redirect
from tickwire.server.errors import Malformed, NoSuchRoom, RateLimited, StaleEpoch, Unavailable
from tickwire.server.persistence.saver import RoomSaver
from tickwire.server.persistence.transactions import TransactionService
from tickwire.server.placement.client_errors import decode_options, to_client_error
from tickwire.server.placement.lease_keeper import LeaseKeeper
from tickwire.server.placement.room_quota import RoomQuota
from tickwire.server.rooms.checkpoint import RoomCheckpoint, SessionCheckpoint
from tickwire.server.rooms.factory import RestoreRequest, RoomSpec
from tickwire.server.rooms.host import RoomHost
from tickwire.server.rooms.ports import SessionRestorer, SessionSource
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat, SeatRequest, Subscriber
from tickwire.server.storage import world_key

log = structlog.get_logger(__name__)

CLOCK_SKEW_S = 2.0
"""Tickets expire this long before their reservations, because the clocks of two shards may differ."""
ROOM_NAME_CHARACTERS_MAX = 64
FREEZE_POLL_INTERVAL_S = 0.02
"""How often a join checks whether a room that is migrating has completed its migration."""


class _RestoredSessions(list[Subscriber]):
    """Collects the sessions that are restored with a room, to register them afterwards."""

    def __init__(self, restorer: SessionRestorer) -> None:
        super().__init__()
        self._restorer = restorer

    def restore(self, checkpoint: SessionCheckpoint, /) -> Subscriber | None:
        """See `tickwire.server.rooms.ports.SessionSource.restore`."""
        session = self._restorer.restore(checkpoint)
        if session is not None:
            self.append(session)
        return session


class JoinService:
    """Seats sessions in rooms of this shard, or redirects them. Implements `RoomJoiner`.

    Args:
        shard_id: the id of this shard.
        region: the region of this shard.
        host: the rooms of this shard.
        matchmaker: places players and locates rooms.
        lease_keeper: publishes seats to the directory.
        saver: loads durable rooms.
        transactions: loads player records and stored command replies.
        session_restorer: restores the sessions of a saved room.
        quota: limits the rooms that players may create.
        keys: sign and verify tickets.
        now_s: the fleet's clock, UTC, seconds since 1970.

    Attributes:
        is_draining: whether the shard accepts no new players.
        session_restorer: as passed.
        incoming_rooms: ids of rooms that are being received from other shards.
    """

    def __init__(
        self,
        *,
        shard_id: str,
        region: str,
        host: RoomHost,
        matchmaker: Matchmaker,
        lease_keeper: LeaseKeeper,
        saver: RoomSaver,
        transactions: TransactionService,
        session_restorer: SessionRestorer,
        quota: RoomQuota,
        keys: TicketKeys,
        now_s: Callable[[], float],
    ) -> None:
        self.is_draining = False
        self.session_restorer = session_restorer
        self.incoming_rooms: set[str] = set()
        self._used_tickets = UsedTickets()
        self._shard_id = shard_id
        self._region = region
        self._host = host
        self._matchmaker = matchmaker
        self._lease_keeper = lease_keeper
        self._saver = saver
        self._transactions = transactions
        self._quota = quota
        self._keys = keys
        self._now_s = now_s
        # A lock exists while a join holds it or waits for it.
        self._creation_locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        # By room id: the epoch under which a room left this shard, and when the last ticket for it expires.
        self._ended: dict[str, tuple[int, float]] = {}
        self._moved: dict[str, tuple[int, float]] = {}

    async def join(self, subscriber: Subscriber, join: Join) -> Seat | Redirect:
        """See `tickwire.server.edge.services.RoomJoiner.join`."""
        options = decode_options(join.options, dict[str, Any], "options")
        try:
            if join.ticket:
                return await self._seat_by_ticket(subscriber, join.ticket, options)
            return await self._seat_by_request(subscriber, join, options)
        except MatchmakingError as error:
            raise to_client_error(error) from error

    async def recover_room(
        self, player_id: str, room_type: str, name: str, labels: Mapping[str, str]
    ) -> Redirect | None:
        """Recover a durable room whose shard is lost, for a player who was in it.

        Returns:
            A Redirect if another shard has the room or is to recover it; None if it runs on this shard now.

        Raises:
            TickwireError: as `join`.
        """
        if self.is_draining:
            raise Unavailable("this shard is draining", retry_after_ms=500)
        request = PlaceRequest(
            room_type=room_type,
            players=(player_id,),
            shard_id=self._shard_id,
            region=self._region,
            seats=self._host.get_room_class(room_type).seats,
            labels=labels,
            name=name,
            may_enter=True,
            is_durable=True,
        )
        try:
            placement = await self._matchmaker.placement.place(request)
            if placement.shard_id != self._shard_id:
                return Redirect(placement.url, room_type=room_type, room_name=name, is_resume=True)
            await self._get_or_create_room(self._create_ticket(placement, player_id, is_guest=False), {})
        except MatchmakingError as error:
            raise to_client_error(error) from error
        return None

    def create_redirect(self, ticket: Ticket, url: str) -> Redirect:
        """Return the Redirect that sends a player to its reserved seat."""
        is_here = ticket.shard_id == self._shard_id
        return Redirect("" if is_here else url, sign(ticket, self._keys), ticket.room_type, ticket.name)

    def ticket_expiry_s(self) -> float:
        """Return when a ticket that is signed now expires: CLOCK_SKEW_S before its reservation."""
        return self._now_s() + self._matchmaker.ttls.reservation_ms / 1000 - CLOCK_SKEW_S

    def room_closed(self, runtime: RoomRuntime) -> None:
        """Reject tickets for a room that has ended, so that they do not create it again."""
        self._record_departure(self._ended, runtime)

    def room_moved(self, runtime: RoomRuntime) -> None:
        """Redirect players with tickets for a room that another shard has now."""
        self._record_departure(self._moved, runtime)

    def _record_departure(self, rooms: dict[str, tuple[int, float]], runtime: RoomRuntime) -> None:
        now = self._now_s()
        for room_id in [room_id for room_id, (_, until) in rooms.items() if until <= now]:
            del rooms[room_id]
        rooms[runtime.room.room_id] = runtime.epoch, now + self._matchmaker.ttls.reservation_ms / 1000

    def _has_left(self, ticket: Ticket, rooms: dict[str, tuple[int, float]]) -> bool:
        epoch, _ = rooms.get(ticket.room_id, (0, 0.0))
        return ticket.epoch <= epoch

    # -- by request -----------------------------------------------------------------------------------------

    async def _seat_by_request(self, subscriber: Subscriber, join: Join, options: dict[str, Any]) -> Seat | Redirect:
        placement = await self._place(subscriber, self._create_place_request(subscriber, join))
        ticket = self._create_ticket(placement, subscriber.player_id, is_guest=subscriber.is_guest)
        if placement.shard_id != self._shard_id:
            return self.create_redirect(ticket, placement.url)
        try:
            await self._wait_until_unfrozen(placement.room_id)
            if self._has_left(ticket, self._moved):
                return await self._follow_room(ticket)
            runtime = await self._get_or_create_room(ticket, options)
            return await self._seat(runtime, SeatRequest(subscriber, subscriber.player_id, options))
        except BaseException:  # a cancellation too: the session may have ended in the meantime
            self._lease_keeper.seat_released(placement.room_id, subscriber.player_id, placement.epoch)
            raise

    async def _place(self, subscriber: Subscriber, request: PlaceRequest) -> Placement:
        """Place a player. A new room that the request describes counts against the quota of the player.

        Raises:
            RateLimited: the room would have to be created, and the quota is used up.
            MatchmakingError: the player cannot be placed.
        """
        if not (request.name or request.is_private or request.labels or request.party):
            return await self._matchmaker.placement.place(request)
        player_id, address = subscriber.player_id, subscriber.address
        wait_ms = self._quota.wait_ms(player_id, address)
        try:
            placement = await self._matchmaker.placement.place(
                msgspec.structs.replace(request, may_create=not wait_ms)
            )
        except RoomNotCreated as error:
            raise RateLimited("too many rooms were created; join one that exists", retry_after_ms=wait_ms) from error
        if placement.is_new:
            self._quota.spend(player_id, address)
        return placement

    def _create_place_request(self, subscriber: Subscriber, join: Join) -> PlaceRequest:
        if len(join.room_name) > ROOM_NAME_CHARACTERS_MAX:
            raise Malformed(
                f"room_name: must have at most {ROOM_NAME_CHARACTERS_MAX} characters, not {len(join.room_name)}"
            )
        room_class = self._host.get_room_class(join.room_type)
        return PlaceRequest(
            room_type=join.room_type,
            players=(subscriber.player_id,),
            shard_id=self._shard_id,
            region=self._region,
            seats=room_class.seats,
            labels=decode_options(join.labels, dict[str, str], "labels"),
            name=join.room_name or None,
            room_id=join.room_id or None,
            code=join.code or None,
            is_private=join.is_private,
            party=Party(join.party, join.party_size) if join.party else None,
            seat_here=True,
            is_durable=room_class.durable,
        )

    def _create_ticket(self, placement: Placement, player_id: str, *, is_guest: bool) -> Ticket:
        return Ticket(
            room_id=placement.room_id,
            player_id=player_id,
            shard_id=placement.shard_id,
            epoch=placement.epoch,
            expires_at_s=self.ticket_expiry_s(),
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
            raise BadTicket("it was issued to another player")
        if not ticket.is_guest and ticket.player_id != subscriber.player_id:
            raise BadTicket("it was issued to another player")
        await self._wait_until_unfrozen(ticket.room_id)
        if ticket.shard_id != self._shard_id or self._has_left(ticket, self._moved):
            return await self._follow_room(ticket)
        if self._has_left(ticket, self._ended):
            raise NoSuchRoom("the ticket's room has ended: join by type or name")
        self._used_tickets.mark_used(ticket, self._now_s())
        try:
            runtime = await self._get_or_create_room(ticket, options)
            if runtime.epoch != ticket.epoch:
                raise NoSuchRoom("the ticket's room has changed its owner since: join by type or name")
            request = SeatRequest(subscriber, ticket.player_id, options, team=ticket.team, skill=ticket.skill)
            seat = await self._seat(runtime, request)
        except BaseException:
            # The client may retry until the ticket expires, if a seat is free; the reservation is released now.
            self._used_tickets.mark_unused(ticket)
            self._lease_keeper.seat_released(ticket.room_id, ticket.player_id, ticket.epoch)
            raise
        self._lease_keeper.seat_taken(seat, runtime.epoch)
        return seat

    async def _wait_until_unfrozen(self, room_id: str) -> None:
        """Wait while a room is migrating: it soon resumes here or runs elsewhere. The join has a deadline."""
        while (runtime := self._host.get(room_id)) is not None and runtime.is_frozen:
            await asyncio.sleep(FREEZE_POLL_INTERVAL_S)

    async def _follow_room(self, ticket: Ticket) -> Redirect:
        """Redirect a player to the shard that has the ticket's room now; the reservation has moved with the room.

        Raises:
            NoSuchRoom: the room has ended.
            BadTicket: the ticket was used before.
            MatchmakerUnavailable: Redis does not answer.
        """
        location = await self._matchmaker.directory.locate_room(ticket.room_id)
        if location is not None and location.shard_id == ticket.shard_id != self._shard_id and location.url:
            return self.create_redirect(ticket, location.url)  # the session has moved since the ticket was signed
        if (
            location is None
            or not location.url
            or location.shard_id == self._shard_id
            or location.epoch <= ticket.epoch
        ):
            raise NoSuchRoom("the ticket's room does not exist any more: join by type or name")
        self._used_tickets.mark_used(ticket, self._now_s())
        moved = msgspec.structs.replace(
            ticket, shard_id=location.shard_id, epoch=location.epoch, ticket_id=new_ticket_id()
        )
        return self.create_redirect(moved, location.url)

    # -- rooms ----------------------------------------------------------------------------------------------

    async def _seat(self, runtime: RoomRuntime, request: SeatRequest) -> Seat:
        """Seat a player in a room of this shard, with the player's record if the room uses the ledger."""

        def on_ended(seat: Seat) -> None:
            self._lease_keeper.seat_released(seat.room_id, seat.player_id, runtime.epoch)

        if runtime.room.uses_ledger:
            records = await self._transactions.load([request.player_id])
            request = msgspec.structs.replace(request, record=records[request.player_id])
        return self._host.seat(runtime.room.room_id, request, on_ended)

    async def _get_or_create_room(self, ticket: Ticket, options: dict[str, Any]) -> RoomRuntime:
        """Return the ticket's room, creating it if it does not run here. Concurrent calls create it once."""
        room_id = ticket.room_id
        runtime = self._host.get(room_id)
        if runtime is not None:
            return runtime
        async with self._creation_locks.setdefault(room_id, asyncio.Lock()):
            return self._host.get(room_id) or await self._create_room(ticket, options)

    async def _create_room(self, ticket: Ticket, options: dict[str, Any]) -> RoomRuntime:
        room_class = self._host.get_room_class(ticket.room_type)
        checkpoint: RoomCheckpoint | None = None
        epoch = ticket.epoch
        if room_class.durable and ticket.name:
            checkpoint, epoch = await self._claim(ticket)
        spec = RoomSpec(
            ticket.room_id, ticket.room_type, ticket.name, ticket.code, ticket.labels, ticket.mode, epoch=epoch
        )
        if checkpoint is None:
            return self._host.create(spec, options)
        sessions = _RestoredSessions(self.session_restorer)
        # After the claim: earlier owners of the room can commit no more transactions.
        request = await self._create_restore_request(spec, checkpoint, sessions)
        try:
            return self._host.restore(spec, request)
        finally:  # if the room's code raised, its players keep their sessions
            for session in sessions:
                self.session_restorer.settle(session)

    def settle_sessions(self, runtime: RoomRuntime) -> None:
        """Register the restored sessions of a room that this shard has claimed from another."""
        for seat in list(runtime.seats):
            self.session_restorer.settle(seat.subscriber)

    async def prepare_room(self, spec: RoomSpec, checkpoint: RoomCheckpoint) -> RoomRuntime:
        """Create a room that another shard transfers, with its players. It has no epoch and does not tick yet.

        Raises:
            TickwireError: this build does not host the room type, the room's code raised, or MongoDB does not answer.
        """
        request = await self._create_restore_request(spec, checkpoint, self.session_restorer)
        return self._host.prepare(spec, request)

    async def _create_restore_request(
        self, spec: RoomSpec, checkpoint: RoomCheckpoint, sessions: SessionSource
    ) -> RestoreRequest:
        """Prepare a checkpoint for the host, with the records and stored replies of its players.

        The parts of the checkpoint that do not fit their declaration go to the quarantine.

        Raises:
            TickwireError: the checkpoint cannot be read, or MongoDB does not answer.
        """
        room_class, records = self._host.get_room_class(spec.room_type), {}
        checkpoint = self._host.salvage(spec.room_type, spec.room_id, checkpoint)
        key = world_key(spec.room_type, spec.name or spec.room_id)
        checkpoint = await self._saver.quarantine(key, spec.epoch, checkpoint)
        if room_class.uses_ledger:
            records = await self._transactions.load([seat.player_id for seat in checkpoint.seats])
            seats = await self._transactions.add_replies(checkpoint.seats)
            checkpoint = msgspec.structs.replace(checkpoint, seats=seats)

        def on_ended(seat: Seat) -> None:
            self._lease_keeper.seat_released(seat.room_id, seat.player_id, seat.runtime.epoch)

        return RestoreRequest(checkpoint, sessions, on_ended, records)

    async def _claim(self, ticket: Ticket) -> tuple[RoomCheckpoint | None, int]:
        """Claim a durable room in the store.

        Returns:
            The saved checkpoint, or None for a new room; and the epoch under which this shard owns the room.

        Raises:
            StaleLease: another shard owns the room.
            TickwireError: the world cannot be read, or MongoDB does not answer.
        """
        try:
            return await self._saver.claim(ticket.room_type, ticket.name, ticket.epoch), ticket.epoch
        except StaleEpoch as error:
            # The store has seen a greater epoch than Redis: Redis has lost its data and counts from the beginning. If
            # this shard still owns the room, it gets an epoch above the stored one; otherwise this raises.
            log.warning("epoch_behind_store", room_id=ticket.room_id, epoch=ticket.epoch, newest=error.newest)
            epoch = await self._matchmaker.leases.raise_epoch(
                ticket.room_id, shard_id=self._shard_id, epoch=ticket.epoch, above=error.newest
            )
            return await self._saver.claim(ticket.room_type, ticket.name, epoch), epoch
