"""The asyncio client: a `ClientCore` on successive WebSockets.

    async with connect("ws://127.0.0.1:8080") as client:
        await client.join("arena", name="lobby")
        await client.send_input({"thrust": 1.0})
        await client.wait_for(lambda: client.world.tick > 100)

The client follows Redirects, and detects silent connections. It reconnects with backoff and the delays that the
server advises, and resumes the session: calls in progress wait, commands are sent again under their ids, and events
arrive once and in order. It does not repeat a join that was refused. The caller repeats it if `Refused.error` is
`retryable`, after its `retry_after_ms`. The client does not predict: the world is the state that the server sent, and
`tickwire.client.interpolation` smooths it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from ssl import SSLContext
from typing import Any

import msgspec

from tickwire.client.backoff import Backoff
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
from tickwire.client.events import Listener, Listeners, RoomEvent, room_event_from
from tickwire.client.reconnect import REDIRECTS_MAX
from tickwire.client.requests import Answer, Request
from tickwire.client.session_connection import ConnectionOptions, ConnectionState, SessionConnection, TokenSource
from tickwire.client.updates import (
    Ended,
    ErrorReceived,
    EventReceived,
    EventsLost,
    InputAcknowledged,
    PongReceived,
    QueueChanged,
    Redirected,
    ReplyReceived,
    SeatLost,
    SeatTaken,
    StateApplied,
    Update,
    Welcomed,
)
from tickwire.client.world import World
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.messages import (
    Error,
    Event,
    Goodbye,
    Join,
    Joined,
    Leave,
    MatchRequest,
    MatchStatus,
    QueueState,
    Redirect,
    Reply,
)
from tickwire.schemas.payloads import decode_payload

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

CALL_S_MAX = 10.0
JOIN_S_MAX = 30.0
"""How long `join` is repeated while it is redirected to a shard that cannot be reached. A dead shard leaves the
directory within some seconds."""
MATCH_S_MAX = 300.0
CANCEL_S_MAX = 5.0
"""How long the queue may take to decide between a cancellation and a match."""
RECONNECT_S = 60.0
EVENTS_MAX = 1024


@asynccontextmanager
async def connect(
    url: str,
    *,
    token: str | TokenSource = "",
    build: str = "tickwire-python",
    tls: SSLContext | None = None,
    reconnect_s: float = RECONNECT_S,
) -> AsyncIterator[Client]:
    """Open a session, and end it at the end of the block, which frees the seat and the queue entry.

    Args:
        url: the address of the server.
        token: the player's token, or a function that returns a token for every connection.
        build: the game's version, for the server's logs.
        tls: the TLS settings for wss, if the system's trusted certificates are not sufficient.
        reconnect_s: how long the client tries to reconnect after a lost connection; 0 disables reconnecting.

    Raises:
        Disconnected: the server cannot be reached.
        Refused: the server refuses the session.
    """
    client = Client(url, token=token, build=build, tls=tls, reconnect_s=reconnect_s)
    await client.open()
    try:
        yield client
    finally:
        await client.close()


class Client:
    """One player's session.

    Attributes:
        core: the Sans-I/O core.
        events: the room's events, oldest first; above EVENTS_MAX the oldest are dropped and counted.
        bytes_received, ticks_received, events_dropped: counted since the start.
        resumes, sessions_lost: the number of reconnects that kept the session, and that lost it.
        rtt_s, clock_offset_s: from the last Pong; None before. The server's UTC time is the client's monotonic clock
            plus the offset.
        queue_status: the last status of the queue, while `match` waits.
        last_error: the last Error of the server, whether or not it answered a request.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | TokenSource = "",
        build: str = "",
        tls: SSLContext | None = None,
        reconnect_s: float = RECONNECT_S,
        rng: random.Random | None = None,
    ) -> None:
        self._rng = rng or random.Random()  # noqa: S311 - spreads retries, keeps no secret
        self.core = ClientCore(random=self._rng.random)
        self.events: deque[RoomEvent] = deque(maxlen=EVENTS_MAX)
        self.bytes_received = 0
        self.ticks_received = 0
        self.events_dropped = 0
        self.resumes = 0
        self.sessions_lost = 0
        self.last_error: Error | None = None
        self.queue_status: MatchStatus | None = None
        self.rtt_s: float | None = None
        self.clock_offset_s: float | None = None
        self._connection = SessionConnection(
            ConnectionOptions(url=url, token=token, build=build, tls=tls, reconnect_s=reconnect_s),
            core=self.core,
            random=self._rng.random,
            on_message=self._receive,
            on_change=self._connection_changed,
        )
        self._changed = asyncio.Condition()
        self._listeners = Listeners()
        self._undelivered_events: deque[RoomEvent] = deque(maxlen=EVENTS_MAX)
        self._state_before = ConnectionState.CLOSED
        self._requests: dict[Request, asyncio.Future[Answer]] = {}
        self._replies: dict[int, asyncio.Future[Reply]] = {}
        self._seat_lock = asyncio.Lock()
        self._match_lock = asyncio.Lock()
        self._wake_sender = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None

    # -- the session ----------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect and open the session.

        Raises:
            Disconnected, Refused: as `connect`.
        """
        await self._connection.open()
        self._sender = asyncio.create_task(self._send_outgoing(), name="client commands")

    async def close(self) -> None:
        """End the session, and free its seat and queue entry. Idempotent.

        A client that is reconnecting cannot notify the server, which then keeps the session for the resume window.
        """
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.cancel()
        await self._connection.close("closed")
        if sender is not None:
            await asyncio.wait([sender])

    async def drop(self) -> None:
        """Break the connection, as a bad network does; the client then reconnects."""
        if self._connection.socket is not None:
            await self._connection.socket.drop()

    def on(self, name: str, listener: Listener) -> Callable[[], None]:
        """Add a listener, which is called for each update of one kind, in the order of arrival.

        An exception in a listener is passed to the `error` listeners, or logged, and the client continues. Events of
        the room that arrived after `join` and before the first listener are delivered to that listener immediately.

        Args:
            name: `state` (StateApplied), `event` (RoomEvent), `joined` (Joined), `left` (the reason), `acknowledged`
                (InputAcknowledged), `match` (MatchStatus), `disconnected` (the reason), `reconnected` (whether the
                session is the same), `pong` (PongReceived), `refused` (Refused), `closed` (Disconnected) or
                `error` (ListenerError).
            listener: a plain function of one argument.

        Returns:
            A function that removes the listener.

        Raises:
            ValueError: the name is unknown, or the listener is a coroutine function.
        """
        remove = self._listeners.add(name, listener)
        while name == "event" and self._undelivered_events:
            self._listeners.notify(name, self._undelivered_events.popleft())
        return remove

    async def join(
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
        """Join a room, on whichever shard it is. See `ClientCore.join` for the arguments.

        If the client is redirected to a shard that cannot be reached, it repeats the join at its initial URL.

        Raises:
            Refused: the server refused the join; `error.retryable` is True if the join can be repeated.
            Disconnected: the connection was closed for good, or the room's shard cannot be reached.
            TimeoutError: no answer within CALL_S_MAX.
            ClientError: redirected too often, or from an encrypted connection to a plain one.
            MessageTooLarge: the server would not accept the message.
        """
        data = self.core.join(
            room_type,
            name=name,
            options=options,
            room_id=room_id,
            code=code,
            is_private=is_private,
            labels=labels,
            party=party,
        )
        async with self._seat_lock:
            return await self._acquire_seat(data, options)

    async def match(
        self,
        mode: str,
        *,
        options: dict[str, Any] | None = None,
        party: tuple[str, int] | None = None,
        latencies: dict[str, float] | None = None,
        labels: dict[str, str] | None = None,
        timeout_s: float = MATCH_S_MAX,
    ) -> Joined:
        """Wait in a queue until a match is found, and join its room. See `ClientCore.match_request`.

        Every failure also leaves the queue, including a cancellation of the task.

        Raises:
            NotMatched: the player left the queue without a match; the status has the reason.
            Refused: the mode does not exist, the queue is full, or the join was refused.
            TimeoutError: no match was found in time. A match that was final before the timeout is joined instead.
            Disconnected, ClientError: as `join`; ClientError also if another `match` is waiting.
        """
        if self._match_lock.locked():
            raise ClientError("another match is waiting: call cancel_match first")
        async with self._match_lock:
            data = self.core.match_request(mode, options=options, party=party, latencies=latencies, labels=labels)
            self.queue_status = None
            try:
                found = await self._find_match(Request(MatchRequest, data), timeout_s)
                async with self._seat_lock:
                    return await self._join_match(found.redirect, mode, options)
            except NotMatched:
                raise
            except BaseException:
                self.core.abandon_match()
                self._wake_sender.set()
                raise

    async def _find_match(self, request: Request, timeout_s: float) -> Redirected:
        """Wait for a match. After the timeout the queue decides: a match that was final before counts."""
        loop = asyncio.get_running_loop()
        is_late = False

        def cancel() -> None:
            nonlocal is_late
            is_late = True
            self.core.outgoing.append(self.core.match_cancel())
            self._wake_sender.set()

        timer = loop.call_later(timeout_s, cancel)
        try:
            found = await self._request(request, timeout_s + CANCEL_S_MAX)
        finally:
            timer.cancel()
        if isinstance(found, Redirected):
            return found
        assert isinstance(found, QueueChanged)
        if is_late:
            raise TimeoutError(f"no match was found within {timeout_s:g} s")
        raise NotMatched(found.status)

    async def _join_match(self, redirect: Redirect, mode: str, options: dict[str, Any] | None) -> Joined:
        if self.core.world is not None:
            await self._request(Request(Leave, self.core.leave()), CALL_S_MAX)
        data = await self._follow(redirect, options)
        if data is None:
            reason = "the shard of the match cannot be reached"
            raise NotMatched(MatchStatus(QueueState.CANCELLED, mode=mode, reason=reason))
        return await self._acquire_seat(data, options)

    async def cancel_match(self) -> None:
        """Leave the queue: a `match` in progress raises NotMatched, unless the match was already final."""
        await self._connection.send(self.core.match_cancel())

    async def _acquire_seat(self, first: bytes, options: dict[str, Any] | None) -> Joined:
        """Request a seat and follow Redirects. After an unreachable shard, repeat the request at the initial URL."""
        await self.wait_for(lambda: not self.core.is_abandoning_join, CALL_S_MAX)
        data, redirects = first, 0
        deadline_s, backoff = time.monotonic() + JOIN_S_MAX, Backoff(self._rng.random)
        while True:
            answer = await self._request(Request(Join, data), CALL_S_MAX)
            if isinstance(answer, SeatTaken):
                return answer.joined
            assert isinstance(answer, Redirected)
            redirects += 1
            if redirects > REDIRECTS_MAX:
                raise ClientError(f"redirected more than {REDIRECTS_MAX} times")
            followed = await self._follow(answer.redirect, options)
            if followed is None:
                pause_s = backoff.next_s()
                if time.monotonic() + pause_s > deadline_s:
                    raise Disconnected(f"the room's shard, {answer.redirect.url}, cannot be reached")
                await asyncio.sleep(pause_s)
                redirects = 0
            data = first if followed is None else followed

    async def _follow(self, redirect: Redirect, options: dict[str, Any] | None) -> bytes | None:
        """Follow a Redirect.

        Returns:
            The Join to send there; None if the shard cannot be reached: the client is then connected to its initial
            URL.
        """
        if redirect.url:
            connections = self._connection.connections
            self._connection.visit(redirect.url)
            await self.wait_for(lambda: self.is_connected and self._connection.connections > connections, JOIN_S_MAX)
            if self.url != redirect.url:
                return None
        return self.core.join(redirect.room_type, name=redirect.room_name, ticket=redirect.ticket, options=options)

    async def leave(self) -> None:
        """Leave the room.

        Raises:
            Refused: the client is in no room.
            Disconnected, TimeoutError: as `join`.
        """
        async with self._seat_lock:
            await self._request(Request(Leave, self.core.leave()), CALL_S_MAX)

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
        self._check_in_room()
        if self.state is ConnectionState.CLOSED:
            raise self._connection.disconnected()
        if not self.is_connected:
            return 0
        data, seq = self.core.input(values), self.core.input_seq
        return seq if await self._connection.send(data) else 0

    async def command(self, name: str, payload: Any = None, *, timeout_s: float = CALL_S_MAX) -> Any:
        """Run a command in the room and return its result.

        The command runs at most once, also across reconnects. It is sent again, under the same id, while the server
        replies that the outcome is unknown or that a rate limit was exceeded. Any number of commands may be in
        progress: the client holds back those above the server's limits, and this time counts towards `timeout_s`.

        Raises:
            CommandFailed: the room rejected the command.
            ClientError: the client is in no room, the room closed before it replied, or too many commands wait.
            SessionLost: the session was lost; whether the command ran is unknown.
            TimeoutError: no reply within `timeout_s`; whether the command ran is unknown.
            Disconnected: the connection was closed for good; whether the command ran is unknown.
            MessageTooLarge: the server would not accept the message.
        """
        self._check_in_room()
        if self.state is ConnectionState.CLOSED:
            raise self._connection.disconnected()
        command_id, _ = self.core.command(name, payload)
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._replies[command_id] = future
        self._wake_sender.set()
        try:
            async with asyncio.timeout(timeout_s):
                reply = await future
        except (SessionLost, Disconnected, ClientError) as error:  # shared by all waiting commands: raise a new one
            raise type(error)(f"{error} before the room answered {name!r}") from error
        finally:
            self.core.abandon_command(command_id)
            del self._replies[command_id]
            _mark_retrieved(future)
            self._wake_sender.set()  # the next command may be sent
        if not reply.ok:
            raise CommandFailed(reply)
        try:
            return decode_payload(reply.payload) if reply.payload else None
        except MalformedMessage as error:
            raise ClientError(f"the reply to {name!r} cannot be decoded: {error}") from error

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
    def state(self) -> ConnectionState:
        """The state of the connection."""
        return self._connection.state

    @property
    def url(self) -> str:
        """The address of the session's shard."""
        return self._connection.url

    @property
    def close_code(self) -> int | None:
        """The close code of the last connection; None while it is open, or if it broke without a close."""
        return self._connection.close_code

    @property
    def goodbye(self) -> Goodbye | None:
        """The server's Goodbye on the last connection; None without one."""
        return self._connection.goodbye

    @property
    def listener_failures(self) -> int:
        """The number of exceptions in listeners."""
        return self._listeners.failures

    @property
    def acknowledged_seq(self) -> int:
        """The sequence number of the newest input that is part of the world."""
        return self.core.acknowledged_seq

    @property
    def is_connected(self) -> bool:
        """Whether the client is connected."""
        return self.state is ConnectionState.CONNECTED

    async def wait_for(self, predicate: Callable[[], bool], timeout_s: float = CALL_S_MAX) -> None:
        """Wait until the predicate is true. It is checked after every message and after changes of the connection.

        Raises:
            TimeoutError: the predicate did not become true in time.
            Disconnected: the connection was closed for good before.
        """
        async with asyncio.timeout(timeout_s), self._changed:
            while not predicate():
                if self.state is ConnectionState.CLOSED:
                    raise self._connection.disconnected()
                await self._changed.wait()

    # -- requests and commands ------------------------------------------------------------------------------

    async def _request(self, request: Request, timeout_s: float) -> Answer:
        """Send a request and wait for its answer. The request is sent again after a reconnect, if needed.

        Raises:
            Refused, TimeoutError, Disconnected: as `join`.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._requests[request] = future
        try:
            await self._connection.send(request.data)
            async with asyncio.timeout(timeout_s):
                answer: Answer = await future
        except BaseException:
            if request.type is Join:
                self._abandon_join(future)
            raise
        finally:
            del self._requests[request]
            _mark_retrieved(future)
        if isinstance(answer, ErrorReceived):
            raise Refused(answer.error)
        return answer

    def _abandon_join(self, future: asyncio.Future[Answer]) -> None:
        """Release the seat of a join whose caller stopped waiting, also if the seat is still to arrive."""
        has_answer = future.done() and not future.cancelled() and future.exception() is None
        if not has_answer:
            self.core.abandon_join()
        elif isinstance(future.result(), SeatTaken):
            self.core.outgoing.append(self.core.leave())
        self._wake_sender.set()

    def _answer_requests(self, update: Update) -> None:
        """Pass an update to the oldest request that it answers."""
        for request, future in self._requests.items():
            answer = request.answer(update)
            if answer is not None and not future.done():
                future.set_result(answer)
                return

    def _fail_commands(self, error: ClientError) -> None:
        for future in self._replies.values():
            if not future.done():
                future.set_exception(error)

    async def _send_outgoing(self) -> None:
        """Send commands when they are due, and the core's own messages. Runs as a task."""
        while True:
            self._wake_sender.clear()
            timeout_s = await self._send_due_commands() if self.is_connected else None
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._wake_sender.wait()

    async def _send_due_commands(self) -> float | None:
        """Send the due commands. Return the seconds until more may be due; None if no command waits."""
        with suppress(Disconnected):  # the waiting calls raise it
            await self._connection.send()
            for data in self.core.commands_due(_now_us()):
                await self._connection.send(data)
        due_us = self.core.next_command_us(_now_us())
        return None if due_us is None else max(0.0, (due_us - _now_us()) / 1e6)

    # -- messages -------------------------------------------------------------------------------------------

    async def _receive(self, data: bytes) -> None:
        self.bytes_received += len(data)
        tick_before = self.core.world.tick if self.core.world else 0
        update = self.core.receive(data, now_us=_now_us())
        if self.core.world and self.core.world.tick > tick_before:
            self.ticks_received += 1
        if update is not None:
            self._handle(update)
            self._answer_requests(update)
        if self.core.outgoing and not isinstance(update, Welcomed):  # after Welcome the SessionConnection sends them
            await self._connection.send()
        if update is not None and not isinstance(update, StateApplied | InputAcknowledged | EventReceived):
            self._wake_sender.set()
        await self._notify_all()

    def _handle(self, update: Update) -> None:
        match update:
            case Welcomed():
                self._welcomed(update)
            case QueueChanged(status, is_current=True):
                self.queue_status = status
                self._listeners.notify("match", status)
            case Redirected(redirect) if redirect.is_resume:
                self._connection.redirected(redirect.url)
            case SeatTaken(joined):
                self._undelivered_events.clear()
                self._listeners.notify("joined", joined)
            case SeatLost(reason):
                self._seat_lost(reason)
            case ErrorReceived(error):
                self.last_error = error
                self._connection.record_answer(error)
                self._listeners.notify("refused", Refused(error))
            case EventsLost(error):
                self.last_error = error
            case EventReceived(event):
                self._event_received(event)
            case ReplyReceived(reply, is_decided=True):
                future = self._replies.get(reply.id)  # None: the caller stopped waiting
                if future is not None and not future.done():
                    future.set_result(reply)
            case Ended(goodbye):
                self._connection.goodbye = goodbye
                self._store_event(RoomEvent(0, "goodbye", goodbye.message, msgspec.msgpack.encode(goodbye.message)))
            case PongReceived(rtt_us, clock_offset_us):
                self.rtt_s, self.clock_offset_s = rtt_us / 1e6, clock_offset_us / 1e6
                self._listeners.notify("pong", update)
            case StateApplied():
                self._listeners.notify("state", update)
            case InputAcknowledged():
                self._listeners.notify("acknowledged", update)

    def _welcomed(self, update: Welcomed) -> None:
        self._connection.record_answer(update.welcome)
        self.resumes += update.has_resumed
        self.sessions_lost += update.has_lost_session
        if update.has_lost_session:
            self._fail_commands(SessionLost("the session was lost"))
        if update.lost_room_id:
            self._seat_lost("the seat was lost while the client was disconnected")
        unanswered = [request.data for request in self._requests if not request.is_in_flight(update.welcome)]
        self.core.outgoing.extend(unanswered)

    def _seat_lost(self, reason: str) -> None:
        self._fail_commands(ClientError("the room closed"))
        self._listeners.notify("left", reason)

    async def _connection_changed(self) -> None:
        before, self._state_before = self._state_before, self.state
        match before, self.state:
            case ConnectionState.CONNECTED, ConnectionState.RECONNECTING:
                self._listeners.notify("disconnected", self._connection.close_reason)
            case ConnectionState.RECONNECTING, ConnectionState.CONNECTED:
                self._listeners.notify("reconnected", self._connection.has_resumed)
            case _, ConnectionState.CLOSED if before is not ConnectionState.CLOSED:
                self._fail_all(self._connection.disconnected())
        self._wake_sender.set()
        await self._notify_all()

    def _fail_all(self, error: Disconnected) -> None:
        for future in self._requests.values():
            if not future.done():
                future.set_exception(error)
        self._fail_commands(error)
        self._listeners.notify("closed", error)

    async def _notify_all(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _event_received(self, event: Event) -> None:
        received = room_event_from(event)
        self._store_event(received)
        if self._listeners.has("event"):
            self._listeners.notify("event", received)
        else:
            self._undelivered_events.append(received)

    def _store_event(self, event: RoomEvent) -> None:
        self.events_dropped += len(self.events) == EVENTS_MAX
        self.events.append(event)

    def _check_in_room(self) -> None:
        if self.core.world is None:
            raise ClientError("the client is in no room: join first")


def _mark_retrieved(future: asyncio.Future[Any]) -> None:
    """Mark an exception as retrieved: asyncio would log it if the caller was cancelled at the same moment."""
    if future.done() and not future.cancelled():
        future.exception()


def _now_us() -> int:
    return time.monotonic_ns() // 1000
