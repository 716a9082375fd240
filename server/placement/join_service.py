"""Seats sessions in rooms. The matchmaker chooses the shard; this shard creates the room or redirects the client.

The path of one Join:
    with a ticket     the ticket is verified here, without Redis, and admitted once
    without a ticket  the matchmaker places the player atomically in Redis: a seat here, or a reservation elsewhere
    on this shard     the room is created unless it runs already; a durable room is restored under its epoch
    elsewhere         the client receives a Redirect with a signed ticket
    seated            the directory receives the seat of a ticket's player in the background
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import structlog

from tickwire.matchmaking import (
    Matchmaker,
    MatchmakingError,
    Party,
    Placement,
    PlaceRequest,
    RoomNotCreated,
    Ticket,
    new_ticket_id,
)
from tickwire.schemas.messages import Join, ListRooms, Redirect, RoomList
from tickwire.schemas.payloads import encode_payload
from tickwire.server.errors import Malformed, NoSuchRoom, RateLimited, Unavailable
from tickwire.server.placement.client_errors import decode_options, to_client_error
from tickwire.server.placement.hosted_rooms import HostedRooms
from tickwire.server.placement.room_list import RoomListService
from tickwire.server.placement.room_quota import RoomQuota
from tickwire.server.placement.ticket_service import TicketService
from tickwire.server.rooms.seat import Seat, SeatRequest
from tickwire.server.rooms.subscriber import Subscriber
from tickwire.server.shard_identity import ShardIdentity

log = structlog.get_logger(__name__)

ROOM_NAME_CHARACTERS_MAX = 64


class JoinService:
    """Seats sessions in rooms of this shard, or redirects them. Implements `RoomJoiner`.

    Args:
        shard: the identity of this shard.
        matchmaker: places players and locates rooms.
        rooms: the rooms of this shard.
        tickets: signs and verifies tickets.
        quota: limits the rooms that players may create.

    Attributes:
        is_draining: whether the shard accepts no new players.
        tickets: as passed.
    """

    def __init__(
        self,
        shard: ShardIdentity,
        matchmaker: Matchmaker,
        rooms: HostedRooms,
        tickets: TicketService,
        quota: RoomQuota,
    ) -> None:
        self.is_draining = False
        self._shard = shard
        self._matchmaker = matchmaker
        self._rooms = rooms
        self.tickets = tickets
        self._quota = quota
        self._room_lists = RoomListService(matchmaker.directory, shard.region, matchmaker.clock.now_s)

    async def join(self, subscriber: Subscriber, join: Join, *, seals_options: bool = False) -> Seat | Redirect:
        """See `tickwire.server.edge.services.RoomJoiner.join`."""
        options = decode_options(join.options, dict[str, Any], "options")
        try:
            if join.ticket:
                return await self._seat_by_ticket(subscriber, join.ticket, options)
            sealed = encode_payload(options) if seals_options else b""
            return await self._seat_by_request(subscriber, join, options, sealed)
        except MatchmakingError as error:
            raise to_client_error(error) from error

    def check_options(self, room_type: str, options: Mapping[str, Any]) -> None:
        """Check the options of a player before it is queued for a match, whose room it may have to create.

        Raises:
            NoSuchRoomType, InvalidArgument, RoomFailed: see `tickwire.server.rooms.host.RoomHost.check_options`.
        """
        self._rooms.check_options(room_type, options, may_create=True)

    async def list_rooms(self, request: ListRooms) -> RoomList:
        """See `tickwire.server.edge.services.RoomJoiner.list_rooms`."""
        self._rooms.get_room_class(request.room_type)
        try:
            return await self._room_lists.list_rooms(request)
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
            shard_id=self._shard.shard_id,
            region=self._shard.region,
            seats=self._rooms.get_room_class(room_type).max_players,
            labels=labels,
            name=name,
            may_enter=True,
            is_durable=True,
        )
        try:
            placement = await self._matchmaker.placement.place(request)
            if placement.shard_id != self._shard.shard_id:
                return Redirect(placement.url, room_type=room_type, room_name=name, is_resume=True)
            await self._rooms.get_or_create(self.tickets.create(placement, player_id, is_guest=False), {})
        except MatchmakingError as error:
            raise to_client_error(error) from error
        return None

    # -- by request -----------------------------------------------------------------------------------------

    async def _seat_by_request(
        self, subscriber: Subscriber, join: Join, options: dict[str, Any], sealed: bytes
    ) -> Seat | Redirect:
        request = self._create_place_request(subscriber, join)
        self._rooms.check_options(join.room_type, options)  # before it takes a seat
        placement = await self._place(subscriber, request)
        ticket = self.tickets.create(placement, subscriber.player_id, is_guest=subscriber.is_guest)
        ticket = msgspec.structs.replace(ticket, options=sealed)
        if placement.shard_id != self._shard.shard_id:
            return self.tickets.create_redirect(ticket, placement.url)
        try:
            await self._rooms.wait_until_unfrozen(placement.room_id)
            if self.tickets.has_moved(ticket):
                return await self._follow_room(ticket)
            runtime = await self._rooms.get_or_create(ticket, options)
            return await self._rooms.seat(runtime, SeatRequest(subscriber, subscriber.player_id, options))
        except BaseException:  # a cancellation too: the session may have ended in the meantime
            self._rooms.publisher.seat_released(placement.room_id, subscriber.player_id, placement.epoch)
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
        room_class = self._rooms.get_room_class(join.room_type)
        return PlaceRequest(
            room_type=join.room_type,
            players=(subscriber.player_id,),
            shard_id=self._shard.shard_id,
            region=self._shard.region,
            seats=room_class.max_players,
            labels=decode_options(join.labels, dict[str, str], "labels"),
            name=join.room_name or None,
            room_id=join.room_id or None,
            code=join.code or None,
            is_private=join.is_private,
            party=Party(join.party, join.party_size) if join.party else None,
            seat_here=True,
            is_durable=room_class.durable,
        )

    # -- by ticket ------------------------------------------------------------------------------------------

    async def _seat_by_ticket(self, subscriber: Subscriber, text: str, options: dict[str, Any]) -> Seat | Redirect:
        ticket = self.tickets.verify(text, subscriber)
        await self._rooms.wait_until_unfrozen(ticket.room_id)
        if ticket.shard_id != self._shard.shard_id or self.tickets.has_moved(ticket):
            return await self._follow_room(ticket)
        if self.tickets.has_ended(ticket):
            raise NoSuchRoom("the ticket's room has ended: join by type or name")
        if ticket.options:
            options = decode_options(ticket.options, dict[str, Any], "options")
        self._rooms.check_options(ticket.room_type, options)  # before it uses the ticket
        self.tickets.mark_used(ticket)
        try:
            runtime = await self._rooms.get_or_create(ticket, options)
            if runtime.epoch != ticket.epoch:
                raise NoSuchRoom("the ticket's room has changed its owner since: join by type or name")
            request = SeatRequest(subscriber, ticket.player_id, options, team=ticket.team, skill=ticket.skill)
            seat = await self._rooms.seat(runtime, request)
        except BaseException:
            # The client may retry until the ticket expires, if a seat is free; the reservation is released now.
            self.tickets.mark_unused(ticket)
            self._rooms.publisher.seat_released(ticket.room_id, ticket.player_id, ticket.epoch)
            raise
        self._rooms.publisher.seat_taken(seat, runtime.epoch)
        return seat

    async def _follow_room(self, ticket: Ticket) -> Redirect:
        """Redirect a player to the shard that has the ticket's room now; the reservation has moved with the room.

        Raises:
            NoSuchRoom: the room has ended.
            BadTicket: the ticket was used before.
            MatchmakerUnavailable: Redis does not answer.
        """
        location = await self._matchmaker.directory.locate_room(ticket.room_id, shard_id=self._shard.shard_id)
        if location is not None and location.shard_id == ticket.shard_id != self._shard.shard_id and location.url:
            # The session has moved since the ticket was signed.
            return self.tickets.create_redirect(ticket, location.url)
        if (
            location is None
            or not location.url
            or location.shard_id == self._shard.shard_id
            or location.epoch <= ticket.epoch
        ):
            raise NoSuchRoom("the ticket's room does not exist any more: join by type or name")
        self.tickets.mark_used(ticket)
        moved = msgspec.structs.replace(
            ticket, shard_id=location.shard_id, epoch=location.epoch, ticket_id=new_ticket_id()
        )
        return self.tickets.create_redirect(moved, location.url)
