"""A session: a player's presence on this shard, and what each message of it means.

    greeting --Hello--> idle --Join--> joining --seat--> seated --Leave, room closed--> idle
                                          └--redirect, refused--> idle
    any state --> closed

What a state allows stands in ALLOWED; anything else is answered with OUT_OF_ORDER and changes nothing. No
exception that a client can cause leaves `message_received`.
"""

from __future__ import annotations

import asyncio
import enum
import secrets
from collections.abc import Callable

import structlog

from schemas import SCHEMA_VERSION_MIN
from schemas.codec import decode_client, encode_server
from schemas.errors import MalformedMessage, UnknownMessage
from schemas.framing import binary_frame
from schemas.messages import (
    Command,
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
    Message,
    Ping,
    Pong,
    Redirect,
    Resync,
    Welcome,
)
from server.edge.closing import Closing
from server.edge.connection import Connection
from server.edge.counters import EdgeCounters
from server.edge.settings import EdgeSettings
from server.errors import Internal, Malformed, OutOfOrder, TickwireError, Unavailable
from server.rooms.ports import Placer
from server.rooms.seat import Seat

log = structlog.get_logger(__name__)


class State(enum.Enum):
    """Where a session stands."""

    GREETING = "greeting"
    IDLE = "idle"
    JOINING = "joining"
    SEATED = "seated"
    CLOSED = "closed"


_ALWAYS: frozenset[type[Message]] = frozenset((Ping, MatchRequest, MatchCancel))
ALLOWED: dict[State, frozenset[type[Message]]] = {
    State.GREETING: frozenset((Hello,)),
    # A room may close while inputs are on their way: those that come after are ignored, not a
    # mistake; and a Leave that comes after is answered as ever.
    State.IDLE: _ALWAYS | {Join, Input, Resync, Leave},
    State.JOINING: _ALWAYS,
    State.SEATED: _ALWAYS | {Input, Command, Resync, Leave},
    State.CLOSED: frozenset(),
}


class Session:
    """One player's presence. Implements `server.rooms.ports.Subscriber` and the connection's `Receiver`.

    Args:
        connection: its WebSocket.
        settings: the edge's limits.
        placer: finds it a room.
        counters: the edge's numbers, added to.
        now_us: UTC, microseconds since 1970.
        ended: told once when it is over.
    """

    __slots__ = (
        "_counters",
        "_events",
        "_joining",
        "_log",
        "_messages",
        "_now_us",
        "_on_ended",
        "_placer",
        "_seat",
        "_settings",
        "_window",
        "connection",
        "player_id",
        "session_id",
        "state",
    )

    def __init__(
        self,
        connection: Connection,
        *,
        settings: EdgeSettings,
        placer: Placer,
        counters: EdgeCounters,
        now_us: Callable[[], int],
        ended: Callable[[Session], None],
    ) -> None:
        self.connection = connection
        self.session_id = secrets.token_urlsafe(12)
        self.player_id = f"guest-{secrets.token_urlsafe(12)}"
        self.state = State.GREETING
        self._settings = settings
        self._placer = placer
        self._counters = counters
        self._now_us = now_us
        self._on_ended = ended
        self._seat: Seat | None = None
        self._joining: asyncio.Task[None] | None = None
        self._events = 0
        self._messages = 0
        self._window = 0
        self._log = log.bind(session_id=self.session_id)
        counters.sessions_opened += 1

    # -- Subscriber: what rooms call ------------------------------------------------------------------------

    @property
    def is_congested(self) -> bool:
        """Whether the transport holds more than it should."""
        return self.connection.is_congested

    def send_tick(self, frames: bytes) -> None:
        """Writes complete frames at once."""
        self.connection.write(frames)

    def send_message(self, message: Message) -> None:
        """Writes one message now."""
        self.connection.write(binary_frame(encode_server(message)))

    def next_event_number(self) -> int:
        """The number of the session's next event, from 1."""
        self._events += 1
        return self._events

    def slow_consumer(self, reason: str) -> None:
        """The client takes too little for too long."""
        self.close(Closing.SLOW_CONSUMER, reason, counted_as="slow_consumer")

    def seat_lost(self, reason: str) -> None:
        """The room has closed; the session may join another."""
        self._seat = None
        if self.state is State.SEATED:
            self.state = State.IDLE
            self.send_message(Left(reason))

    # -- Receiver: what the connection calls ----------------------------------------------------------------

    def message_received(self, data: bytes) -> None:
        """One message. Whatever it holds, what follows is an answer, a counter, or a close."""
        self._counters.messages_received += 1
        self._messages += 1
        self._window += 1
        if self._window > self._settings.messages_per_second_max:
            self._above_rate()
            return
        try:
            message = decode_client(data)
        except UnknownMessage as error:
            self._reject("unsupported", ErrorCode.UNSUPPORTED, str(error))
            return
        except MalformedMessage as error:
            self._reject("malformed", ErrorCode.MALFORMED, str(error))
            self.close(Closing.POLICY, "malformed message", counted_as="malformed")
            return
        try:
            self._handle(message)
        except Malformed as error:
            self._reject("malformed", ErrorCode.MALFORMED, str(error))
            self.close(Closing.POLICY, "malformed message", counted_as="malformed")
        except TickwireError as error:
            self._reject(error.code.lower(), ErrorCode[error.code], str(error))

    def text_received(self) -> None:
        """All messages are binary."""
        self._reject("text", ErrorCode.MALFORMED, "a text message; all messages are binary")
        self.close(Closing.TEXT_MESSAGE, "all messages are binary", counted_as="text")

    def connection_ended(self) -> None:
        """The connection is gone, and the session with it."""
        was, self.state = self.state, State.CLOSED
        if self._joining is not None:
            self._joining.cancel()
        seat, self._seat = self._seat, None
        if seat is not None:
            seat.leave("disconnected")
        self._log.info("session_ended", state=was.value, messages=self._messages, events=self._events)
        self._on_ended(self)

    # -- for the listener -----------------------------------------------------------------------------------

    @property
    def has_greeted(self) -> bool:
        """Whether a valid Hello has come."""
        return self.state is not State.GREETING

    @property
    def joining(self) -> asyncio.Task[None] | None:
        """The join under way, for whoever waits for all of them to end."""
        return self._joining

    def new_second(self) -> None:
        """A second has passed: the rate's window starts anew."""
        self._window = 0

    def time_out(self) -> None:
        """No valid Hello came in time."""
        self.send_message(Error(ErrorCode.HANDSHAKE_TIMEOUT, "no valid Hello in time", retryable=True))
        self.close(Closing.POLICY, "no valid Hello in time", counted_as="handshake_timeout")

    def say_goodbye(self, goodbye: Goodbye) -> None:
        """Tells the client that the server ends, and whether to come back."""
        self.send_message(goodbye)
        self.close(Closing.GOING_AWAY, goodbye.message, counted_as="going_away")

    def close(self, code: Closing, reason: str, *, counted_as: str) -> None:
        """Closes the connection; the session ends with it."""
        if self.connection.is_open:
            self._counters.closed[counted_as] += 1
            self.connection.close(code, reason)

    # -- messages -------------------------------------------------------------------------------------------

    def _handle(self, message: Message) -> None:
        if type(message) is Input and self._seat is not None:
            self._seat.push_input(message)
            return
        if type(message) not in ALLOWED[self.state]:
            if self.state is State.GREETING:
                self._reject("out_of_order", ErrorCode.OUT_OF_ORDER, "the first message must be Hello")
                self.close(Closing.POLICY, "the first message must be Hello", counted_as="out_of_order")
                return
            raise OutOfOrder(f"{type(message).__name__} makes no sense while {self.state.value}")
        match message:
            case Hello():
                self._greet(message)
            case Join():
                self._start_join(message)
            case Leave():
                self._leave()
            case Command() if self._seat is not None:
                self.send_message(self._seat.command(message))
            case Resync() if self._seat is not None:
                self._seat.resync(message)
            case Ping():
                tick = self._seat.tick if self._seat else 0
                self.send_message(Pong(message.client_time_us, self._now_us(), tick))
            case MatchRequest() | MatchCancel():
                self._reject("unsupported", ErrorCode.UNSUPPORTED, "this server has no matchmaking queue")
            case _:
                pass  # an Input or Resync that came after the room had closed

    def _greet(self, hello: Hello) -> None:
        if hello.schema_version < SCHEMA_VERSION_MIN:
            text = f"schema version {hello.schema_version} is too old; at least {SCHEMA_VERSION_MIN} is spoken here"
            self._counters.rejected["upgrade_required"] += 1
            self.send_message(Error(ErrorCode.UPGRADE_REQUIRED, text, upgrade_to=SCHEMA_VERSION_MIN))
            self.close(Closing.UPGRADE_REQUIRED, text, counted_as="upgrade_required")
            return
        self.state = State.IDLE
        settings = self._settings
        self.send_message(
            Welcome(
                session_id=self.session_id,
                server_time_us=self._now_us(),
                heartbeat_interval_ms=int(settings.heartbeat_interval_s * 1000),
                message_bytes_max=settings.message_bytes_max,
                inputs_per_second_max=settings.inputs_per_second_max,
            )
        )

    def _leave(self) -> None:
        seat, self._seat = self._seat, None
        self.state = State.IDLE
        if seat is not None:
            seat.leave("left")
        self.send_message(Left("left"))

    # -- joining --------------------------------------------------------------------------------------------

    def _start_join(self, join: Join) -> None:
        self.state = State.JOINING
        self._joining = asyncio.get_running_loop().create_task(self._join(join), name=f"join {self.session_id}")

    async def _join(self, join: Join) -> None:
        """The task of one join; owned by the session, cancelled with its connection."""
        try:
            async with asyncio.timeout(self._settings.join_timeout_s):
                result = await self._placer.place(self, join)
        except TimeoutError:
            self._join_failed(Unavailable("finding a room took too long", retry_after_ms=1000))
        except TickwireError as error:
            self._join_failed(error)
        except Exception:  # noqa: BLE001 - the task's boundary: logged, and the player gets an answer
            self._log.exception("join_raised")
            self._join_failed(Internal("the server failed to find a room"))
        else:
            self._joined(result)
        finally:
            self._joining = None

    def _joined(self, result: Seat | Redirect) -> None:
        if isinstance(result, Redirect):
            self._counters.joins["redirected"] += 1
            self.state = State.IDLE
            self.send_message(result)
        elif self.state is State.CLOSED:
            result.leave("disconnected")
        else:
            self._counters.joins["seated"] += 1
            self._seat = result
            self.state = State.SEATED
            self._log.debug("seated", room_id=result.room_id, player_id=result.player_id)

    def _join_failed(self, error: TickwireError) -> None:
        self._counters.joins[error.code.lower()] += 1
        if self.state is State.JOINING:
            self.state = State.IDLE
            self._send_error(error)

    # -- refusals -------------------------------------------------------------------------------------------

    def _above_rate(self) -> None:
        most = self._settings.messages_per_second_max
        self._counters.rejected["rate_limited"] += 1
        if self._window == most + 1:
            text = f"more than {most} messages a second; what is above is dropped"
            self.send_message(Error(ErrorCode.RATE_LIMITED, text, retry_after_ms=1000, retryable=True))
        if self._window > 2 * most:
            self.close(Closing.POLICY, "too many messages", counted_as="rate_limited")

    def _reject(self, counted_as: str, code: ErrorCode, text: str) -> None:
        self._counters.rejected[counted_as] += 1
        self.send_message(Error(code, text))

    def _send_error(self, error: TickwireError) -> None:
        self.send_message(
            Error(
                ErrorCode[error.code],
                str(error),
                retry_after_ms=error.retry_after_ms,
                retryable=error.retryable,
            )
        )
