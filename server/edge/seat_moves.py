"""Moves a player from its seat to another room: a join that the room of the seat has requested.

    requested --seat on this shard--> the old seat is given up: Left, then Joined of the new room
        ├--room on another shard--> Redirect with the reserved seat, then Left; the client follows
        └--refused, timeout--> the player keeps its seat

The same service as for a client's Join finds the seat, so the directory, quotas and refusals are the same. A
substitute for the session requests the new seat: nothing of the new room reaches the client before the old seat ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import structlog

from tickwire.schemas.messages import Join, Joined, Message, Redirect
from tickwire.server.edge.context import SessionContext
from tickwire.server.edge.join import request_seat
from tickwire.server.edge.unread_redirect import REPEATED_S, UnreadRedirect
from tickwire.server.rooms.checkpoint import SessionCheckpoint
from tickwire.server.rooms.move_request import MoveRequest
from tickwire.server.rooms.outbox import Outbox
from tickwire.server.rooms.seat import Seat
from tickwire.server.rooms.subscriber import SeatConnection, Subscriber

log = structlog.get_logger(__name__)


class SeatedSession(Subscriber, Protocol):
    """A session, as far as a move uses it."""

    is_redirected: bool
    unread_redirect: UnreadRedirect | None

    @property
    def seat(self) -> Seat | None:
        """The seat of the session."""

    def take_seat(self, seat: Seat) -> None:
        """Take a seat that was found for the session."""

    def note(self, event: str, **details: Any) -> None:
        """Add an event to the history."""


class MovingSession:
    """A `Subscriber` in place of a session that has a seat elsewhere. Keeps what the new room sends.

    Args:
        session: the session.
        player_id: the player of its seat: a guest who came with a ticket, or has logged in since, has another id than
            its session.

    Attributes:
        joined: the Joined of the new room; None before it is sent.
    """

    connection: SeatConnection | None = None
    """Nothing is written until the session has the seat."""

    def __init__(self, session: SeatedSession, player_id: str) -> None:
        self.outbox = Outbox()
        self.joined: Joined | None = None
        self.session_id = session.session_id
        self.player_id = player_id
        self.is_guest = session.is_guest or player_id != session.player_id
        self.address = session.address
        self.schema_version = session.schema_version
        self._session = session

    def send_message(self, message: Message) -> None:
        """Keep the Joined of the new room."""
        if isinstance(message, Joined):
            self.joined = message

    def slow_consumer(self, reason: str) -> None:
        """Do nothing: nothing was sent."""

    def seat_lost(self, reason: str) -> None:
        """Do nothing: the session does not have the seat yet."""

    def seat_moved(self, reason: str, redirect: Redirect | None = None) -> None:
        """Do nothing: the session does not have the seat yet."""

    def start_move(self, request: MoveRequest) -> Callable[[], object] | None:
        """Return None: the session does not have the seat yet."""
        return None

    def to_checkpoint(self) -> SessionCheckpoint:
        """Return the checkpoint of the session."""
        return self._session.to_checkpoint()


def start_move(
    session: SeatedSession, context: SessionContext, seat: Seat, request: MoveRequest
) -> Callable[[], object]:
    """Start to move the player of a seat. Return a function that cancels the move."""
    return context.spawn(_move(session, context, seat, request), f"move {session.session_id}").cancel


async def _move(session: SeatedSession, context: SessionContext, seat: Seat, request: MoveRequest) -> None:
    substitute = MovingSession(session, seat.player_id)
    join = Join(request.room_type, room_name=request.name, options=request.options)
    timeout_s = context.settings.join_timeout_s
    result = await request_seat(context.join_service, substitute, join, timeout_s=timeout_s, seals_options=True)
    # From here to the end nothing waits, so no tick runs while the player has two seats.
    has_seat = session.seat is seat and seat.is_open
    if isinstance(result, Seat):
        if not has_seat:
            result.leave("disconnected")
            return
        context.counters.joins["moved"] += 1
        # The queue is not notified: a match that was found meanwhile is still the player's.
        _change_seat(session, seat, result, substitute, request.reason)
    elif isinstance(result, Redirect):
        if has_seat:
            _send_away(session, context, seat, result, request.reason)
    elif has_seat:
        context.counters.joins[result.code.lower()] += 1
        session.note(
            "move_refused", code=result.code, error=str(result), room_type=join.room_type, room_name=join.room_name
        )
        seat.move_refused(str(result))


def _change_seat(session: SeatedSession, old: Seat, new: Seat, substitute: MovingSession, reason: str) -> None:
    session.seat_lost(reason)
    session.outbox.append(substitute.outbox)
    new.attach(session)
    session.take_seat(new)
    if substitute.joined is not None:
        session.send_message(substitute.joined)
    log.info("player_moved", room_id=new.room_id, **_describe(session, old, reason))
    old.give_up_for_move()


def _send_away(session: SeatedSession, context: SessionContext, old: Seat, redirect: Redirect, reason: str) -> None:
    """Send the client to its reserved seat on another shard."""
    if session.connection is None:
        old.move_refused("the player is disconnected")  # the reservation expires
        return
    context.counters.joins["redirected"] += 1
    session.note("redirected", url=redirect.url, room_type=redirect.room_type, room_name=redirect.room_name)
    # Before Left: a client in a room has no Join in flight that this could answer.
    session.send_message(redirect)
    session.seat_lost(reason)
    session.is_redirected = session.connection is not None
    session.unread_redirect = UnreadRedirect(redirect, old.room_id, reason, context.now_s() + REPEATED_S)
    context.queue.cancel(session, "the player was moved to another shard")
    log.info("player_moved", url=redirect.url, **_describe(session, old, reason))
    old.give_up_for_move()


def _describe(session: SeatedSession, old: Seat, reason: str) -> dict[str, str]:
    return {
        "player_id": old.player_id,
        "session_id": session.session_id,
        "from_room_id": old.room_id,
        "reason": reason,
    }
