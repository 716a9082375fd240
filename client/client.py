"""The asyncio client: a `ClientCore` on WebSockets, one after the other.

    async with connect("ws://127.0.0.1:8080") as client:
        await client.join("arena", name="lobby")
        await client.send_input({"thrust": 1.0})
        await client.wait_for(lambda: client.world.tick > 100)

It follows Redirects by itself, and gives up on a connection that has fallen silent. A lost connection is made again,
with back-off and as the server advises, and the session is resumed: calls under way wait for it, commands are asked
again under their ids, events come once and in order. It does not ask again for a seat that was refused: whoever calls
`join` does, when `ErrorReceived.error` says `retryable`, after its `retry_after_ms`. It predicts nothing: the world
is what the server sent; `client.interpolation` shows it smoothly.
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
"""For how long `join` asks again when it is redirected to a shard that cannot be reached. A shard that has died is
forgotten by the others within some seconds."""
MATCH_S_MAX = 300.0
CANCEL_S_MAX = 5.0
"""How long the queue may take to decide whether a cancellation or the match came first."""
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
    """An open session, ended at the end of the block: seat and place in the queue are free at once.

    Args:
        url: where to connect.
        token: who the player is; a function is asked for a fresh one at every connection.
        build: the game's version, for the server's logs.
        tls: for wss, when the system's own trust is not enough.
        reconnect_s: for how long a lost connection is tried again; 0: never.

    Raises:
        Disconnected: the server cannot be reached.
        ErrorReceived: it refuses the session.
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
        events: what the room said, oldest first; above EVENTS_MAX the oldest are dropped and counted.
        bytes_received, ticks_received, events_dropped: counted since the start.
        resumes, sessions_lost: how often the connection was lost and the session kept, or not kept.
        rtt_s, clock_offset_s: of the last Pong; None before. The server's UTC is our monotonic clock and the offset.
        queue_status: where the player stands in the queue, while `match` waits.
        last_error: the last thing that the server refused, also when nobody had asked.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | TokenSource = "",
        build: str = "",
        tls: SSLContext | None = None,
        reconnect_s: float = RECONNECT_S,
        chance: random.Random | None = None,
    ) -> None:
        self._chance = chance or random.Random()  # noqa: S311 - spreads retries, keeps no secret
        self.core = ClientCore(random=self._chance.random)
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
        self._keeper = SessionConnection(
            ConnectionOptions(url=url, token=token, build=build, tls=tls, reconnect_s=reconnect_s),
            core=self.core,
            random=self._chance.random,
            on_message=self._receive,
            on_change=self._connection_changed,
        )
        self._changed = asyncio.Condition()
        self._listeners = Listeners()
        self._unheard_events: deque[RoomEvent] = deque(maxlen=EVENTS_MAX)
        self._state_before = ConnectionState.CLOSED
        self._requests: dict[Request, asyncio.Future[Answer]] = {}
        self._replies: dict[int, asyncio.Future[Reply]] = {}
        self._seat_lock = asyncio.Lock()
        self._match_lock = asyncio.Lock()
        self._has_to_send = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None

    # -- the session ----------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connects and says Hello.

        Raises:
            Disconnected, Refused: as `connect`.
        """
        await self._keeper.open()
        self._sender = asyncio.create_task(self._send_outgoing(), name="client commands")

    async def close(self) -> None:
        """Ends the session: its seat and its place in the queue are free at once. Idempotent.

        A client that is reconnecting cannot say so: then the server keeps the session for the resume window.
        """
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.cancel()
        await self._keeper.close("closed")
        if sender is not None:
            await asyncio.wait([sender])

    async def drop(self) -> None:
        """Breaks the connection as a bad network does; the client notices, and comes back."""
        if self._keeper.link is not None:
            await self._keeper.link.drop()

    def on(self, name: str, listener: Listener) -> Callable[[], None]:
        """Adds a function that is called with what the client learns, in the order in which it arrives.

        An exception in it is passed to the listeners for `error`, or logged, and the client continues. Events of the
        room that arrived since `join` before there was a listener are delivered to the first one, at once.

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
        while name == "event" and self._unheard_events:
            self._listeners.notify(name, self._unheard_events.popleft())
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
        """Takes a seat, on whichever shard the room is. What the arguments mean: `ClientCore.join`.

        Redirected to a shard that cannot be reached, it asks again where the client began.

        Raises:
            ErrorReceived: no seat; its `error.retryable` says whether asking again makes sense.
            Disconnected: the connection was lost for good, or the room's shard cannot be reached.
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
            return await self._take_seat(data, options)

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
        """Waits in a queue until a match is found, and takes the seat in it. See `ClientCore.match_request`.

        However it ends without a seat, a cancellation of the task too, the place in the queue is given back.

        Raises:
            NotMatched: the place in the queue is gone, and why.
            ErrorReceived: there is no such mode, the queue is full, or the seat is refused.
            TimeoutError: nothing was found in time; the place is given up. A match that was final before is played.
            Disconnected, ClientError: as `join`; also when a `match` waits already.
        """
        if self._match_lock.locked():
            raise ClientError("a match is waited for already: cancel_match first")
        async with self._match_lock:
            data = self.core.match_request(mode, options=options, party=party, latencies=latencies, labels=labels)
            self.queue_status = None
            try:
                found = await self._find_match(Request(MatchRequest, data), timeout_s)
                async with self._seat_lock:
                    return await self._take_match(found.redirect, mode, options)
            except NotMatched:
                raise
            except BaseException:
                self.core.give_up_match()
                self._has_to_send.set()
                raise

    async def _find_match(self, request: Request, timeout_s: float) -> Redirected:
        """Waits for a match. When the time is over the queue decides: a match that was final before is played."""
        loop = asyncio.get_running_loop()
        is_late = False

        def cancel() -> None:
            nonlocal is_late
            is_late = True
            self.core.outgoing.append(self.core.match_cancel())
            self._has_to_send.set()

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

    async def _take_match(self, redirect: Redirect, mode: str, options: dict[str, Any] | None) -> Joined:
        if self.core.world is not None:
            await self._request(Request(Leave, self.core.leave()), CALL_S_MAX)
        data = await self._follow(redirect, options)
        if data is None:
            reason = "the shard of the match cannot be reached"
            raise NotMatched(MatchStatus(QueueState.CANCELLED, mode=mode, reason=reason))
        return await self._take_seat(data, options)

    async def cancel_match(self) -> None:
        """Gives the place in the queue back: a `match` under way raises NotMatched, unless it was final before."""
        await self._keeper.send(self.core.match_cancel())

    async def _take_seat(self, first: bytes, options: dict[str, Any] | None) -> Joined:
        """Asks for a seat and follows Redirects; from a shard that cannot be reached back home, to ask again."""
        await self.wait_for(lambda: not self.core.is_giving_up_join, CALL_S_MAX)
        data, redirects = first, 0
        deadline_s, backoff = time.monotonic() + JOIN_S_MAX, Backoff(self._chance.random)
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
        """Goes where a Redirect leads.

        Returns:
            The Join that is to be sent there; None if it cannot be reached: the client is where it began, then.
        """
        if redirect.url:
            connections = self._keeper.connections
            self._keeper.visit(redirect.url)
            await self.wait_for(lambda: self.is_connected and self._keeper.connections > connections, JOIN_S_MAX)
            if self.url != redirect.url:
                return None
        return self.core.join(redirect.room_type, name=redirect.room_name, ticket=redirect.ticket, options=options)

    async def leave(self) -> None:
        """Gives the seat back.

        Raises:
            ErrorReceived: there is none to give.
            Disconnected, TimeoutError: as `join`.
        """
        async with self._seat_lock:
            await self._request(Request(Leave, self.core.leave()), CALL_S_MAX)

    async def send_input(self, values: dict[str, float]) -> int:
        """Sends a wish for the simulation.

        Returns:
            Its number; 0 if it was not sent because there is no connection: by the time it could be, it would be old.

        Raises:
            ClientError: the client is in no room (any more).
            ValueError: the room declares no such input, or a value is not a number.
            Disconnected: the connection was lost for good.
        """
        self._check_in_room()
        if self.state is ConnectionState.CLOSED:
            raise self._keeper.disconnected()
        if not self.is_connected:
            return 0
        data, seq = self.core.input(values), self.core.input_seq
        return seq if await self._keeper.send(data) else 0

    async def command(self, name: str, payload: Any = None, *, timeout_s: float = CALL_S_MAX) -> Any:
        """Asks the room for something and gives its answer. It is run once, whatever the network does; while the
        server says that it cannot say, or that there are too many, the same is asked again.

        Any number of commands may be asked for at once: those above what the server takes wait in the client, and in
        `timeout_s`.

        Raises:
            CommandFailed: the room says no.
            ClientError: the client is in no room, the room closed before it answered, or too many commands wait.
            SessionLost: the connection was lost and the session not kept; whether the command was run is not known.
            TimeoutError: no answer within `timeout_s`; likewise.
            Disconnected: the connection was lost for good; likewise.
            MessageTooLarge: the server would not accept the message.
        """
        self._check_in_room()
        if self.state is ConnectionState.CLOSED:
            raise self._keeper.disconnected()
        command_id, _ = self.core.command(name, payload)
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._replies[command_id] = future
        self._has_to_send.set()
        try:
            async with asyncio.timeout(timeout_s):
                reply = await future
        except (SessionLost, Disconnected, ClientError) as error:  # one for all that wait: each raises its own
            raise type(error)(f"{error} before the room answered {name!r}") from error
        finally:
            self.core.give_up(command_id)
            del self._replies[command_id]
            _mark_retrieved(future)
            self._has_to_send.set()  # there is room for another
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
            raise ClientError("in no room: join first")
        return self.core.world

    @property
    def state(self) -> ConnectionState:
        """Where the connection stands."""
        return self._keeper.state

    @property
    def url(self) -> str:
        """Of the shard that the session is on."""
        return self._keeper.url

    @property
    def close_code(self) -> int | None:
        """Of the last connection; None while it stands, or when it broke."""
        return self._keeper.close_code

    @property
    def goodbye(self) -> Goodbye | None:
        """What the server said before it closed; None if it said nothing."""
        return self._keeper.goodbye

    @property
    def listener_failures(self) -> int:
        """How often a listener has raised."""
        return self._listeners.failures

    @property
    def acknowledged_seq(self) -> int:
        """The newest input that is part of the world."""
        return self.core.acknowledged_seq

    @property
    def is_connected(self) -> bool:
        """Whether the connection stands."""
        return self.state is ConnectionState.CONNECTED

    async def wait_for(self, predicate: Callable[[], bool], timeout_s: float = CALL_S_MAX) -> None:
        """Returns once the predicate holds; it is asked after every message, and whenever the connection changes.

        Raises:
            TimeoutError: it does not hold in time.
            Disconnected: the connection was lost for good before it held.
        """
        async with asyncio.timeout(timeout_s), self._changed:
            while not predicate():
                if self.state is ConnectionState.CLOSED:
                    raise self._keeper.disconnected()
                await self._changed.wait()

    # -- requests and commands ------------------------------------------------------------------------------

    async def _request(self, request: Request, timeout_s: float) -> Answer:
        """Sends a request and waits for what ends it; it is sent again on a new connection that does not settle it.

        Raises:
            Refused, TimeoutError, Disconnected: as `join`.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._requests[request] = future
        try:
            await self._keeper.send(request.data)
            async with asyncio.timeout(timeout_s):
                answer: Answer = await future
        except BaseException:
            if request.type is Join:
                self._give_up_join(future)
            raise
        finally:
            del self._requests[request]
            _mark_retrieved(future)
        if isinstance(answer, ErrorReceived):
            raise Refused(answer.error)
        return answer

    def _give_up_join(self, future: asyncio.Future[Answer]) -> None:
        """The caller does not wait any more: a seat that was taken, or is yet to come, is given back."""
        has_answer = future.done() and not future.cancelled() and future.exception() is None
        if not has_answer:
            self.core.give_up_join()
        elif isinstance(future.result(), SeatTaken):
            self.core.outgoing.append(self.core.leave())
        self._has_to_send.set()

    def _answer_requests(self, update: Update) -> None:
        """The oldest request that an update ends gets it."""
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
        """The task that sends commands when they are due, and what the core has to say by itself."""
        while True:
            self._has_to_send.clear()
            timeout_s = await self._send_due() if self.is_connected else None
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._has_to_send.wait()

    async def _send_due(self) -> float | None:
        """Sends what is due; gives how long until there may be more."""
        with suppress(Disconnected):  # whoever waits for an answer is told
            await self._keeper.send()
            for data in self.core.commands_due(_now_us()):
                await self._keeper.send(data)
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
            self._take(update)
            self._answer_requests(update)
        if self.core.outgoing and not isinstance(update, Welcomed):  # after Welcome the keeper sends it
            await self._keeper.send()
        if update is not None and not isinstance(update, StateApplied | InputAcknowledged | EventReceived):
            self._has_to_send.set()
        await self._notify_all()

    def _take(self, update: Update) -> None:
        match update:
            case Welcomed():
                self._welcomed(update)
            case QueueChanged(status, is_current=True):
                self.queue_status = status
                self._listeners.notify("match", status)
            case Redirected(redirect) if redirect.is_resume:
                self._keeper.moved(redirect.url)
            case SeatTaken(joined):
                self._unheard_events.clear()
                self._listeners.notify("joined", joined)
            case SeatLost(reason):
                self._seat_lost(reason)
            case ErrorReceived(error):
                self.last_error = error
                self._keeper.answered(error)
                self._listeners.notify("refused", Refused(error))
            case EventsLost(error):
                self.last_error = error
            case EventReceived(event):
                self._event_received(event)
            case ReplyReceived(reply, is_decided=True):
                future = self._replies.get(reply.id)  # None: it is not waited for any more
                if future is not None and not future.done():
                    future.set_result(reply)
            case Ended(goodbye):
                self._keeper.goodbye = goodbye
                self._keep_event(RoomEvent(0, "goodbye", goodbye.message, msgspec.msgpack.encode(goodbye.message)))
            case PongReceived(rtt_us, clock_offset_us):
                self.rtt_s, self.clock_offset_s = rtt_us / 1e6, clock_offset_us / 1e6
                self._listeners.notify("pong", update)
            case StateApplied():
                self._listeners.notify("state", update)
            case InputAcknowledged():
                self._listeners.notify("acknowledged", update)

    def _welcomed(self, update: Welcomed) -> None:
        self._keeper.answered(update.welcome)
        self.resumes += update.has_resumed
        self.sessions_lost += update.has_lost_session
        if update.has_lost_session:
            self._fail_commands(SessionLost("the session was lost"))
        if update.lost_room_id:
            self._seat_lost("the seat was lost while the connection was")
        waiting = [request.data for request in self._requests if not request.is_under_way(update.welcome)]
        self.core.outgoing.extend(waiting)

    def _seat_lost(self, reason: str) -> None:
        self._fail_commands(ClientError("the room closed"))
        self._listeners.notify("left", reason)

    async def _connection_changed(self) -> None:
        before, self._state_before = self._state_before, self.state
        match before, self.state:
            case ConnectionState.CONNECTED, ConnectionState.RECONNECTING:
                self._listeners.notify("disconnected", self._keeper.lost_because)
            case ConnectionState.RECONNECTING, ConnectionState.CONNECTED:
                self._listeners.notify("reconnected", self._keeper.has_resumed)
            case _, ConnectionState.CLOSED if before is not ConnectionState.CLOSED:
                self._closed(self._keeper.disconnected())
        self._has_to_send.set()
        await self._notify_all()

    def _closed(self, error: Disconnected) -> None:
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
        self._keep_event(received)
        if self._listeners.has("event"):
            self._listeners.notify("event", received)
        else:
            self._unheard_events.append(received)

    def _keep_event(self, event: RoomEvent) -> None:
        self.events_dropped += len(self.events) == EVENTS_MAX
        self.events.append(event)

    def _check_in_room(self) -> None:
        if self.core.world is None:
            raise ClientError("in no room: join first")


def _mark_retrieved(future: asyncio.Future[Any]) -> None:
    """A caller that is cancelled in the moment in which its call fails does not look: asyncio need not log that."""
    if future.done() and not future.cancelled():
        future.exception()


def _now_us() -> int:
    return time.monotonic_ns() // 1000
