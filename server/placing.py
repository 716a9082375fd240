"""Finds a room for a session: the matchmaker says where, this shard makes the room or redirects.

One Join, followed:
    ticket   verified here, without asking Redis: the room must be on this shard
    else     the matchmaker places the player (atomic, in Redis) and holds a seat for a while
    then     here: the room is made if it is not yet running, durable ones from the store under their epoch;
             elsewhere: a Redirect with a signed ticket
    last     the reservation becomes a seat, and the player is in

Two joins may want the same new room at once: it is made once, the second waits for the first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from matchmaking import BadTicket, Matchmaker, MatchmakingError, Placement, Ticket, TicketKeys, sign, verify
from matchmaking import RoomFull as NoSeatLeft
from schemas.messages import Join, Redirect
from server.errors import Malformed, NoSuchRoom, RoomFull, TickwireError, Unauthorized, Unavailable
from server.rooms.host import RoomHost
from server.rooms.ports import Subscriber
from server.rooms.seat import Seat
from server.rooms.simulation import RoomState
from server.saving import Saver

log = structlog.get_logger(__name__)

TICKET_S = 15.0
"""How long a Redirect's ticket is good: as long as the seat is held for it."""
ROOM_NAME_CHARACTERS_MAX = 64


class RoomPlacer:
    """The shard's `Placer`.

    Args:
        shard_id: this shard.
        host: its rooms.
        matchmaker: who says where.
        saver: durable rooms are loaded from and written to it.
        keys: for tickets.
        now_s: UTC, seconds since 1970.
        on_unseated: told of a room and a player whose seat is to be given back.
    """

    def __init__(
        self,
        *,
        shard_id: str,
        host: RoomHost,
        matchmaker: Matchmaker,
        saver: Saver,
        keys: TicketKeys,
        now_s: Callable[[], float],
        on_unseated: Callable[[str, str], None],
    ) -> None:
        self.is_draining = False
        self._shard_id = shard_id
        self._host = host
        self._matchmaker = matchmaker
        self._saver = saver
        self._keys = keys
        self._now_s = now_s
        self._on_unseated = on_unseated
        self._making: dict[str, asyncio.Lock] = {}

    async def place(self, subscriber: Subscriber, join: Join) -> Seat | Redirect:
        """See `server.rooms.ports.Placer.place`."""
        if self.is_draining:
            raise Unavailable("this shard is draining", retry_after_ms=500)
        options = _options(join.options)
        try:
            if join.ticket:
                return await self._seat_by_ticket(subscriber, join.ticket, options)
            return await self._seat_by_type(subscriber, join, options)
        except NoSeatLeft as error:
            raise RoomFull(str(error), retry_after_ms=1000) from error
        except MatchmakingError as error:
            raise Unavailable(f"the matchmaker does not answer: {error}", retry_after_ms=1000) from error

    async def _seat_by_type(self, subscriber: Subscriber, join: Join, options: dict[str, Any]) -> Seat | Redirect:
        room_class = self._host.type_of(join.room_type)
        if len(join.room_name) > ROOM_NAME_CHARACTERS_MAX:
            raise Malformed(f"a room's name has at most {ROOM_NAME_CHARACTERS_MAX} characters")
        placement = await self._matchmaker.place(
            room_type=join.room_type,
            player_id=subscriber.player_id,
            shard_id=self._shard_id,
            seats=room_class.seats,
            name=join.room_name or None,
        )
        if placement.shard_id != self._shard_id:
            return self._redirect(placement, subscriber.player_id)
        try:
            await self._make_sure(placement, options)
            return await self._seat(placement.room_id, placement.epoch, subscriber, subscriber.player_id, options)
        except (TickwireError, MatchmakingError):
            self._on_unseated(placement.room_id, subscriber.player_id)
            raise

    def _redirect(self, placement: Placement, player_id: str) -> Redirect:
        ticket = Ticket(
            room_id=placement.room_id,
            player_id=player_id,
            shard_id=placement.shard_id,
            epoch=placement.epoch,
            expires_at_s=self._now_s() + TICKET_S,
        )
        text = sign(ticket, self._keys)
        return Redirect(placement.url, text, placement.room_type, placement.name or "")

    async def _seat_by_ticket(self, subscriber: Subscriber, text: str, options: dict[str, Any]) -> Seat:
        try:
            ticket = verify(text, self._keys, self._now_s())
        except BadTicket as error:
            raise Unauthorized(f"the ticket is not good: {error}") from error
        simulation = self._host.get(ticket.room_id)
        if ticket.shard_id != self._shard_id or simulation is None or simulation.epoch != ticket.epoch:
            raise NoSuchRoom("the ticket's room is not here any more: join by type or name")
        return await self._seat(ticket.room_id, ticket.epoch, subscriber, ticket.player_id, options)

    async def _seat(
        self, room_id: str, epoch: int, subscriber: Subscriber, player_id: str, options: dict[str, Any]
    ) -> Seat:
        await self._matchmaker.seat(room_id, player_id, epoch)
        return self._host.seat(
            room_id,
            subscriber,
            player_id,
            options,
            lambda seat: self._on_unseated(seat.room_id, seat.player_id),
        )

    async def _make_sure(self, placement: Placement, options: dict[str, Any]) -> None:
        """The placement's room runs here when this returns; made once, whoever asks at the same time."""
        room_id = placement.room_id
        async with self._making.setdefault(room_id, asyncio.Lock()):
            try:
                if self._host.get(room_id) is None:
                    await self._make(placement, options)
            finally:
                self._making.pop(room_id, None)

    async def _make(self, placement: Placement, options: dict[str, Any]) -> None:
        room_class = self._host.type_of(placement.room_type)
        saved: RoomState | None = None
        if room_class.durable and placement.name:
            saved = await self._saver.claim(placement.room_type, placement.name, placement.epoch)
        self._host.create(
            room_id=placement.room_id,
            room_type=placement.room_type,
            name=placement.name or "",
            epoch=placement.epoch,
            options=options,
            saved=saved,
        )


def _options(data: bytes) -> dict[str, Any]:
    if not data:
        return {}
    try:
        return msgspec.msgpack.decode(data, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise Malformed("a Join's options are not a msgpack map") from error
