"""Signs and verifies the tickets of reserved seats, and rejects tickets for rooms that have left this shard.

A ticket is verified without Redis and admitted once. It expires CLOCK_SKEW_S before its reservation.
"""

from __future__ import annotations

from collections.abc import Callable

from tickwire.matchmaking import BadTicket, Placement, Ticket, TicketKeys, UsedTickets, sign, verify
from tickwire.schemas.messages import Redirect
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.subscriber import Subscriber

CLOCK_SKEW_S = 2.0
"""Tickets expire this long before their reservations, because the clocks of two shards may differ."""


class TicketService:
    """The tickets of one shard.

    Args:
        shard_id: the id of the shard.
        keys: sign and verify tickets.
        reservation_s: how long a seat is reserved.
        now_s: the fleet's clock, UTC, seconds since 1970.
    """

    def __init__(self, shard_id: str, keys: TicketKeys, *, reservation_s: float, now_s: Callable[[], float]) -> None:
        self._shard_id = shard_id
        self._keys = keys
        self._reservation_s = reservation_s
        self._now_s = now_s
        self._used = UsedTickets()
        # By room id: the epoch under which a room left this shard, and when the last ticket for it expires.
        self._ended: dict[str, tuple[int, float]] = {}
        self._moved: dict[str, tuple[int, float]] = {}

    def create(self, placement: Placement, player_id: str, *, is_guest: bool) -> Ticket:
        """Return the ticket of a player who was placed."""
        return Ticket(
            room_id=placement.room_id,
            player_id=player_id,
            shard_id=placement.shard_id,
            epoch=placement.epoch,
            expires_at_s=self.expiry_s(),
            is_guest=is_guest,
            room_type=placement.room_type,
            name=placement.name,
            code=placement.code,
            labels=placement.labels,
        )

    def create_redirect(self, ticket: Ticket, url: str) -> Redirect:
        """Return the Redirect that sends a player to its reserved seat."""
        is_here = ticket.shard_id == self._shard_id
        return Redirect("" if is_here else url, sign(ticket, self._keys), ticket.room_type, ticket.name)

    def expiry_s(self) -> float:
        """Return when a ticket that is signed now expires: CLOCK_SKEW_S before its reservation."""
        return self._now_s() + self._reservation_s - CLOCK_SKEW_S

    def verify(self, text: str, subscriber: Subscriber) -> Ticket:
        """Return the ticket that a player presents.

        Raises:
            BadTicket: the ticket is invalid, has expired, or was issued to another player.
        """
        ticket = verify(text, self._keys, self._now_s())
        # A guest's ticket has no other proof than itself, and a guest may have logged in since it was signed.
        if not ticket.is_guest and (subscriber.is_guest or ticket.player_id != subscriber.player_id):
            raise BadTicket("it was issued to another player")
        return ticket

    def mark_used(self, ticket: Ticket) -> None:
        """Admit a ticket.

        Raises:
            BadTicket: the ticket was used before.
        """
        self._used.mark_used(ticket, self._now_s())

    def mark_unused(self, ticket: Ticket) -> None:
        """Let a client use its ticket again, because the join has failed."""
        self._used.mark_unused(ticket)

    # -- rooms that have left -------------------------------------------------------------------------------

    def room_closed(self, runtime: RoomRuntime) -> None:
        """Reject tickets for a room that has ended, so that they do not create it again."""
        self._record_departure(self._ended, runtime)

    def room_moved(self, runtime: RoomRuntime) -> None:
        """Redirect players with tickets for a room that another shard has now."""
        self._record_departure(self._moved, runtime)

    def has_ended(self, ticket: Ticket) -> bool:
        """Return whether the ticket's room has ended on this shard since the ticket was signed."""
        return _has_left(ticket, self._ended)

    def has_moved(self, ticket: Ticket) -> bool:
        """Return whether the ticket's room has moved to another shard since the ticket was signed."""
        return _has_left(ticket, self._moved)

    def _record_departure(self, rooms: dict[str, tuple[int, float]], runtime: RoomRuntime) -> None:
        now = self._now_s()
        for room_id in [room_id for room_id, (_, until) in rooms.items() if until <= now]:
            del rooms[room_id]
        rooms[runtime.room.room_id] = runtime.epoch, now + self._reservation_s


def _has_left(ticket: Ticket, rooms: dict[str, tuple[int, float]]) -> bool:
    epoch, _ = rooms.get(ticket.room_id, (0, 0.0))
    return ticket.epoch <= epoch
