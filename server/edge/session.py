"""A session: a player's presence on this shard, and what each message of it means. It outlives its connections.

    idle --Join--> joining --seat--> seated --Leave, room closed--> idle
                      └--redirect, refused--> idle
    any state --ended--> closed

Beside the state it has a connection, or is away: `attach` gives it one, under a generation that only grows, and
takes it from whoever had the session before. What a state allows stands in ALLOWED; anything else is answered with
OUT_OF_ORDER and changes nothing. No exception that a client can cause leaves `message_received`.
"""

from __future__ import annotations

import asyncio
import enum
import secrets
from typing import Any

import structlog
from websockets.frames import CloseCode

from tickwire.schemas import SERVER_MESSAGE_BYTES_MAX
from tickwire.schemas.codec import client_message_type, decode_client, encode_server
from tickwire.schemas.errors import MalformedMessage, UnknownMessage
from tickwire.schemas.framing import binary_frame
from tickwire.schemas.messages import (
    Command,
    EndSession,
    Error,
    ErrorCode,
    Goodbye,
    Hello,
    Input,
    Join,
    Leave,
    Left,
    MatchCancel,
    MatchRequest,
    MatchStatus,
    Message,
    Ping,
    Pong,
    QueueState,
    Redirect,
    Reply,
    Resync,
    Welcome,
)
from tickwire.server.edge.addresses import MESSAGE_TOKENS, REQUEST_TOKENS
from tickwire.server.edge.auth.authenticator import Identity
from tickwire.server.edge.close_codes import SessionCloseCode
from tickwire.server.edge.commands import CommandProcessor
from tickwire.server.edge.connection import Connection
from tickwire.server.edge.context import SessionContext
from tickwire.server.edge.join import error_message, find_seat
from tickwire.server.edge.rate_limit import FLOOD_S
from tickwire.server.edge.reply_cache import ReplyCache
from tickwire.server.edge.session_history import SessionHistory
from tickwire.server.edge.settings import SILENT_INTERVALS_MAX
from tickwire.server.edge.token_bucket import TokenBucket
from tickwire.server.edge.unheard import DiscardingReceiver
from tickwire.server.errors import Malformed, OutOfOrder, RateLimited, TickwireError, Unavailable
from tickwire.server.rooms.checkpoint import SessionCheckpoint
from tickwire.server.rooms.outbox import Outbox
from tickwire.server.rooms.runtime import MOVES_MS
from tickwire.server.rooms.seat import Seat

log = structlog.get_logger(__name__)

ATTEMPT_S = 15.0
"""A Hello that arrives has been on its way for less: a connection is closed that has sent none for 5 s."""
ENDS_BY_CLOSE_VERSION_MIN = 3
"""From this schema version on, a client's close with 1000 ends its session."""


class SessionState(enum.Enum):
    """Where a session stands."""

    IDLE = "idle"
    JOINING = "joining"
    SEATED = "seated"
    CLOSED = "closed"


_ALWAYS: frozenset[type[Message]] = frozenset((Ping, Command, MatchRequest, MatchCancel, EndSession))
ALLOWED: dict[SessionState, frozenset[type[Message]]] = {
    # A room may close while inputs are on their way: those that come after are ignored, not a
    # mistake; and a Leave that comes after is answered as ever.
    SessionState.IDLE: _ALWAYS | {Join, Input, Resync, Leave},
    SessionState.JOINING: _ALWAYS,
    SessionState.SEATED: _ALWAYS | {Input, Resync, Leave},
    SessionState.CLOSED: frozenset(),
}


class Session:
    """One player's presence. Implements `tickwire.server.rooms.ports.Subscriber` and the connection's `Receiver`.

    Args:
        identity: who plays.
        schema_version: what its client speaks.
        around: what it shares with the others.

    Attributes:
        wire: its connection; None while it is away.
        address: of its last connection; empty before the first.
        generation: which of its connections this is, from 1; 0 before the first.
        history: what happened to it on this shard.
        used_generation: of the token that it was resumed with last, while that is good; else 0.
        opened_us: UTC of the moment when it was opened, on whichever shard; microseconds since 1970.
    """

    __slots__ = (
        "_around",
        "_attached_s",
        "_attempt",
        "_away_since_s",
        "_close_reason",
        "_commands",
        "_counters",
        "_from_shard",
        "_is_redirected",
        "_is_revived",
        "_joined",
        "_joining",
        "_joins",
        "_last_room_id",
        "_reserved",
        "_seat",
        "_seat_changes",
        "address",
        "generation",
        "history",
        "is_guest",
        "opened_us",
        "outbox",
        "player_id",
        "schema_version",
        "session_id",
        "state",
        "used_generation",
        "wire",
    )

    def __init__(self, identity: Identity, *, schema_version: int, around: SessionContext) -> None:
        self.session_id = secrets.token_urlsafe(12)
        self.player_id = identity.player_id
        self.is_guest = identity.is_guest
        self.schema_version = schema_version
        self.wire: Connection | None = None
        self.address = ""
        self.outbox = Outbox()
        self.state = SessionState.IDLE
        self.generation = 0
        self.used_generation = 0
        self._is_revived = self._is_redirected = False
        self._around = around
        self._counters = around.counters
        self._commands = CommandProcessor(around)
        self._reserved = self._attempt = self._seat_changes = 0
        self._attached_s = around.now_s()
        self._seat: Seat | None = None
        self._joining: asyncio.Task[None] | None = None
        joins = around.settings.joins_per_minute_max
        self._joins = TokenBucket(joins / 60, joins, around.now_s())
        self.opened_us = around.now_us()
        self.history = SessionHistory(self.session_id, self.player_id)
        self._away_since_s = 0.0
        self._close_reason = ""
        self._joined = 0
        self._from_shard = ""
        self._last_room_id = ""

    @classmethod
    def revived(cls, kept: SessionCheckpoint, around: SessionContext) -> Session:
        """A session that another shard had: away, under the id, the tokens and the numbers that its client knows."""
        identity = Identity(kept.player_id, kept.is_guest)
        session = cls(identity, schema_version=kept.schema_version, around=around)
        session.session_id = kept.session_id
        session.history = SessionHistory(kept.session_id, kept.player_id)
        session.generation = session._reserved = kept.generation
        session._attempt = kept.attempt
        session.used_generation = kept.used_generation
        session.opened_us = kept.opened_us
        session._seat_changes = kept.seat_changes
        session._joined = kept.joins
        session._from_shard = kept.shard_id
        session._is_revived = True
        session._away_since_s = around.now_s()
        session.outbox.restore(kept.last_event, kept.frames, restored_at=kept.events_restored_at)
        replies = ReplyCache(kept.replies, forgotten_id=kept.forgotten_command_id)
        session._commands = CommandProcessor(around, replies)
        return session

    def keep(self) -> SessionCheckpoint:
        """See `tickwire.server.rooms.ports.Subscriber.keep`."""
        return SessionCheckpoint(
            session_id=self.session_id,
            player_id=self.player_id,
            is_guest=self.is_guest,
            schema_version=self.schema_version,
            generation=self.generation,
            used_generation=self.used_generation,
            attempt=self._attempt,
            last_event=self.outbox.last_number,
            frames=self.outbox.frames,
            replies=tuple(self._commands.replies),
            opened_us=self.opened_us,
            seat_changes=self._seat_changes,
            forgotten_command_id=self._commands.replies.forgotten_id,
            events_restored_at=self.outbox.restored_at,
            shard_id=self._around.tokens.shard_id,
            joins=self._joined,
        )

    def settled(self) -> None:
        """Note that the session, which was on another shard, is on this one now."""
        self._note("restored", room_id=self.room_id, from_shard=self._from_shard)

    def is_older_than(self, kept: SessionCheckpoint) -> bool:
        """Return whether a copy of this session from another shard is newer than this one.

        The copy that a client is connected to is the newest one.
        """
        ours = self._seat_changes, self.generation
        return self.wire is None and (kept.seat_changes, kept.generation) > ours

    @property
    def room_id(self) -> str:
        """Where it sits; empty outside of a room."""
        return self._seat.room_id if self._seat is not None else ""

    @property
    def is_over(self) -> bool:
        """Whether the session has ended on this shard."""
        return self.state is SessionState.CLOSED

    def check_resumable(self) -> None:
        """Check that a client may resume the session now.

        Raises:
            Unavailable: its room is sent to another shard, and with it the session as it was a moment ago.
        """
        if self._seat is not None and self._seat.runtime.is_sealed:
            raise Unavailable("the room is moving to another shard", retry_after_ms=MOVES_MS)

    @property
    def has_pending_commands(self) -> bool:
        """Whether the outcome of a command is not known yet. Such a session cannot go on at another shard."""
        return self._commands.has_pending

    # -- connections ----------------------------------------------------------------------------------------

    def may_resume(self, generation: int) -> bool:
        """Whether a token of this generation is good.

        A session that another shard had may have got connections since it was kept: those are caught up with.
        """
        if self._is_revived and generation > self.generation:
            self.generation = self._reserved = generation
        return generation in (self.generation, self.used_generation or self.generation)

    def reserve_generation(self) -> int:
        """Return the number of the next connection, in the order in which Hellos arrive."""
        self._reserved += 1
        return self._reserved

    def is_newer(self, attempt: int, generation: int) -> bool:
        """Return whether a connection is newer than the one that the session has, or had.

        A client counts its Hellos, so that one which the network has delayed takes nothing over. The count is noted
        when a connection is attached, that is, after the player was authenticated, and holds for ATTEMPT_S. Otherwise
        whoever has found a resume token could lock out its owner by a high count.
        """
        is_recent = self._around.now_s() - self._attached_s < ATTEMPT_S
        if attempt and self._attempt and is_recent:
            return attempt > self._attempt
        return generation > self.generation

    def attach(self, connection: Connection, hello: Hello, generation: int) -> bool:
        """Gives the session a connection: Welcome is sent, and what its client has missed follows.

        Returns:
            False when a later connection has the session, or it is over; nothing has been done then.
        """
        if self.state is SessionState.CLOSED or not self.is_newer(hello.attempt, generation):
            return False
        generation = max(generation, self.generation + 1)
        self._reserved = max(self._reserved, generation)
        self._attempt, self._attached_s = hello.attempt, self._around.now_s()
        self._is_revived = False
        if self.wire is not None:
            self._let_go(self.wire)
        self._is_redirected = False
        connection.has_session = True
        is_new, self.generation = not self.generation, generation
        self.wire = connection
        self.address = connection.address
        self.schema_version = hello.schema_version
        self._around.registry.came_back(self)
        # Whatever else was given out meanwhile: this one the client has, and what it is given now may be lost.
        used = self._around.tokens.read(hello.resume_token)
        self.used_generation = used.generation if used is not None and not is_new else 0
        self._welcome()
        self._close_reason = ""
        self._note_connection("opened" if is_new else "resumed", connection.address)
        if not is_new:
            self._resume(hello)
        return True

    def connection_ended(self, connection: Connection) -> None:
        """Detach the connection. The session ends if its client closed the connection with 1000.

        A client of schema version 2 keeps its session: version 2 did not define what 1000 means for a session.
        """
        if connection is not self.wire:
            return
        code = connection.client_close_code
        if code == CloseCode.NORMAL_CLOSURE and self.schema_version >= ENDS_BY_CLOSE_VERSION_MIN:
            self.wire = None
            self.end("the client closed the connection with 1000", counted_as="ended_by_client")
        elif code is not None and self._is_redirected:
            self.wire = None
            self.end("the client followed a Redirect to another shard", counted_as="redirected")
        else:
            closed_by_client = "" if code is None else f"the client closed the connection with {code}"
            self._detach(self._close_reason or connection.failure or closed_by_client or "the connection was lost")

    def _detach(self, reason: str) -> None:
        self._lose_connection(reason)
        if self.state is not SessionState.CLOSED:
            self._around.registry.went_away(self, self._away_since_s)  # which may end it

    def _lose_connection(self, reason: str) -> None:
        self.wire = None
        if self.state is SessionState.CLOSED:
            return
        self._away_since_s = self._around.now_s()
        self._note("disconnected", reason=reason, room_id=self.room_id)
        if self._seat is not None:
            self._seat.disconnected()

    def _let_go(self, connection: Connection) -> None:
        """Another connection has the session now: the one before is told why, and not heard any more."""
        connection.receiver = DiscardingReceiver(self._counters)
        connection.has_session = False
        self.send_message(Goodbye(ErrorCode.REPLACED, "the session goes on on another connection"))
        connection.close(SessionCloseCode.REPLACED, "replaced by another connection")
        self._counters.closed["replaced"] += 1
        self._lose_connection("another connection resumed the session")

    def _welcome(self) -> None:
        settings = self._around.settings
        self.send_message(
            Welcome(
                session_id=self.session_id,
                resume_token=self._around.tokens.sign(self.session_id, self.generation),
                server_time_us=self._around.now_us(),
                heartbeat_interval_ms=int(settings.heartbeat_interval_s * 1000),
                message_bytes_max=settings.message_bytes_max,
                inputs_per_second_max=settings.inputs_per_second_max,
                generation=self.generation,
                resume_window_ms=int(settings.resume_window_s * 1000),
                room_id=self.room_id,
                is_joining=self.state is SessionState.JOINING,
                messages_per_second_max=settings.messages_per_second_max,
                bytes_per_second_max=settings.bytes_per_second_max,
            )
        )

    def _resume(self, hello: Hello) -> None:
        lost = self.outbox.rewind(hello.last_event)
        if lost:
            text = f"{lost} events after number {hello.last_event} are not kept any more"
            self.send_message(Error(ErrorCode.RESYNC, text))
        if self._seat is not None:
            self._seat.resumed(hello.room_id, hello.last_tick)
        elif self.outbox.unsent:
            self._flush_events()
        self._around.queue.resumed(self)

    # -- Subscriber: what the room calls --------------------------------------------------------------------

    def send_message(self, message: Message) -> None:
        """Writes one message now; nothing while the session is away.

        A congested peer gets no Pong: whatever is on its way to it shows that the server lives. Of all else one
        buffer's worth is queued for it. More ends the connection, and the client asks again when it resumes.
        """
        wire = self.wire
        if wire is None:
            return
        if wire.is_congested and type(message) is Pong:
            self._counters.rejected["ping_congested"] += 1
            return
        frame = binary_frame(encode_server(message))
        if len(frame) > SERVER_MESSAGE_BYTES_MAX and isinstance(message, Reply):
            frame = binary_frame(encode_server(self._without_payload(message)))
        if not wire.send(frame):
            self.slow_consumer("the client takes no answers")

    def _without_payload(self, reply: Reply) -> Reply:
        """Return the reply to a command whose answer no client could read."""
        size, limit = len(reply.payload), SERVER_MESSAGE_BYTES_MAX
        log.error("reply_too_large", session_id=self.session_id, room_id=self.room_id, bytes=size, bytes_max=limit)
        text = f"the room's answer has {size} bytes; a message has at most {limit}"
        return Reply(reply.id, ok=False, error=ErrorCode.COMMAND_FAILED, message=text)

    def slow_consumer(self, reason: str) -> None:
        """The client takes too little for too long. The session stays: it may come back."""
        self.close(SessionCloseCode.SLOW_CONSUMER, reason, counted_as="slow_consumer")

    def seat_lost(self, reason: str) -> None:
        """The room has closed; the session may join another."""
        if self._seat is not None:
            self._seat_changes += 1
        room_id, self._seat = self.room_id, None
        if self.state is SessionState.SEATED:
            self.state = SessionState.IDLE
            self._note("unseated", room_id=room_id, reason=reason)
            self._flush_events()
            self.send_message(Left(reason))

    def seat_restored(self, seat: Seat) -> None:
        """The session was revived with its room."""
        self._seat, self.state = seat, SessionState.SEATED
        self._seat_changes += 1
        self._last_room_id = seat.room_id

    def seat_moved(self, reason: str, redirect: Redirect | None = None) -> None:
        """The room goes on at another shard: whoever comes back to this one is told where."""
        self._seat = None
        if self.state is SessionState.SEATED:
            if redirect is not None:
                self._note("redirected", url=redirect.url, reason=reason)
                self.send_message(redirect)
            else:
                self.send_message(Goodbye(ErrorCode.ROOM_CLOSED, reason, come_back=True))
            self._expel(SessionCloseCode.MOVED, reason, counted_as="moved")

    def _flush_events(self) -> None:
        """Outside of a room no tick takes the events along."""
        if self.wire is not None and self.outbox.unsent and not self.wire.send(self.outbox.dequeue()):
            self.slow_consumer("the client takes no events")

    # -- Receiver: what the connection calls ----------------------------------------------------------------

    def message_received(self, data: bytes, /) -> None:
        """One message. Whatever it holds, what follows is an answer, a counter, or a close."""
        self._counters.messages_received += 1
        try:
            message = decode_client(data)
        except UnknownMessage as error:
            self._charge(MESSAGE_TOKENS)
            self._reject("unsupported", ErrorCode.UNSUPPORTED, str(error), request_type=client_message_type(data))
            return
        except MalformedMessage as error:
            self._malformed(str(error))
            return
        try:
            if type(message) is Input and self._seat is not None:
                self._seat.push_input(message)
            else:
                self._handle(message)
        except Malformed as error:
            self._malformed(str(error))
        except TickwireError as error:
            self._counters.rejected[error.code.lower()] += 1
            self.send_message(error_message(error, type(message)))

    def text_received(self) -> None:
        """All messages are binary."""
        self._reject("text", ErrorCode.MALFORMED, "a text message; all messages are binary")
        self._expel(SessionCloseCode.TEXT_MESSAGE, "all messages are binary", counted_as="text")

    def swept(self, now_s: float) -> None:
        """A second has passed: a client that floods, or has been silent for too long, loses its connection."""
        silence_s_max = SILENT_INTERVALS_MAX * self._around.settings.heartbeat_interval_s
        if self.wire is None:
            return
        if self.wire.is_flooding(now_s):
            self._flooded()
        elif not self.wire.is_throttled and now_s - self.wire.heard_s > silence_s_max:
            self.close(SessionCloseCode.SILENT, "nothing was heard for too long", counted_as="silent")

    # -- the end --------------------------------------------------------------------------------------------

    def close(self, code: SessionCloseCode, reason: str, *, counted_as: str) -> None:
        """Closes the connection; the session stays, and may be resumed."""
        if self.wire is not None and self.wire.is_open:
            self._counters.closed[counted_as] += 1
            self._close_reason = reason
            self.wire.close(code, reason)

    def end(self, reason: str, *, counted_as: str) -> None:
        """The session is over: its seat is given up, and it cannot be resumed. Idempotent."""
        if self.state is SessionState.CLOSED:
            return
        self.state = SessionState.CLOSED
        if self._joining is not None:
            self._joining.cancel()
        self._around.queue.leave(self)
        seat, self._seat = self._seat, None
        if seat is not None:
            seat.leave(reason)
        if not self._around.registry.ended(self, counted_as):
            return
        log.info(
            "session_ended",
            session_id=self.session_id,
            player_id=self.player_id,
            reason=reason,
            result=counted_as,
            duration_s=round((self._around.now_us() - self.opened_us) / 1e6, 3),
            connections=self.generation,
            joins=self._joined,
            last_room_id=self._last_room_id,
            events=self.outbox.last_number,
            history=self.history.entries,
        )

    def _note(self, event: str, **details: Any) -> None:
        self.history.add(self._around.now_us(), event, **details)

    def _note_connection(self, event: str, address: str) -> None:
        away_s = round(self._around.now_s() - self._away_since_s, 3) if self._away_since_s else 0.0
        self._note(event, address=address, connection=self.generation, away_s=away_s, room_id=self.room_id)

    def end_if_left_behind(self) -> bool:
        """End the session if its client has followed a Redirect and has another session where that led.

        Returns:
            Whether it has ended.
        """
        if not self._is_redirected or self.wire is not None:
            return False
        self.end("the client followed a Redirect to another shard", counted_as="redirected")
        return True

    def replace(self) -> None:
        """The player has opened another session."""
        self.send_message(Goodbye(ErrorCode.REPLACED, "the player has opened another session"))
        self._expel(SessionCloseCode.REPLACED, "the player has opened another session", counted_as="replaced")

    def go_on_at(self, redirect: Redirect) -> None:
        """The session goes on at another shard, which has been left what must be known of it. Idempotent."""
        if self.state is not SessionState.CLOSED:
            self._flush_events()
            self._note("redirected", url=redirect.url, reason="the session goes on at another shard")
            self.send_message(redirect)
            self._expel(SessionCloseCode.MOVED, "the session goes on at another shard", counted_as="moved")

    def _end_by_client(self) -> None:
        self._expel(SessionCloseCode.NORMAL, "the client ended the session", counted_as="ended_by_client")

    def kick(self, reason: str) -> None:
        """An operator ends the session; the player may open another."""
        self.send_message(Goodbye(ErrorCode.KICKED, reason))
        self._expel(SessionCloseCode.KICKED, reason, counted_as="kicked")

    def ban(self, reason: str) -> None:
        """The player may not play for a while."""
        self.send_message(Goodbye(ErrorCode.BANNED, reason))
        self._expel(SessionCloseCode.BANNED, reason, counted_as="banned")

    def say_goodbye(self, goodbye: Goodbye) -> None:
        """Tells the client that the server ends, and whether to come back."""
        self._flush_events()
        self.send_message(goodbye)
        self._expel(SessionCloseCode.GOING_AWAY, goodbye.message, counted_as="going_away")

    def _expel(self, code: SessionCloseCode, reason: str, *, counted_as: str) -> None:
        self.close(code, reason, counted_as=counted_as)
        self.end(reason, counted_as=counted_as)

    # -- messages -------------------------------------------------------------------------------------------

    def _handle(self, message: Message) -> None:
        if type(message) is not Input:
            self._charge(MESSAGE_TOKENS)
        if type(message) not in ALLOWED[self.state]:
            raise OutOfOrder(f"{type(message).__name__} makes no sense while {self.state.value}")
        match message:
            case Join():
                self._check_joins()
                self._start_join(message)
            case Leave():
                self._leave()
            case Command():
                self._commands.ask(message, self._seat, self.send_message)
            case Resync() if self._seat is not None:
                self._seat.resync(message)
            case Ping():
                self.outbox.acknowledge(message.last_event)
                if message.generation == self.generation:  # the newest resume token has arrived
                    self.used_generation = 0
                tick = self._seat.tick if self._seat else 0
                self.send_message(Pong(message.client_time_us, self._around.now_us(), tick))
            case MatchRequest():
                self._enter_queue(message)
            case MatchCancel():
                reason = "the player has given the place back"
                if not self._around.queue.cancel(self, reason):
                    self.send_message(MatchStatus(QueueState.CANCELLED, reason=reason))
            case EndSession():
                self._end_by_client()
            case _:
                pass  # an Input or Resync that came after the room had closed

    def _leave(self) -> None:
        """Give the seat up. While the room is moving this waits: the client asks again where the room goes on."""
        seat = self._seat
        if seat is not None and seat.defer(lambda: self._leave() if self._seat is seat else None):
            return
        self._seat = None
        self.state = SessionState.IDLE
        if seat is not None:
            self._seat_changes += 1
            self._note("unseated", room_id=seat.room_id, reason="left")
            seat.leave("left")
        self._flush_events()
        self.send_message(Left("left"))

    # -- joining --------------------------------------------------------------------------------------------

    def _start_join(self, join: Join) -> None:
        self._is_redirected = False
        self.state = SessionState.JOINING
        self._joining = self._around.spawn(self._join(join), f"join {self.session_id}")

    async def _join(self, join: Join) -> None:
        """The task of one join. It goes on when the connection is lost: whoever comes back finds the seat."""
        try:
            timeout_s = self._around.settings.join_timeout_s
            result = await find_seat(self._around.placer, self, join, timeout_s=timeout_s)
        finally:
            self._joining = None
        if self.state is SessionState.CLOSED:
            if isinstance(result, Seat):
                result.leave("disconnected")
        elif isinstance(result, Seat):
            self._seated(result)
        elif isinstance(result, Redirect):
            self._note("redirected", url=result.url, room_type=join.room_type, room_name=join.room_name)
            self._not_seated("redirected", result)
            self._is_redirected = bool(result.url) and self.wire is not None
            self._around.queue.cancel(self, "the player goes to another shard")  # and has another session there
        else:
            self._note(
                "refused", code=result.code, error=str(result), room_type=join.room_type, room_name=join.room_name
            )
            self._not_seated(result.code.lower(), error_message(result, Join))

    def _not_seated(self, counted_as: str, answer: Message) -> None:
        self._counters.joins[counted_as] += 1
        self.state = SessionState.IDLE
        self.send_message(answer)

    def _seated(self, seat: Seat) -> None:
        self._counters.joins["seated"] += 1
        self._around.queue.seated(self)
        self._seat = seat
        self.state = SessionState.SEATED
        if self.wire is None:
            seat.disconnected()
        self._joined += 1
        self._seat_changes += 1
        self._last_room_id = seat.room_id
        # Of a guest who came by a ticket the seat has another player id than the session.
        seat_player_id = seat.player_id if seat.player_id != self.player_id else ""
        self._note("seated", room_id=seat.room_id, seat_player_id=seat_player_id)

    def _check_joins(self) -> None:
        self._charge(REQUEST_TOKENS)
        if not self._joins.take(self._around.now_s()):
            limit = self._around.settings.joins_per_minute_max
            raise RateLimited(f"more than {limit} joins or match requests a minute", retry_after_ms=2000)

    def _enter_queue(self, request: MatchRequest) -> None:
        try:
            self._check_joins()
            self._around.queue.enter(self, request)
        except TickwireError as error:  # also one that is Malformed: what cannot be is refused, and no more
            self._counters.rejected[error.code.lower()] += 1
            self.send_message(error_message(error, MatchRequest))

    # -- refusals -------------------------------------------------------------------------------------------

    def _charge(self, tokens: int) -> None:
        if self.wire is not None:
            self.wire.charge(tokens)

    def _flooded(self) -> None:
        settings = self._around.settings
        limits = f"{settings.messages_per_second_max} messages or {settings.bytes_per_second_max} bytes a second"
        text = f"more than {limits} for {FLOOD_S:g} s"
        self.send_message(Error(ErrorCode.RATE_LIMITED, text, retry_after_ms=1000, retryable=True))
        self.close(SessionCloseCode.FLOOD, text, counted_as="flood")

    def _malformed(self, text: str) -> None:
        self._reject("malformed", ErrorCode.MALFORMED, text)
        self._expel(SessionCloseCode.POLICY, "malformed message", counted_as="malformed")

    def _reject(self, counted_as: str, code: ErrorCode, text: str, *, request_type: int = 0) -> None:
        self._counters.rejected[counted_as] += 1
        self.send_message(Error(code, text, request_type=request_type))
