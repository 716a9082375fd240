"""The asyncio client: a `ClientCore` on WebSockets, one after the other.

    async with connect("ws://127.0.0.1:8080") as client:
        await client.join("arena", name="lobby")
        await client.send_input({"thrust": 1.0})
        await client.wait_for(lambda: client.world.tick > 100)

It follows Redirects by itself, and gives up on a connection that has fallen silent. A lost connection is made again,
with back-off and as the server advises, and the session is resumed: calls under way wait for it, commands are asked
again under their ids, events come once and in order. It does not ask again for a seat that was refused: whoever calls
`join` does, when `RefusedError.error` says `retryable`, after its `retry_after_ms`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from ssl import SSLContext
from typing import Any, cast

import msgspec

from client.backoff import Backoff
from client.core import ClientCore
from client.errors import ClientError, CommandFailed, Disconnected, NotMatched, RefusedError, SessionLost
from client.keeper import ConnectionState, Keeper, TokenSource
from client.updates import (
    Ended,
    EventReceived,
    EventsLost,
    PongReceived,
    QueueChanged,
    Redirected,
    Refused,
    ReplyReceived,
    SeatLost,
    SeatTaken,
    Welcomed,
)
from client.world import World
from schemas.messages import (
    Error,
    ErrorCode,
    Event,
    Goodbye,
    Joined,
    MatchStatus,
    QueueState,
    Redirect,
    Reply,
    Welcome,
)

__all__ = [
    "Client",
    "ClientError",
    "CommandFailed",
    "ConnectionState",
    "Disconnected",
    "NotMatched",
    "RefusedError",
    "SessionLost",
    "connect",
]

CALL_S_MAX = 10.0
MATCH_S_MAX = 300.0
RECONNECT_S = 60.0
REDIRECTS_MAX = 4
EVENTS_MAX = 1024

Answer = SeatTaken | SeatLost | Redirected | QueueChanged


@asynccontextmanager
async def connect(
    url: str,
    *,
    token: str | TokenSource = "",
    build: str = "tickwire-python",
    tls: SSLContext | None = None,
    reconnect_s: float = RECONNECT_S,
) -> AsyncIterator[Client]:
    """An open session, closed at the end of the block.

    Args:
        url: where to connect.
        token: who the player is; a function is asked for a fresh one at every connection.
        build: the game's version, for the server's logs.
        tls: for wss, when the system's own trust is not enough.
        reconnect_s: for how long a lost connection is tried again; 0: never.

    Raises:
        Disconnected: the server cannot be reached.
        RefusedError: it refuses the session.
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
        self.core = ClientCore()
        self.events: deque[Event] = deque(maxlen=EVENTS_MAX)
        self.bytes_received = 0
        self.ticks_received = 0
        self.events_dropped = 0
        self.resumes = 0
        self.sessions_lost = 0
        self.last_error: Error | None = None
        self.queue_status: MatchStatus | None = None
        self.rtt_s: float | None = None
        self.clock_offset_s: float | None = None
        self._chance = chance or random.Random()  # noqa: S311 - spreads retries, keeps no secret
        self._keeper = Keeper(
            url,
            core=self.core,
            token=token,
            build=build,
            tls=tls,
            reconnect_s=reconnect_s,
            chance=self._chance,
            on_message=self._receive,
            on_change=self._tell_all,
        )
        self._changed = asyncio.Condition()
        self._has_session = False
        self._answers: deque[Answer | Refused] = deque(maxlen=16)
        self._replies: dict[int, Reply | None] = {}  # of the commands that somebody waits for; None: not yet

    # -- the session ----------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connects and says Hello.

        Raises:
            Disconnected, RefusedError: as `connect`.
        """
        await self._keeper.open()

    async def close(self) -> None:
        """Gives the seat back, if there is one, and closes the connection. Idempotent."""
        if self.is_connected and self.core.world is not None:
            await self._keeper.send(self.core.leave())
        await self._keeper.close("closed")

    async def drop(self) -> None:
        """Breaks the connection as a bad network does; the client notices, and comes back."""
        link = self._keeper.link
        if link is not None:
            link.abort()
            await link.ended.wait()

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

        Raises:
            RefusedError: no seat; its `error.retryable` says whether asking again makes sense.
            Disconnected: the connection was lost for good.
            TimeoutError: no answer within CALL_S_MAX.
            ClientError: redirected too often, or from an encrypted connection to a plain one.
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

        Raises:
            NotMatched: the place in the queue is gone, and why.
            RefusedError: there is no such mode, or the queue is full.
            TimeoutError: nothing was found in time; the place is given up.
            Disconnected, ClientError: as `join`.
        """
        data = self.core.match_request(mode, options=options, party=party, latencies=latencies, labels=labels)
        self.queue_status = None
        try:
            found = await self._ask(data, Redirected | QueueChanged, lambda welcome: False, timeout_s=timeout_s)
        except (TimeoutError, asyncio.CancelledError):
            if self.is_connected:
                await self._keeper.send(self.core.match_cancel())
            raise
        if isinstance(found, QueueChanged):
            raise NotMatched(found.status)
        assert isinstance(found, Redirected)
        if self.core.world is not None:
            await self.leave()
        return await self._take_seat(await self._follow(found.redirect, options), options)

    async def cancel_match(self) -> None:
        """Gives the place in the queue back; a `match` under way raises NotMatched."""
        await self._keeper.send(self.core.match_cancel())

    async def _take_seat(self, data: bytes, options: dict[str, Any] | None) -> Joined:
        for _ in range(REDIRECTS_MAX):
            answer = await self._ask(data, SeatTaken | Redirected, lambda w: w.is_joining or bool(w.room_id))
            if isinstance(answer, SeatTaken):
                return answer.joined
            assert isinstance(answer, Redirected)
            data = await self._follow(answer.redirect, options)
        raise ClientError(f"redirected more than {REDIRECTS_MAX} times")

    async def _follow(self, redirect: Redirect, options: dict[str, Any] | None) -> bytes:
        """Goes where a Redirect says; gives the Join that is to be sent there."""
        url = redirect.url
        if url:
            if self.url.startswith("wss:") and not url.startswith("wss:"):
                raise ClientError(f"redirected to {url}: the token is not sent over a plain connection")
            await self._keeper.close("redirected")
            self._keeper.url = url
            self.core.forget_session()
            self._has_session = False
            await self.open()
        return self.core.join(redirect.room_type, name=redirect.room_name, ticket=redirect.ticket, options=options)

    async def leave(self) -> None:
        """Gives the seat back.

        Raises:
            RefusedError: there is none to give.
            Disconnected, TimeoutError: as `join`.
        """
        await self._ask(self.core.leave(), SeatLost, lambda welcome: False)

    async def send_input(self, values: dict[str, float]) -> int:
        """Sends a wish for the simulation; gives its sequence number. While reconnecting it is not sent: by the time
        it could be, it would be old.

        Raises:
            ClientError: the client is in no room (any more).
            ValueError: the room declares no such input, or a value is not a number.
            Disconnected: the connection was lost for good.
        """
        self._check_in_room()
        data = self.core.input(values)
        await self._keeper.send(data)
        return self.core.input_seq

    async def command(self, name: str, payload: Any = None, *, timeout_s: float = CALL_S_MAX) -> Any:
        """Asks the room for something and gives its answer. It is run once, whatever the network does; while the
        server says that it cannot say, the same is asked again.

        Raises:
            CommandFailed: the room says no.
            ClientError: the client is in no room, or the room closed before it answered.
            SessionLost: the connection was lost and the session not kept; whether the command was run is not known.
            TimeoutError: no answer within `timeout_s`; likewise.
            Disconnected: the connection was lost for good; likewise.
        """
        self._check_in_room()
        command_id, data = self.core.command(name, payload)
        sessions_lost = self.sessions_lost
        try:
            await self._ask_until_decided(command_id, data, timeout_s)
        finally:
            self.core.give_up(command_id)
            reply = self._replies.pop(command_id)
        if reply is None and self.sessions_lost != sessions_lost:
            raise SessionLost(f"the session was lost before the room answered {name!r}")
        if reply is None:
            raise ClientError(f"the room closed before it answered {name!r}")
        if not reply.ok:
            raise CommandFailed(reply)
        try:
            return msgspec.msgpack.decode(reply.payload) if reply.payload else None
        except msgspec.DecodeError as error:
            raise ClientError(f"the reply to {name!r} is not msgpack") from error

    async def _ask_until_decided(self, command_id: int, data: bytes, timeout_s: float) -> None:
        """Returns when there is a Reply that decides something, or none can come any more, or the time is over."""
        deadline_s, backoff = time.monotonic() + timeout_s, Backoff(self._chance.random)
        sessions_lost = self.sessions_lost

        def is_over() -> bool:
            is_lost = self.core.world is None or self.sessions_lost != sessions_lost
            return is_lost or self._replies[command_id] is not None

        while True:
            self._replies[command_id] = None
            await self._keeper.send(data)
            await self.wait_for(is_over, deadline_s - time.monotonic())
            reply, pause_s = self._replies[command_id], backoff.next_s()
            is_decided = reply is None or reply.ok or reply.error is not ErrorCode.UNAVAILABLE
            if is_decided or time.monotonic() + pause_s > deadline_s:
                return
            await asyncio.sleep(pause_s)

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

    # -- messages -------------------------------------------------------------------------------------------

    async def _receive(self, data: bytes) -> None:
        self.bytes_received += len(data)
        tick_before = self.core.world.tick if self.core.world else 0
        update = self.core.receive(data, now_us=time.monotonic_ns() // 1000)
        if self.core.world and self.core.world.tick > tick_before:
            self.ticks_received += 1
        match update:
            case Welcomed(welcome, has_resumed, lost_room_id):
                self._keeper.answered(welcome)
                self.resumes += has_resumed
                self.sessions_lost += self._has_session and not has_resumed
                self._has_session = True
                if lost_room_id:
                    self._answers.append(SeatLost("the seat was lost while the connection was"))
            case QueueChanged(status):
                self.queue_status = status
                if status.state in (QueueState.CANCELLED, QueueState.TIMED_OUT):
                    self._answers.append(update)
            case Redirected(redirect) if redirect.is_resume:
                self._keeper.moved(redirect.url)
            case SeatTaken() | SeatLost() | Redirected():
                self._answers.append(update)
            case Refused(error):
                self.last_error = error
                self._keeper.answered(error)
                self._answers.append(update)
            case EventsLost(error):
                self.last_error = error
            case EventReceived(event):
                self._keep_event(event)
            case ReplyReceived(reply):
                if reply.id in self._replies:  # else nobody waits for it any more
                    self._replies[reply.id] = reply
            case Ended(goodbye):
                self._keeper.goodbye = goodbye
                self._keep_event(Event(0, "goodbye", msgspec.msgpack.encode(goodbye.message)))
            case PongReceived(rtt_us, clock_offset_us):
                self.rtt_s, self.clock_offset_s = rtt_us / 1e6, clock_offset_us / 1e6
        while self.core.outgoing and not isinstance(update, Welcomed):  # after Welcome the keeper sends it
            await self._keeper.send(self.core.outgoing.popleft())
        await self._tell_all()

    async def _tell_all(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _keep_event(self, event: Event) -> None:
        self.events_dropped += len(self.events) == EVENTS_MAX
        self.events.append(event)

    async def _ask(
        self, data: bytes, wanted: Any, is_settled: Callable[[Welcome], bool], *, timeout_s: float = CALL_S_MAX
    ) -> Answer:
        """Asks, and waits for the answer; asks again on a new connection, unless its Welcome settles the matter.

        Answers of another kind than is wanted came before the question was heard.
        """
        self._answers.clear()
        connections = self._keeper.connections
        deadline = asyncio.get_running_loop().time() + timeout_s
        await self._keeper.send(data)
        while True:
            left_s = deadline - asyncio.get_running_loop().time()
            await self.wait_for(partial(self._has_news, connections), timeout_s=left_s)
            if not self._answers:
                connections = self._keeper.connections
                if isinstance(self._keeper.welcome, Welcome) and not is_settled(self._keeper.welcome):
                    await self._keeper.send(data)
                continue
            answer = self._answers.popleft()
            if isinstance(answer, Refused):
                raise RefusedError(answer.error)
            if isinstance(answer, wanted):
                return cast("Answer", answer)

    def _has_news(self, connections: int) -> bool:
        """Whether there is an answer, or a newer connection than that one."""
        return bool(self._answers) or (self._keeper.connections > connections and self.is_connected)

    def _check_in_room(self) -> None:
        if self.core.world is None:
            raise ClientError("in no room: join first")
