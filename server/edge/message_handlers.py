"""Handles the messages of a session's client: decodes them, checks that the state allows them, and acts on them.

ALLOWED lists the messages of each state. Any other message is answered with OUT_OF_ORDER and changes nothing. No
exception that a client can cause leaves `message_received`.
"""

from __future__ import annotations

import asyncio

from tickwire.schemas.codec import client_message_type, decode_client, push_input_frame, read_input_frame
from tickwire.schemas.errors import MalformedMessage, UnknownMessage
from tickwire.schemas.messages import (
    Authenticate,
    ClientMessage,
    Command,
    EndSession,
    Error,
    ErrorCode,
    Input,
    Join,
    Leave,
    ListRooms,
    MatchCancel,
    MatchRequest,
    MatchStatus,
    Message,
    Ping,
    Pong,
    QueueState,
    Redirect,
    Resync,
)
from tickwire.server.edge.addresses import MESSAGE_TOKENS, REQUEST_TOKENS
from tickwire.server.edge.close_codes import SessionCloseCode
from tickwire.server.edge.connection import Connection
from tickwire.server.edge.context import SessionContext
from tickwire.server.edge.join import request_seat, to_error_message
from tickwire.server.edge.rate_limit import FLOOD_S
from tickwire.server.edge.receiver import Receiver
from tickwire.server.edge.session import Session, SessionState
from tickwire.server.edge.session_authentication import (
    AUTHENTICATIONS_AT_ONCE,
    AUTHENTICATIONS_PER_S,
    check_token,
    start_authentication,
)
from tickwire.server.edge.session_connections import detach_connection
from tickwire.server.edge.settings import SILENT_INTERVALS_MAX
from tickwire.server.edge.token_bucket import TokenBucket
from tickwire.server.errors import Malformed, OutOfOrder, RateLimited, TickwireError, Unavailable
from tickwire.server.rooms.seat import Seat

_ALWAYS: frozenset[type[Message]] = frozenset(
    (Ping, Command, MatchRequest, MatchCancel, ListRooms, EndSession, Authenticate)
)
LISTS_PER_S = 1.0
LISTS_AT_ONCE = 5
"""Lists of rooms that one session may request: a lobby is refreshed every few seconds."""
ALLOWED: dict[SessionState, frozenset[type[Message]]] = {
    # A room may close while inputs are on their way. Inputs that arrive afterwards are ignored without an error, and
    # a Leave is answered as always.
    SessionState.IDLE: _ALWAYS | {Join, Input, Resync, Leave},
    SessionState.JOINING: _ALWAYS,
    SessionState.SEATED: _ALWAYS | {Input, Resync, Leave},
    SessionState.CLOSED: frozenset(),
}


class SessionReceiver(Receiver[Connection]):
    """Receives the messages of one connection for its session. Implements the connection's `Receiver`.

    Args:
        session: the session that the connection is attached to.
        context: the dependencies that all sessions of the shard share.

    Attributes:
        session: the session.
    """

    __slots__ = ("_context", "_counters", "session")

    def __init__(self, session: Session, context: SessionContext) -> None:
        self.session = session
        self._context = context
        self._counters = context.counters

    # -- Receiver: calls of the connection -----------------------------------------------------------------

    def message_received(self, data: bytes, /) -> None:
        """Handle one message. The result is an answer, a counter, or a close, whatever the message contains."""
        self._counters.messages_received += 1
        try:
            message = decode_client(data)
        except UnknownMessage as error:
            self._charge(MESSAGE_TOKENS)
            self._reject("unsupported", ErrorCode.UNSUPPORTED, str(error), request_type=client_message_type(data))
            return
        except MalformedMessage as error:
            self._reject_malformed(str(error))
            return
        self._decoded(message)

    def frame_received(self, frame: bytes, /) -> None:
        """Handle one message in a short frame. Nearly all of them are inputs."""
        if push_input_frame(frame, self.session.seat):
            self._counters.messages_received += 1
            return
        message = read_input_frame(frame)
        if message is None:
            super().frame_received(frame)
            return
        self._counters.messages_received += 1
        self._decoded(message)

    def _decoded(self, message: ClientMessage) -> None:
        seat = self.session.seat
        try:
            if type(message) is Input and seat is not None:
                seat.push_input(message)
            else:
                self._handle(message)
        except Malformed as error:
            self._reject_malformed(str(error))
        except TickwireError as error:
            self._send_error(error, type(message))

    def text_received(self) -> None:
        """Reject a text message: all messages are binary."""
        self._reject("text", ErrorCode.MALFORMED, "received a text message; all messages must be binary")
        self.session.terminate(SessionCloseCode.TEXT_MESSAGE, "all messages must be binary", counted_as="text")

    def check_timeouts(self, now_s: float) -> None:
        """Close the connection of a client that floods, or was silent for SILENT_INTERVALS_MAX intervals."""
        connection = self.session.connection
        if connection is None:
            return
        silence_s_max = SILENT_INTERVALS_MAX * self._context.settings.heartbeat_interval_s
        if connection.is_flooding(now_s):
            self._close_flood()
        elif not connection.is_throttled and now_s - connection.last_received_s > silence_s_max:
            text = f"nothing was received for {silence_s_max:g} s"
            self.session.close(SessionCloseCode.SILENT, text, counted_as="silent")
        elif self.session.token is not None:
            check_token(self.session, self._context, self.session.token)

    def connection_ended(self, connection: Connection) -> None:
        """Detach the connection from the session."""
        detach_connection(self.session, self._context, connection)

    # -- messages -------------------------------------------------------------------------------------------

    def _handle(self, message: Message) -> None:
        session = self.session
        if type(message) is not Input:
            self._charge(MESSAGE_TOKENS)
        if type(message) not in ALLOWED[session.state]:
            raise OutOfOrder(f"{type(message).__name__} is not allowed while the session is {session.state.value}")
        match message:
            case Join():
                self._limit_joins()
                self._start_join(message)
            case Leave():
                session.leave_seat()
            case Command():
                session.commands.handle(message, session.seat, session.send_message)
            case Resync() if session.seat is not None:
                session.seat.resync(message)
            case Ping():
                self._handle_ping(message)
            case MatchRequest():
                self._enqueue(message)
            case MatchCancel():
                self._cancel_match()
            case ListRooms():
                self._list_rooms(message)
            case Authenticate():
                self._authenticate(message)
            case EndSession():
                reason = "the client ended the session"
                session.terminate(SessionCloseCode.NORMAL, reason, counted_as="ended_by_client")
            case _:
                pass  # an Input or Resync that arrived after the room had closed

    def _handle_ping(self, ping: Ping) -> None:
        session = self.session
        session.outbox.acknowledge(ping.last_event)
        session.generations.acknowledge(ping.generation)
        tick = session.seat.tick if session.seat else 0
        session.send_message(Pong(ping.client_time_us, self._context.now_us(), tick))

    # -- joins and matches ----------------------------------------------------------------------------------

    def _start_join(self, join: Join) -> None:
        session = self.session
        session.is_redirected, session.unread_redirect = False, None
        session.state = SessionState.JOINING
        session.joining = self._context.spawn(self._join(join), f"join {session.session_id}")

    async def _join(self, join: Join) -> None:
        """Run the task of one join. It continues when the connection is lost: a client that resumes has the seat."""
        session = self.session
        try:
            timeout_s = self._context.settings.join_timeout_s
            result = await request_seat(self._context.join_service, session, join, timeout_s=timeout_s)
        finally:
            session.joining = None
        if session.state is SessionState.CLOSED:
            if isinstance(result, Seat):
                result.leave("disconnected")
        elif isinstance(result, Seat):
            self._counters.joins["seated"] += 1
            self._context.queue.session_seated(session)
            session.take_seat(result)
        elif isinstance(result, Redirect):
            session.note("redirected", url=result.url, room_type=join.room_type, room_name=join.room_name)
            self._end_join("redirected", result)
            session.is_redirected = bool(result.url) and session.connection is not None
            # The client opens another session on that shard.
            self._context.queue.cancel(session, "the player was redirected to another shard")
        else:
            session.note(
                "refused", code=result.code, error=str(result), room_type=join.room_type, room_name=join.room_name
            )
            self._end_join(result.code.lower(), to_error_message(result, Join))

    def _end_join(self, counted_as: str, answer: Message) -> None:
        self._counters.joins[counted_as] += 1
        self.session.state = SessionState.IDLE
        self.session.send_message(answer)

    def _limit_joins(self) -> None:
        self._charge(REQUEST_TOKENS)
        if not self.session.join_bucket.try_take(self._context.now_s()):
            limit = self._context.settings.joins_per_minute_max
            raise RateLimited(f"more than {limit} joins or match requests a minute", retry_after_ms=2000)

    def _enqueue(self, request: MatchRequest) -> None:
        try:
            self._limit_joins()
            self._context.queue.enqueue(self.session, request)
        except TickwireError as error:  # Malformed as well: an invalid request is rejected, and the session stays
            self._send_error(error, MatchRequest)

    def _cancel_match(self) -> None:
        reason = "the player cancelled the match request"
        if not self._context.queue.cancel(self.session, reason):
            self.session.send_message(MatchStatus(QueueState.CANCELLED, reason=reason))

    def _list_rooms(self, request: ListRooms) -> None:
        self._charge(REQUEST_TOKENS)
        session, context = self.session, self._context
        if session.list_bucket is None:
            session.list_bucket = TokenBucket(LISTS_PER_S, LISTS_AT_ONCE, context.now_s())
        if not session.list_bucket.try_take(context.now_s()):
            raise RateLimited(f"more than {LISTS_PER_S:g} lists of rooms a second", retry_after_ms=1000)
        context.spawn(self._send_rooms(request), f"list of rooms {session.session_id}")

    async def _send_rooms(self, request: ListRooms) -> None:
        try:
            async with asyncio.timeout(self._context.settings.join_timeout_s):
                answer = await self._context.join_service.list_rooms(request)
        except TickwireError as error:
            self._send_error(error, ListRooms)
        except TimeoutError:
            self._send_error(Unavailable("the rooms cannot be listed now", retry_after_ms=1000), ListRooms)
        else:
            self.session.send_message(answer)

    def _authenticate(self, request: Authenticate) -> None:
        self._charge(REQUEST_TOKENS)
        session, now_s = self.session, self._context.now_s()
        if session.authentication_bucket is None:
            session.authentication_bucket = TokenBucket(AUTHENTICATIONS_PER_S, AUTHENTICATIONS_AT_ONCE, now_s)
        if not session.authentication_bucket.try_take(now_s):
            self._counters.authentications["rate_limited"] += 1
            raise RateLimited("too many tokens in a short time", retry_after_ms=int(1000 / AUTHENTICATIONS_PER_S))
        start_authentication(session, self._context, request)

    # -- limits and errors ----------------------------------------------------------------------------------

    def _charge(self, tokens: int) -> None:
        if self.session.connection is not None:
            self.session.connection.charge(tokens)

    def _close_flood(self) -> None:
        settings = self._context.settings
        limits = f"{settings.messages_per_second_max} messages or {settings.bytes_per_second_max} bytes a second"
        text = f"more than {limits} for {FLOOD_S:g} s"
        self.session.send_message(Error(ErrorCode.RATE_LIMITED, text, retry_after_ms=1000, retryable=True))
        self.session.close(SessionCloseCode.FLOOD, text, counted_as="flood")

    def _reject_malformed(self, text: str) -> None:
        self._reject("malformed", ErrorCode.MALFORMED, text)
        self.session.terminate(SessionCloseCode.POLICY, "malformed message", counted_as="malformed")

    def _reject(self, counted_as: str, code: ErrorCode, text: str, *, request_type: int = 0) -> None:
        self._counters.rejected[counted_as] += 1
        self.session.send_message(Error(code, text, request_type=request_type))

    def _send_error(self, error: TickwireError, request: type[Message]) -> None:
        self._counters.rejected[error.code.lower()] += 1
        self.session.send_message(to_error_message(error, request))
