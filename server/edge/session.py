"""A session: a player's presence on this shard. It outlives its connections.

    idle --Join--> joining --seat--> seated --Leave, room closed--> idle
                      └--redirect, refused--> idle
    any state --ended--> closed

Except when closed, a session is either connected or disconnected. `tickwire.server.edge.session_connections` attaches
a connection under a generation that only grows, and detaches the connection before.
`tickwire.server.edge.message_handlers` handles the messages of the client and makes the transitions that they cause.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from typing import Any

import structlog

from tickwire.schemas.messages import (
    ErrorCode,
    Goodbye,
    Left,
    Message,
    Pong,
    Redirect,
)
from tickwire.server.edge.auth.authenticator import Identity
from tickwire.server.edge.close_codes import SessionCloseCode, moved_reason
from tickwire.server.edge.commands import CommandProcessor
from tickwire.server.edge.connection import Connection
from tickwire.server.edge.context import SessionContext
from tickwire.server.edge.generations import Generations
from tickwire.server.edge.seat_moves import start_move
from tickwire.server.edge.session_history import SessionHistory
from tickwire.server.edge.session_messages import encode_message
from tickwire.server.edge.session_token import SessionToken, renew_token
from tickwire.server.edge.token_bucket import TokenBucket
from tickwire.server.edge.unread_redirect import UnreadRedirect
from tickwire.server.errors import Unavailable
from tickwire.server.rooms.checkpoint import SessionCheckpoint
from tickwire.server.rooms.handover import MOVES_MS
from tickwire.server.rooms.move_request import MoveRequest
from tickwire.server.rooms.outbox import Outbox
from tickwire.server.rooms.seat import Seat

log = structlog.get_logger(__name__)


class SessionState(enum.Enum):
    """The states of a session."""

    IDLE = "idle"
    JOINING = "joining"
    SEATED = "seated"
    CLOSED = "closed"


class Session:
    """One player's presence. Implements `tickwire.server.rooms.subscriber.Subscriber`.

    Args:
        identity: the player.
        schema_version: the version of the protocol that the client uses.
        context: the dependencies that all sessions of the shard share.

    Attributes:
        connection: its connection; None while it is disconnected.
        address: the address of its last connection; empty before the first.
        generations: numbers its connections.
        history: its last events on this shard.
        opened_us: when it was opened, on whichever shard, or its guest has logged in: UTC, microseconds since 1970.
        disconnected_since_s: when it lost its last connection, on the clock for time limits; 0 before that.
        close_reason: why the server has closed its connection; empty if it did not.
        seat: its seat; None outside of a room.
        seat_changes: the number of seats that it has taken or left.
        joins: the number of its joins.
        left_room_id, left_reason: the last room that has ended its seat, and the reason. Its client may not have
            received Left.
        from_shard: the shard that it was restored from; empty if it was opened here.
        joining: the task of its current join; None outside of a join.
        join_bucket: limits its joins and match requests.
        list_bucket: limits its lists of rooms; None before the first.
        commands: runs its commands.
        token: the times of the token that the player has authenticated with; None for a guest.
        authenticating: the task that checks a token of a running session; None without one.
        authentication_bucket: limits these checks; None before the first.
        is_redirected: whether its last join was redirected to another shard.
        unread_redirect: of its last move to another shard, while its client may not have received it.
    """

    __slots__ = (
        "_context",
        "_counters",
        "_last_room_id",
        "address",
        "authenticating",
        "authentication_bucket",
        "close_reason",
        "commands",
        "connection",
        "disconnected_since_s",
        "from_shard",
        "generations",
        "history",
        "is_guest",
        "is_redirected",
        "join_bucket",
        "joining",
        "joins",
        "left_reason",
        "left_room_id",
        "list_bucket",
        "opened_us",
        "outbox",
        "player_id",
        "previous_session_id",
        "schema_version",
        "seat",
        "seat_changes",
        "session_id",
        "state",
        "token",
        "unread_redirect",
    )

    def __init__(self, identity: Identity, *, schema_version: int, context: SessionContext) -> None:
        self.session_id = context.create_session_id()
        self.player_id = identity.player_id
        self.is_guest = identity.is_guest
        self.schema_version = schema_version
        self.previous_session_id = ""
        self.token: SessionToken | None = renew_token(None, identity, context.now_us() / 1e6)
        self.authenticating: asyncio.Task[None] | None = None
        self.authentication_bucket: TokenBucket | None = None
        self.connection: Connection | None = None
        self.address = ""
        self.outbox = Outbox()
        self.state = SessionState.IDLE
        self.is_redirected = False
        self.unread_redirect: UnreadRedirect | None = None
        self._context = context
        self._counters = context.counters
        self.commands = CommandProcessor(context)
        self.generations = Generations(context.now_s())
        self.seat_changes = 0
        self.seat: Seat | None = None
        self.joining: asyncio.Task[None] | None = None
        joins_max = context.settings.joins_per_minute_max
        self.join_bucket = TokenBucket(joins_max / 60, joins_max, context.now_s())
        self.list_bucket: TokenBucket | None = None
        self.opened_us = context.now_us()
        self.history = SessionHistory(self.session_id, self.player_id)
        self.disconnected_since_s = 0.0
        self.close_reason = ""
        self.joins = 0
        self.left_room_id = self.left_reason = ""
        self.from_shard = ""
        self._last_room_id = ""

    def to_checkpoint(self) -> SessionCheckpoint:
        """See `tickwire.server.rooms.subscriber.Subscriber.to_checkpoint`."""
        return SessionCheckpoint(
            session_id=self.session_id,
            player_id=self.player_id,
            is_guest=self.is_guest,
            schema_version=self.schema_version,
            generation=self.generations.current,
            used_generation=self.generations.used,
            attempt=self.generations.attempt,
            last_event=self.outbox.last_number,
            frames=self.outbox.frames,
            replies=tuple(self.commands.replies),
            opened_us=self.opened_us,
            seat_changes=self.seat_changes,
            forgotten_command_id=self.commands.replies.evicted_id,
            events_restored_at=self.outbox.restored_at,
            shard_id=self._context.tokens.shard_id,
            joins=self.joins,
            left_room_id=self.left_room_id,
            left_reason=self.left_reason,
            token_expires_at_s=self.token.expires_at_s if self.token is not None else 0.0,
            token_issued_at_s=self.token.issued_at_s if self.token is not None else 0.0,
            token_family_id=self.token.family_id if self.token is not None else "",
        )

    def set_player(self, player_id: str, now_us: int) -> None:
        """Make the session of a guest that of a player who has logged in. Its seat keeps the id of the guest.

        Of several sessions of a player, that of the login is the newest: it was opened last for all shards.
        """
        self.player_id, self.is_guest, self.opened_us = player_id, False, now_us
        self.history.player_id = player_id

    def mark_restored(self) -> None:
        """Note that the session, which was on another shard, is on this one now."""
        self.note("restored", room_id=self.room_id, from_shard=self.from_shard)

    def is_older_than(self, checkpoint: SessionCheckpoint) -> bool:
        """Return whether a copy of this session from another shard is newer than this one.

        The copy that a client is connected to is the newest one.
        """
        ours = self.seat_changes, self.generations.current
        return self.connection is None and (checkpoint.seat_changes, checkpoint.generation) > ours

    @property
    def room_id(self) -> str:
        """The room of its seat; empty outside of a room."""
        return self.seat.room_id if self.seat is not None else ""

    @property
    def room_type(self) -> str:
        """The type of the room of its seat; empty outside of a room."""
        return self.seat.runtime.room.room_type if self.seat is not None else ""

    @property
    def is_moving(self) -> bool:
        """Whether its room is being sent to another shard, with a copy of the session that was made before."""
        return self.seat is not None and self.seat.runtime.handover.is_sealed

    @property
    def is_over(self) -> bool:
        """Whether the session has ended on this shard."""
        return self.state is SessionState.CLOSED

    def check_resumable(self) -> None:
        """Check that a client may resume the session now.

        Raises:
            Unavailable: its room is being sent to another shard, with a copy of the session that was made before.
        """
        if self.is_moving:
            raise Unavailable("the room is moving to another shard; try again", retry_after_ms=MOVES_MS)

    @property
    def has_pending_commands(self) -> bool:
        """Whether the outcome of a command is not known yet. Such a session cannot be transferred."""
        return self.commands.has_pending

    # -- connections ----------------------------------------------------------------------------------------

    def lose_connection(self, reason: str) -> None:
        """Detach the connection, which has ended or was replaced, and report that to the room."""
        self.connection = None
        if self.state is SessionState.CLOSED:
            return
        self.disconnected_since_s = self._context.now_s()
        self.note("disconnected", reason=reason, room_id=self.room_id)
        if self.seat is not None:
            self.seat.disconnected()

    # -- Subscriber: calls of the room ----------------------------------------------------------------------

    def send_message(self, message: Message) -> None:
        """Send one message now; do nothing while the session is disconnected.

        A congested client receives no Pong: the data on its way to it shows that the server is alive. Other messages
        are queued up to the size of one write buffer. More closes the connection; the client repeats its requests
        when it resumes.
        """
        connection = self.connection
        if connection is None:
            return
        if connection.is_congested and type(message) is Pong:
            self._counters.rejected["ping_congested"] += 1
            return
        if not connection.send(encode_message(message, self.session_id, self.room_id)):
            self.slow_consumer("the client does not read its messages")

    def slow_consumer(self, reason: str) -> None:
        """Close the connection of a client that reads too slowly. The session stays and can be resumed."""
        self.close(SessionCloseCode.SLOW_CONSUMER, reason, counted_as="slow_consumer")

    def seat_lost(self, reason: str) -> None:
        """Release the seat of a room that has closed. The session may join another room."""
        had_seat, room_id = self.seat is not None, self.room_id
        self.seat = None
        if had_seat:
            self._seat_changed()
        if self.state is SessionState.SEATED:
            self.state = SessionState.IDLE
            self.left_room_id, self.left_reason = room_id, reason
            self.note("unseated", room_id=room_id, reason=reason)
            self.flush_events()
            self.send_message(Left(reason))

    def seat_restored(self, seat: Seat) -> None:
        """Take the seat in a room that was restored together with the session."""
        self.seat, self.state = seat, SessionState.SEATED
        self._seat_changed()
        self._last_room_id = seat.room_id

    def seat_moved(self, reason: str, redirect: Redirect | None = None) -> None:
        """End the session on this shard, because its room runs on another one now; send the client there."""
        self.seat = None
        if self.state is SessionState.SEATED:
            if redirect is not None:
                self._end_with_redirect(redirect, reason)
            else:
                self.send_message(Goodbye(ErrorCode.ROOM_CLOSED, reason, come_back=True))
                self.terminate(SessionCloseCode.MOVED, reason, counted_as="moved")

    def start_move(self, request: MoveRequest) -> Callable[[], object] | None:
        """See `tickwire.server.rooms.subscriber.Subscriber.start_move`."""
        return None if self.seat is None else start_move(self, self._context, self.seat, request)

    def flush_events(self) -> None:
        """Send the pending events. Inside of a room the tick does this."""
        if self.connection is not None and self.outbox.unsent and not self.connection.send(self.outbox.dequeue()):
            self.slow_consumer("the client does not read its events")

    # -- seats: calls of the message handlers --------------------------------------------------------------

    def take_seat(self, seat: Seat) -> None:
        """Take the seat that a join has found."""
        self.seat, self.unread_redirect = seat, None
        self.state = SessionState.SEATED
        if self.connection is None:
            seat.disconnected()
        self.joins += 1
        self._seat_changed()
        self._last_room_id = seat.room_id
        if seat.room_id == self.left_room_id:
            self.left_room_id = self.left_reason = ""
        # In the room, a guest with a ticket has the player id of the ticket.
        seat_player_id = seat.player_id if seat.player_id != self.player_id else ""
        self.note("seated", room_id=seat.room_id, seat_player_id=seat_player_id)

    def leave_seat(self) -> None:
        """Leave the room, if there is one, and confirm it with Left.

        While the room is moving this waits: the client repeats its Leave on the new shard.
        """
        seat = self.seat
        if seat is not None and seat.defer(lambda: self.leave_seat() if self.seat is seat else None):
            return
        self.seat = None
        self.state = SessionState.IDLE
        if seat is not None:
            self._seat_changed()
            self.note("unseated", room_id=seat.room_id, reason="left")
            seat.leave("left")
        self.flush_events()
        self.send_message(Left("left"))

    def _seat_changed(self) -> None:
        self.seat_changes += 1
        self._context.presence.session_changed(self)

    # -- the end --------------------------------------------------------------------------------------------

    def close(self, code: SessionCloseCode, reason: str, *, counted_as: str) -> None:
        """Close the connection. The session stays and can be resumed."""
        if self.connection is not None and self.connection.is_open:
            self._counters.closed[counted_as] += 1
            self.close_reason = reason
            self.connection.close(code, reason)

    def end(self, reason: str, *, counted_as: str) -> None:
        """End the session: leave its seat and its queue. It cannot be resumed afterwards. Idempotent."""
        if self.state is SessionState.CLOSED:
            return
        self.state = SessionState.CLOSED
        if self.joining is not None:
            self.joining.cancel()
        if self.authenticating is not None:
            self.authenticating.cancel()
        self._context.queue.dequeue(self)
        seat, self.seat = self.seat, None
        if seat is not None:
            seat.leave(reason)
        if not self._context.registry.remove(self, counted_as):
            return
        log.info(
            "session_ended",
            session_id=self.session_id,
            player_id=self.player_id,
            reason=reason,
            result=counted_as,
            duration_s=round((self._context.now_us() - self.opened_us) / 1e6, 3),
            connections=self.generations.current,
            joins=self.joins,
            last_room_id=self._last_room_id,
            events=self.outbox.last_number,
            history=self.history.entries,
        )

    def note(self, event: str, **details: Any) -> None:
        """Add an event to the history, and log it as `session_EVENT`."""
        self.history.add(self._context.now_us(), event, **details)

    def note_connection(self, event: str, address: str) -> None:
        """Note that a connection was attached."""
        since_s = self.disconnected_since_s
        disconnected_s = round(self._context.now_s() - since_s, 3) if since_s else 0.0
        connection = self.generations.current
        self.note(event, address=address, connection=connection, disconnected_s=disconnected_s, room_id=self.room_id)

    def end_if_redirected(self) -> bool:
        """End the session if its client has followed a Redirect and has another session on that shard.

        Returns:
            Whether it has ended.
        """
        if not self.is_redirected or self.connection is not None:
            return False
        self.end("the client followed a Redirect to another shard", counted_as="redirected")
        return True

    def replace(self) -> None:
        """End the session because its player has opened another one."""
        self.send_message(Goodbye(ErrorCode.REPLACED, "the player has opened another session"))
        self.terminate(SessionCloseCode.REPLACED, "the player has opened another session", counted_as="replaced")

    def redirect(self, redirect: Redirect) -> None:
        """Send the client to the shard that the session was transferred to, and end it here. Idempotent."""
        if self.state is not SessionState.CLOSED:
            self.flush_events()
            self._end_with_redirect(redirect, "the session was transferred to another shard")

    def kick(self, reason: str) -> None:
        """End the session by an operator's request. The player may open another one."""
        self.send_message(Goodbye(ErrorCode.KICKED, reason))
        self.terminate(SessionCloseCode.KICKED, reason, counted_as="kicked")

    def ban(self, reason: str) -> None:
        """End the session of a player who is banned for a while."""
        self.send_message(Goodbye(ErrorCode.BANNED, reason))
        self.terminate(SessionCloseCode.BANNED, reason, counted_as="banned")

    def revoke(self) -> None:
        """End the session because its token was revoked. The player must log in again."""
        reason = "the login has ended; log in again"
        self.send_message(Goodbye(ErrorCode.UNAUTHORIZED, reason))
        self.terminate(SessionCloseCode.UNAUTHORIZED, reason, counted_as="token_revoked")

    def end_with_goodbye(self, goodbye: Goodbye) -> None:
        """End the session because the server stops. Goodbye says whether the client should reconnect."""
        self.flush_events()
        self.send_message(goodbye)
        self.terminate(SessionCloseCode.GOING_AWAY, goodbye.message, counted_as="going_away")

    def terminate(self, code: SessionCloseCode, reason: str, *, counted_as: str) -> None:
        """Close the connection and end the session."""
        self.close(code, reason, counted_as=counted_as)
        self.end(reason, counted_as=counted_as)

    def _end_with_redirect(self, redirect: Redirect, reason: str) -> None:
        self.note("redirected", url=redirect.url, reason=reason)
        self.send_message(redirect)
        self.close(SessionCloseCode.MOVED, moved_reason(redirect.url), counted_as="moved")
        self.end(reason, counted_as="moved")
