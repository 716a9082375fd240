"""The asyncio client: a `ClientCore` on a WebSocket.

    async with connect("ws://127.0.0.1:8080") as client:
        await client.join("arena", name="lobby")
        await client.send_input({"thrust": 1.0})
        await client.wait_for(lambda: client.world.tick > 100)

It follows Redirects by itself, and gives up on a server that has fallen silent. It does not reconnect: when the
connection is lost every call raises Disconnected. It does not ask again for a seat that was refused: whoever calls
`join` does, when `RefusedError.error` says `retryable`, after its `retry_after_ms`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from ssl import SSLContext
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.frames import CloseCode
from websockets.typing import Subprotocol

from client.core import ClientCore
from client.updates import (
    Ended,
    EventReceived,
    PongReceived,
    Redirected,
    Refused,
    ReplyReceived,
    SeatLost,
    SeatTaken,
    Welcomed,
)
from client.world import World
from schemas import SUBPROTOCOL
from schemas.errors import MalformedMessage
from schemas.messages import Error, Event, Goodbye, Joined, Reply

CALL_S_MAX = 10.0
REDIRECTS_MAX = 4
EVENTS_MAX = 1024
MESSAGE_BYTES_MAX = 4 * 1024 * 1024
HEARTBEAT_S_MIN, HEARTBEAT_S_MAX = 0.1, 60.0
"""What the server asks for is kept within these: 0 would make a flood of it."""
SILENT_INTERVALS_MAX = 3
"""Each heartbeat is answered; after so many without a word the server is taken for gone."""

Answer = Welcomed | SeatTaken | SeatLost | Redirected


class ClientError(Exception):
    """Something the client cannot go on from by itself."""


class Disconnected(ClientError):
    """The connection is lost, or could not be made."""


class RefusedError(ClientError):
    """The server refused; `error` says why, and whether and when to come back."""

    def __init__(self, error: Error) -> None:
        super().__init__(f"{error.code.name}: {error.message}")
        self.error = error


class CommandFailed(ClientError):
    """A command was answered with no."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"{reply.error.name}: {reply.message}")
        self.reply = reply


@asynccontextmanager
async def connect(
    url: str, *, token: str = "", build: str = "tickwire-python", tls: SSLContext | None = None
) -> AsyncIterator[Client]:
    """An open session, closed at the end of the block.

    Raises:
        Disconnected: the server cannot be reached.
        RefusedError: it refuses the session.
    """
    client = Client(url, token=token, build=build, tls=tls)
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
        rtt_s, clock_offset_s: from the last Pong; None before.
        last_error: the last thing that the server refused, also when nobody had asked.
        goodbye: what the server said before it closed; None if it said nothing.
    """

    def __init__(self, url: str, *, token: str, build: str, tls: SSLContext | None = None) -> None:
        self.core = ClientCore()
        self.events: deque[Event] = deque(maxlen=EVENTS_MAX)
        self.url = url
        self.bytes_received = 0
        self.ticks_received = 0
        self.events_dropped = 0
        self.last_error: Error | None = None
        self.goodbye: Goodbye | None = None
        self.rtt_s: float | None = None
        self.clock_offset_s: float | None = None
        self.close_code: int | None = None
        self._token = token
        self._build = build
        self._tls = tls
        self._socket: ClientConnection | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Condition()
        self._answers: deque[Answer | Refused] = deque(maxlen=16)
        self._replies: dict[int, Reply | None] = {}  # of the commands that somebody waits for; None: not yet
        self._is_lost = True
        self._lost_because = ""
        self._heartbeat_s = HEARTBEAT_S_MAX
        self._heard_s = 0.0

    # -- the session ----------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connects and says Hello.

        Raises:
            Disconnected, RefusedError: as `connect`.
        """
        try:
            self._socket = await open_websocket(
                self.url,
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                compression=None,
                max_size=MESSAGE_BYTES_MAX,
                open_timeout=CALL_S_MAX,
                close_timeout=2.0,
                ping_interval=None,
                ssl=self._tls,
            )
        except (OSError, WebSocketException) as error:
            raise Disconnected(f"cannot connect to {self.url}: {error}") from error
        self._is_lost, self._lost_because = False, ""
        self.close_code = self.goodbye = None
        self._tasks = [asyncio.create_task(self._read(self._socket), name="client read")]
        try:
            answer = await self._ask(self.core.hello(build=self._build, token=self._token))
            if not isinstance(answer, Welcomed):
                raise Disconnected(f"wanted Welcome, got {answer}")
        except BaseException:
            await self.close()
            raise
        wanted_s = answer.welcome.heartbeat_interval_ms / 1000
        self._heartbeat_s = min(max(wanted_s, HEARTBEAT_S_MIN), HEARTBEAT_S_MAX)
        self._tasks.append(asyncio.create_task(self._beat(), name="client heartbeat"))

    async def close(self) -> None:
        """Closes the connection. Idempotent."""
        for task in self._tasks[1:]:
            task.cancel()
        if self._socket is not None:
            await self._socket.close()  # at most close_timeout; after it the reading task ends
            self.close_code = self._socket.close_code
        if self._tasks:
            await asyncio.wait(self._tasks)  # unlike awaiting each, lets a cancellation of ours through
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            if not task.cancelled():
                task.result()

    async def join(self, room_type: str, *, name: str = "", options: dict[str, Any] | None = None) -> Joined:
        """Takes a seat, on whichever shard the room is.

        Raises:
            RefusedError: no seat; its `error.retryable` says whether asking again makes sense.
            Disconnected: the connection was lost.
            TimeoutError: no answer within CALL_S_MAX.
            ClientError: redirected too often, or from an encrypted connection to a plain one.
        """
        ticket = ""
        for _ in range(REDIRECTS_MAX):
            answer = await self._ask(self.core.join(room_type, name=name, ticket=ticket, options=options))
            while isinstance(answer, SeatLost):  # the room before has closed, and nobody was waiting to hear it
                answer = await self._answer()
            if isinstance(answer, SeatTaken):
                return answer.joined
            if not isinstance(answer, Redirected):
                raise ClientError(f"wanted Joined, got {answer}")
            ticket = answer.redirect.ticket
            url = answer.redirect.url
            if self.url.startswith("wss:") and not url.startswith("wss:"):
                raise ClientError(f"redirected to {url}: the token is not sent over a plain connection")
            await self.close()
            self.url = url
            await self.open()
        raise ClientError(f"redirected more than {REDIRECTS_MAX} times")

    async def leave(self) -> None:
        """Gives the seat back.

        Raises:
            RefusedError: there is none to give.
            Disconnected, TimeoutError: as `join`.
        """
        answer = await self._ask(self.core.leave())
        while not isinstance(answer, SeatLost):
            answer = await self._answer()

    async def send_input(self, values: dict[str, float]) -> int:
        """Sends a wish for the simulation; gives its sequence number.

        Raises:
            ClientError: the client is in no room (any more).
            ValueError: the room declares no such input, or a value is not a number.
            Disconnected: the connection was lost.
        """
        if self.core.world is None:
            raise ClientError("in no room: join first")
        await self._send(self.core.input(values))
        return self.core.input_seq

    async def command(self, name: str, payload: Any = None) -> Any:
        """Asks the room for something and gives its answer.

        Raises:
            CommandFailed: the room says no.
            ClientError: the client is in no room, or the room closed before it answered.
            TimeoutError: no answer within CALL_S_MAX; whether the command was run is not known.
            Disconnected: the connection was lost; likewise.
        """
        if self.core.world is None:
            raise ClientError("in no room: join first")
        command_id, data = self.core.command(name, payload)
        self._replies[command_id] = None
        try:
            await self._send(data)
            await self.wait_for(lambda: self._replies[command_id] is not None or self.core.world is None)
        finally:
            reply = self._replies.pop(command_id)
        if reply is None:
            raise ClientError(f"the room closed before it answered {name!r}")
        if not reply.ok:
            raise CommandFailed(reply)
        try:
            return msgspec.msgpack.decode(reply.payload) if reply.payload else None
        except msgspec.DecodeError as error:
            raise ClientError(f"the reply to {name!r} is not msgpack") from error

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
    def is_connected(self) -> bool:
        """Whether the connection stands."""
        return not self._is_lost

    async def wait_for(self, predicate: Callable[[], bool], timeout_s: float = CALL_S_MAX) -> None:
        """Returns once the predicate holds; it is asked after every message.

        Raises:
            TimeoutError: it does not hold in time.
            Disconnected: the connection was lost before it held.
        """
        async with asyncio.timeout(timeout_s), self._changed:
            while not predicate():
                if self._is_lost:
                    raise self._disconnected()
                await self._changed.wait()

    # -- tasks ----------------------------------------------------------------------------------------------

    async def _read(self, socket: ClientConnection) -> None:
        try:
            async for data in socket:
                if isinstance(data, bytes):
                    await self._receive(data)
        except (ConnectionClosed, Disconnected):
            pass  # told below: every waiter sees that the connection is lost
        except MalformedMessage as error:
            self._lost_because = f"the server sent what is no message: {error}"
            await socket.close(CloseCode.PROTOCOL_ERROR, "malformed message")
        finally:
            self._is_lost = True
            await socket.close()
            self.close_code = socket.close_code
            async with self._changed:
                self._changed.notify_all()

    async def _receive(self, data: bytes) -> None:
        self._heard_s = time.monotonic()
        self.bytes_received += len(data)
        tick_before = self.core.world.tick if self.core.world else 0
        update = self.core.receive(data, now_us=time.monotonic_ns() // 1000)
        if self.core.world and self.core.world.tick > tick_before:
            self.ticks_received += 1
        match update:
            case Welcomed() | SeatTaken() | SeatLost() | Redirected():
                self._answers.append(update)
            case Refused(error):
                self.last_error = error
                self._answers.append(update)
            case EventReceived(event):
                self._keep_event(event)
            case ReplyReceived(reply):
                if reply.id in self._replies:  # else nobody waits for it any more
                    self._replies[reply.id] = reply
            case Ended(goodbye):
                self.goodbye = goodbye
                self._keep_event(Event(0, "goodbye", msgspec.msgpack.encode(goodbye.message)))
            case PongReceived(rtt_us, clock_offset_us):
                self.rtt_s, self.clock_offset_s = rtt_us / 1e6, clock_offset_us / 1e6
        while self.core.outgoing:
            await self._send(self.core.outgoing.popleft())
        async with self._changed:
            self._changed.notify_all()

    def _keep_event(self, event: Event) -> None:
        self.events_dropped += len(self.events) == EVENTS_MAX
        self.events.append(event)

    async def _beat(self) -> None:
        """Says something every interval, and closes when nothing comes back: the deadline of all reading."""
        silent_s_max = SILENT_INTERVALS_MAX * self._heartbeat_s
        with suppress(Disconnected):
            while time.monotonic() - self._heard_s <= silent_s_max:
                await self._send(self.core.ping(time.monotonic_ns() // 1000))
                await asyncio.sleep(self._heartbeat_s)
            self._lost_because = f"the server has been silent for {silent_s_max:g} s"
            await self._hang_up()

    async def _ask(self, data: bytes) -> Answer:
        self._answers.clear()  # what came before the question is no answer to it
        await self._send(data)
        return await self._answer()

    async def _answer(self) -> Answer:
        await self.wait_for(lambda: bool(self._answers))
        answer = self._answers.popleft()
        if isinstance(answer, Refused):
            raise RefusedError(answer.error)
        return answer

    async def _send(self, data: bytes) -> None:
        if self._socket is None or self._is_lost:
            raise self._disconnected()
        try:
            async with asyncio.timeout(CALL_S_MAX):
                await self._socket.send(data)
        except ConnectionClosed as error:
            raise self._disconnected() from error
        except TimeoutError as error:
            self._lost_because = f"the server took nothing for {CALL_S_MAX:g} s"
            await self._hang_up()
            raise self._disconnected() from error

    async def _hang_up(self) -> None:
        if self._socket is not None:
            await self._socket.close()  # at most close_timeout; the reading task sees it and tells all who wait

    def _disconnected(self) -> Disconnected:
        return Disconnected(f"the connection is lost: {self._lost_because or f'close code {self.close_code}'}")
