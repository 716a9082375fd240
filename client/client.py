"""The asyncio client: a `ClientCore` on successive WebSockets.

    async with connect("ws://127.0.0.1:8080") as client:
        await client.join("arena", name="lobby")
        await client.send_input({"thrust": 1.0})
        await client.wait_for(lambda: client.world.tick > 100)

The client follows Redirects, and detects silent connections. It reconnects with backoff and the delays that the
server advises, and resumes the session: calls in progress wait, commands are sent again under their ids, and events
arrive once and in order. It does not repeat a join that was refused. The caller repeats it if `Refused.error` is
`retryable`, after its `retry_after_ms`. The world is the state that the server sent: `tickwire.client.interpolation`
smooths it, and `tickwire.client.prediction` predicts the player's own entity.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from ssl import SSLContext
from typing import Any, TypeVar, overload

import msgspec

from tickwire.client.connection_state import ConnectionState
from tickwire.client.core import ClientCore
from tickwire.client.errors import (
    ClientError,
    CommandFailed,
    Disconnected,
    MessageTooLarge,
    NotMatched,
    Refused,
    SessionLost,
)
from tickwire.client.events import Listener, RoomEvent
from tickwire.client.open_room import OpenRoom
from tickwire.client.options import JoinOptions, MatchOptions
from tickwire.client.session import CALL_S_MAX, ClientSession, SessionOptions, TokenSource
from tickwire.client.session_storage import SessionStorage
from tickwire.client.world import World
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.messages import Error, Goodbye, Joined, MatchStatus, Reply
from tickwire.schemas.payloads import decode_value
from tickwire.schemas.report import REPORT_COMMAND, ReportReply

__all__ = [
    "Client",
    "ClientError",
    "CommandFailed",
    "ConnectionState",
    "Disconnected",
    "MessageTooLarge",
    "NotMatched",
    "Refused",
    "RoomEvent",
    "SessionLost",
    "connect",
]

EventType = TypeVar("EventType")
MATCH_S_MAX = 300.0
ROOMS_PER_LIST_MAX = 100
RECONNECT_S = 60.0


@asynccontextmanager
async def connect(  # noqa: PLR0913 - keywords, not a struct: a first program imports nothing but `connect`
    url: str,
    *,
    token: str | TokenSource = "",
    build: str = "tickwire-python",
    tls: SSLContext | None = None,
    reconnect_s: float = RECONNECT_S,
    session_storage: SessionStorage | None = None,
) -> AsyncIterator[Client]:
    """Open a session, and end it at the end of the block, which frees the seat and the queue entry.

    Args:
        url: the address of the server.
        token: the player's token, or a function that returns a token for every connection.
        build: the game's version, for the server's logs.
        tls: the TLS settings for wss, if the system's trusted certificates are not sufficient.
        reconnect_s: how long the client tries to reconnect after a lost connection; 0 disables reconnecting.
        session_storage: an object with `load`, `save` and `clear`, in which the session is saved: a client that is
            opened after a restart of the program resumes it, and is in its room. The end of the block deletes it.

    Raises:
        Disconnected: the server cannot be reached.
        Refused: the server refuses the session.
    """
    client = Client(url, token=token, build=build, tls=tls, reconnect_s=reconnect_s, session_storage=session_storage)
    await client.open()
    try:
        yield client
    finally:
        await client.close()


class Client:
    """One player's session. See `connect` for the arguments.

    Attributes:
        core: the Sans-I/O core.
        events: the room's events, oldest first; above EVENTS_MAX the oldest are dropped and counted.
    """

    def __init__(  # noqa: PLR0913 - as `connect`
        self,
        url: str,
        *,
        token: str | TokenSource = "",
        build: str = "",
        tls: SSLContext | None = None,
        reconnect_s: float = RECONNECT_S,
        session_storage: SessionStorage | None = None,
    ) -> None:
        options = SessionOptions(
            url=url, token=token, build=build, tls=tls, reconnect_s=reconnect_s, session_storage=session_storage
        )
        rng = random.Random()  # noqa: S311 - spreads retries, keeps no secret
        self._session = session = ClientSession(options, rng)
        self._machine = session.machine
        self.core: ClientCore = session.core
        self.events: deque[RoomEvent] = session.events.events

    # -- the session ----------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect and open the session.

        Raises:
            Disconnected, Refused: as `connect`.
        """
        await self._session.open()

    async def close(self) -> None:
        """End the session, and free its seat and queue entry. Idempotent.

        A client that is reconnecting cannot notify the server, which then keeps the session for the resume window.
        """
        await self._session.close()

    async def drop(self) -> None:
        """Break the connection, as a bad network does; the client then reconnects."""
        self._session.event(self._machine.drop)

    def network_changed(self) -> None:
        """Check the path, or reconnect, at once: for programs that learn that the network has changed."""
        self._session.event(self._machine.network_changed)

    @overload
    def on(self, name: type[EventType], listener: Callable[[EventType], object]) -> Callable[[], None]: ...
    @overload
    def on(self, name: str, listener: Listener) -> Callable[[], None]: ...
    def on(self, name: str | type[Any], listener: Listener) -> Callable[[], None]:
        """Add a listener, which is called for each update of one kind, in the order of arrival.

        An exception in a listener is passed to the `error` listeners, or logged, and the client continues. Events of
        the room that arrived after `join` and before the first listener are delivered to that listener immediately.

        Args:
            name: `state` (StateApplied), `event` (RoomEvent), `joined` (Joined), `left` (the reason), `acknowledged`
                (InputAcknowledged), `match` (MatchStatus), `disconnected` (the reason), `reconnected` (whether the
                session is the same), `pong` (PongReceived), `refused` (Refused), `closed` (Disconnected) or
                `error` (ListenerError); or the class of an event, such as a subclass of `tickwire.Event`, whose
                instances the listener then receives.
            listener: a plain function of one argument.

        Returns:
            A function that removes the listener.

        Raises:
            ValueError: the name is unknown, or the listener is a coroutine function.
        """
        if isinstance(name, type):
            return self._session.events.add_typed_listener(name, listener)
        if name == "event":
            return self._session.events.add_listener(listener)
        return self._session.listeners.add(name, listener)

    async def wait_for(self, predicate: Callable[[], bool], timeout_s: float = CALL_S_MAX) -> None:
        """Wait until the predicate is true. It is checked after every message and after changes of the connection.

        Raises:
            TimeoutError: the predicate did not become true in time.
            Disconnected: the connection was closed for good before.
        """
        await self._session.wait_for(predicate, timeout_s)

    async def authenticate(self, token: str) -> str:
        """Log in during the session, or renew its token, without a new connection. Return the player's id.

        A guest's session becomes that of the token's player, who keeps its seat. The room knows the player by the
        guest's id until the next join. The client uses the token for later connections, too, until the function that
        was passed as `token` returns another one than before. The client renews the token itself, if such a function
        was passed: the server requests it some time before the token expires.

        Raises:
            Refused: the token is invalid or another player's (UNAUTHORIZED), the player is banned (BANNED) or has a
                session elsewhere (ALREADY_CONNECTED), or the server is older (UNSUPPORTED). The session continues.
            Disconnected, TimeoutError, MessageTooLarge: as `join`; after a TimeoutError the outcome is unknown.
        """
        player_id: str = await self._session.call(lambda now: self._machine.authenticate(token, now))
        return player_id

    # -- rooms ----------------------------------------------------------------------------------------------

    # Keywords, not a struct: a first program imports nothing but `connect`.
    async def join(  # noqa: PLR0913
        self,
        room_type: str,
        *,
        name: str = "",
        options: dict[str, Any] | None = None,
        room_id: str = "",
        code: str = "",
        is_private: bool = False,
        labels: dict[str, str] | None = None,
        party: tuple[str, int] | None = None,
    ) -> Joined:
        """Join a room, on whichever shard it is. See `JoinOptions` for the arguments.

        If the client is redirected to a shard that cannot be reached, it repeats the join at its initial URL.

        Raises:
            Refused: the server refused the join; `error.retryable` is True if the join can be repeated.
            Disconnected: the connection was closed for good, or the room's shard cannot be reached.
            TimeoutError: no answer within CALL_S_MAX.
            ClientError: redirected too often, or from an encrypted connection to a plain one.
            MessageTooLarge: the server would not accept the message.
        """
        join_options = JoinOptions(
            name=name,
            options=options,
            room_id=room_id,
            code=code,
            is_private=is_private,
            labels=labels,
            party=party,
        )
        joined: Joined = await self._session.call(lambda now: self._machine.join(room_type, join_options, now))
        return joined

    async def match(  # noqa: PLR0913 - as `join`
        self,
        mode: str,
        *,
        options: dict[str, Any] | None = None,
        party: tuple[str, int] | None = None,
        latencies: dict[str, float] | None = None,
        labels: dict[str, str] | None = None,
        timeout_s: float = MATCH_S_MAX,
    ) -> Joined:
        """Wait in a queue until a match is found, and join its room. See `MatchOptions` for the arguments.

        Every failure also leaves the queue, including a cancellation of the task.

        Raises:
            NotMatched: the player left the queue without a match; the status has the reason.
            Refused: the mode does not exist, the queue is full, or the join was refused.
            TimeoutError: no match was found in time. A match that was final before the timeout is joined instead.
            Disconnected, ClientError: as `join`; ClientError also if another `match` is waiting.
        """
        match_options = MatchOptions(options=options, party=party, latencies=latencies, labels=labels)
        timeout_ms = timeout_s * 1000
        if not self._machine.is_matching:
            self._session.queue_status = None
        joined: Joined = await self._session.call(
            lambda now_ms: self._machine.match(mode, match_options, timeout_ms, now_ms)
        )
        return joined

    async def list_rooms(
        self, room_type: str, *, labels: Mapping[str, str] | None = None, limit: int = 50
    ) -> list[OpenRoom]:
        """Return rooms of a type that any player may join now, the fullest first: for a lobby.

        Join one with `join(room_type, room_id=room.room_id)`. It may be full by then.

        Args:
            room_type: the type.
            labels: only rooms with these labels.
            limit: the most rooms to return, 1 to 100.

        Raises:
            Refused: the type is unknown, a label is invalid, or the client asks too often (RATE_LIMITED).
            Disconnected, TimeoutError, MessageTooLarge: as `join`.
            ValueError: the limit is not in 1 to ROOMS_PER_LIST_MAX.
        """
        if not 1 <= limit <= ROOMS_PER_LIST_MAX:
            raise ValueError(f"the limit of a list of rooms must be 1 to {ROOMS_PER_LIST_MAX}, not {limit}")
        answer = await self._session.call(lambda now: self._machine.list_rooms(room_type, labels, limit, now))
        return [OpenRoom.from_message(room) for room in answer.rooms]

    async def cancel_match(self) -> None:
        """Leave the queue: a `match` in progress raises NotMatched, unless the match was already final."""
        if self.state is ConnectionState.CLOSED:
            raise self._machine.connection.disconnected()
        self._session.event(self._machine.cancel_match)

    async def leave(self) -> None:
        """Leave the room.

        Raises:
            Refused: the client is in no room.
            Disconnected, TimeoutError: as `join`.
        """
        await self._session.call(self._machine.leave)

    async def send_input(self, values: dict[str, float]) -> int:
        """Send an input, in the game's units. Missing fields are zero.

        Returns:
            Its sequence number; 0 if it was not sent because the client is reconnecting, when it would arrive too
            late.

        Raises:
            ClientError: the client is in no room.
            ValueError: the room declares no such input, or a value is not a number.
            Disconnected: the connection was closed for good.
        """
        return await self._session.send_input(values)

    async def command(
        self, name: str, payload: Any = None, /, *, timeout_s: float = CALL_S_MAX, **arguments: Any
    ) -> Any:
        """Run a command in the room and return its result: `await client.command("buy", item="tea", count=2)`.

        The command runs at most once, also across reconnects. It is sent again, under the same id, while the server
        replies that the outcome is unknown or that a rate limit was exceeded. Any number of commands may be in
        progress: the client holds back those above the server's limits, and this time counts towards `timeout_s`.

        Args:
            name: the name of the command.
            payload: instead of arguments by name: a map of them, or the first argument alone.
            timeout_s: how long to wait for the result.
            **arguments: the arguments of the command, by name.

        Raises:
            CommandFailed: the room rejected the command, or its arguments (INVALID_ARGUMENT).
            TypeError: both a payload and arguments are passed.
            ClientError: the client is in no room, lost its seat before the reply arrived, or too many commands wait.
            SessionLost: the session was lost; whether the command ran is unknown.
            TimeoutError: no reply within `timeout_s`; whether the command ran is unknown.
            Disconnected: the connection was closed for good; whether the command ran is unknown.
            MessageTooLarge: the server would not accept the message.
        """
        if arguments and payload is not None:
            raise TypeError("pass a command either a payload or arguments by name")
        value, timeout_ms = arguments or payload, timeout_s * 1000
        reply: Reply = await self._session.call(lambda now: self._machine.command(name, value, timeout_ms, now))
        try:
            return decode_value(reply.payload)
        except MalformedMessage as error:
            raise ClientError(f"the reply to {name!r} cannot be decoded: {error}") from error

    async def report(self, reason: str, *, timeout_s: float = CALL_S_MAX) -> ReportReply:
        """Report what is wrong in the match: the shard logs it and stores the last seconds of the room.

        A player may report once a minute.

        Args:
            reason: the player's words, 1 to 500 characters.
            timeout_s: how long to wait for the reply.

        Returns:
            The number of the report, for the game's support, and whether the room was recorded.

        Raises:
            CommandFailed: the player has reported less than a minute ago, or the server accepts no reports.
            ClientError, SessionLost, TimeoutError, Disconnected: see `command`.
        """
        answer = await self.command(REPORT_COMMAND, {"reason": reason}, timeout_s=timeout_s)
        return msgspec.convert(answer, ReportReply)

    # -- the state of the client ----------------------------------------------------------------------------

    @property
    def world(self) -> World:
        """The mirrored world.

        Raises:
            ClientError: the client is in no room.
        """
        if self.core.world is None:
            raise ClientError("the client is in no room: join first")
        return self.core.world

    @property
    def room(self) -> Joined | None:
        """The room that the client is in; None outside of a room."""
        return self.core.joined

    @property
    def state(self) -> ConnectionState:
        """The state of the connection."""
        return self._session.state

    @property
    def url(self) -> str:
        """The address of the session's shard."""
        return self._machine.connection.session_url

    @property
    def close_code(self) -> int | None:
        """The close code of the last connection; None while it is open, or if it broke without a close."""
        return self._session.close_code

    @property
    def goodbye(self) -> Goodbye | None:
        """The server's Goodbye on the last connection; None without one."""
        return self._machine.connection.goodbye

    @property
    def listener_failures(self) -> int:
        """The number of exceptions in listeners."""
        return self._session.listeners.failures

    @property
    def acknowledged_seq(self) -> int:
        """The sequence number of the newest input that is part of the world."""
        return self.core.acknowledged_seq

    @property
    def is_connected(self) -> bool:
        """Whether the client is connected."""
        return self.state is ConnectionState.CONNECTED

    @property
    def resumes(self) -> int:
        """The number of reconnects that kept the session."""
        return self._machine.resumes

    @property
    def sessions_lost(self) -> int:
        """The number of reconnects after which the server did not have the session any more."""
        return self._machine.sessions_lost

    @property
    def bytes_received(self) -> int:
        """The size of all received messages."""
        return self._session.bytes_received

    @property
    def ticks_received(self) -> int:
        """The number of received states that advanced the world."""
        return self._session.ticks_received

    @property
    def events_dropped(self) -> int:
        """The number of events that were dropped from `events`."""
        return self._session.events.dropped

    @property
    def rtt_ms(self) -> float | None:
        """The last measured round trip, in milliseconds; None before the first Pong."""
        return self._session.rtt_ms

    @property
    def clock_offset_ms(self) -> float | None:
        """The server's UTC time minus the client's monotonic clock, in milliseconds; None before the first Pong."""
        return self._session.clock_offset_ms

    @property
    def queue_status(self) -> MatchStatus | None:
        """The last status of the queue, while `match` waits."""
        return self._session.queue_status

    @property
    def last_error(self) -> Error | None:
        """The last Error of the server, whether or not it answered a request."""
        return self._session.last_error
