"""One player's session on asyncio: applies what the connection receives, and passes it to those that wait.

SessionConnection --bytes--> ClientCore --Update--> counters, EventLog, Listeners,
                                                    PendingRequests, PendingCommands, `wait_for`
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from tickwire.client.connection_state import ConnectionState
from tickwire.client.core import ClientCore
from tickwire.client.errors import ClientError, Disconnected, Refused, SessionLost
from tickwire.client.event_log import EventLog
from tickwire.client.events import Listeners
from tickwire.client.outgoing_sender import OutgoingSender, now_us
from tickwire.client.pending_commands import PendingCommands
from tickwire.client.pending_requests import CALL_S_MAX, PendingRequests
from tickwire.client.session_connection import ConnectionOptions, SessionConnection
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
from tickwire.schemas.messages import Error, MatchStatus, Redirect


class ClientSession:
    """A session over successive connections.

    Args:
        options: the options of the connections.
        rng: spreads retries.

    Attributes:
        core: the Sans-I/O core.
        connection: the connection to the session's shard.
        sender: sends the messages that no call sends itself.
        requests, commands: the calls that wait for an answer.
        listeners: the game's listeners.
        events: the received events.
        on_move: called when the room has moved the player to a room on another shard.
        bytes_received, ticks_received, resumes, sessions_lost, last_error, queue_status, rtt_ms, clock_offset_ms:
            as the properties of `Client`.
    """

    def __init__(self, options: ConnectionOptions, rng: random.Random) -> None:
        self.core = ClientCore(random=rng.random)
        self.connection = SessionConnection(
            options,
            core=self.core,
            random=rng.random,
            on_message=self._receive,
            on_change=self._connection_changed,
        )
        self.sender = OutgoingSender(self.core, self.connection)
        self.requests = PendingRequests(self.core, self.connection, self.sender.wake)
        self.commands = PendingCommands(self.core, self.sender.wake)
        self.listeners = Listeners()
        self.events = EventLog(self.listeners)
        self.bytes_received = 0
        self.ticks_received = 0
        self.resumes = 0
        self.sessions_lost = 0
        self.last_error: Error | None = None
        self.queue_status: MatchStatus | None = None
        self.rtt_ms: float | None = None
        self.clock_offset_ms: float | None = None
        self.on_move: Callable[[Redirect], object] = lambda redirect: None
        self._move: Redirect | None = None  # until the room's Left
        self._changed = asyncio.Condition()
        self._state_before = ConnectionState.CLOSED

    async def open(self) -> None:
        """Connect and open the session.

        Raises:
            Disconnected, Refused: the client cannot connect.
        """
        await self.connection.open()
        self.sender.start()

    async def close(self) -> None:
        """End the session. Idempotent."""
        try:
            await self.sender.stop()
        finally:
            await self.connection.close("closed")

    async def wait_for(self, predicate: Callable[[], bool], timeout_s: float = CALL_S_MAX) -> None:
        """Wait until the predicate is true. It is checked after every message and after changes of the connection.

        Raises:
            TimeoutError: the predicate did not become true in time.
            Disconnected: the connection was closed for good before.
        """
        async with asyncio.timeout(timeout_s), self._changed:
            while not predicate():
                if self.connection.state is ConnectionState.CLOSED:
                    raise self.connection.disconnected()
                await self._changed.wait()

    async def _notify_all(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    # -- messages -------------------------------------------------------------------------------------------

    async def _receive(self, data: bytes) -> None:
        self.bytes_received += len(data)
        tick_before = self.core.world.tick if self.core.world else 0
        update = self.core.receive(data, now_us=now_us())
        if self.core.world and self.core.world.tick > tick_before:
            self.ticks_received += 1
        if update is not None:
            self._handle(update)
            self.requests.answer(update)
        if self.core.outgoing and not isinstance(update, Welcomed):  # after Welcome the SessionConnection sends them
            await self.connection.send()
        if update is not None and not isinstance(update, StateApplied | InputAcknowledged | EventReceived):
            self.sender.wake()
        await self._notify_all()

    def _handle(self, update: Update) -> None:
        match update:
            case Welcomed():
                self._welcomed(update)
            case QueueChanged(status, is_current=True):
                self.queue_status = status
                self.listeners.notify("match", status)
            case Redirected(redirect) if redirect.is_resume:
                self.connection.redirected(redirect.url)
            case Redirected(redirect, is_move=True):
                self._move = redirect
            case SeatTaken(joined):
                self.events.joined()
                self.listeners.notify("joined", joined)
            case SeatLost(reason):
                self._seat_lost(reason)
            case ErrorReceived(error):
                self.last_error = error
                self.connection.record_answer(error)
                self.listeners.notify("refused", Refused(error))
            case EventsLost(error):
                self.last_error = error
            case EventReceived(event):
                self.events.received(event)
            case ReplyReceived(reply, is_decided=True):
                self.commands.replied(reply)
            case Ended(goodbye):
                self.connection.goodbye = goodbye
                self.events.goodbye_received(goodbye)
            case PongReceived(rtt_us, clock_offset_us):
                self.rtt_ms, self.clock_offset_ms = rtt_us / 1e3, clock_offset_us / 1e3
                self.listeners.notify("pong", update)
            case StateApplied():
                self.listeners.notify("state", update)
            case InputAcknowledged():
                self.listeners.notify("acknowledged", update)

    def _welcomed(self, update: Welcomed) -> None:
        self.connection.record_answer(update.welcome)
        self.resumes += update.has_resumed
        self.sessions_lost += update.has_lost_session
        if update.has_lost_session:
            self.commands.fail(SessionLost("the session was lost"))
        if update.lost_room_id:
            self._seat_lost(update.welcome.left_reason or "the seat was lost while the client was disconnected")
        self.requests.welcomed(update)

    def _seat_lost(self, reason: str) -> None:
        self.commands.fail(ClientError("the seat was lost"))
        move, self._move = self._move, None
        if move is not None:
            self.on_move(move)  # before the listener: a join that it starts comes second
        self.listeners.notify("left", reason)

    # -- the connection -------------------------------------------------------------------------------------

    async def _connection_changed(self) -> None:
        before, self._state_before = self._state_before, self.connection.state
        match before, self.connection.state:
            case ConnectionState.CONNECTED, ConnectionState.RECONNECTING:
                self.listeners.notify("disconnected", self.connection.close_reason)
            case ConnectionState.RECONNECTING, ConnectionState.CONNECTED:
                self.listeners.notify("reconnected", self.connection.has_resumed)
            case _, ConnectionState.CLOSED if before is not ConnectionState.CLOSED:
                self._closed(self.connection.disconnected())
        self.sender.wake()
        await self._notify_all()

    def _closed(self, error: Disconnected) -> None:
        self.requests.fail(error)
        self.commands.fail(error)
        self.listeners.notify("closed", error)
