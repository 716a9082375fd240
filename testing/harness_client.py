"""A simulated player of a harness: the real client core on a simulated connection.

    away --connect--> connecting --Welcome--> connected --lost--> waiting --pause over--> connecting
     ^                                           |disconnect
     └-------------------------------------------┘

Like the asyncio client it joins once its session is open, sends pings, repeats commands without a reply, follows
redirects and reconnects when its connection is lost.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar, overload

from tickwire.client.core import ClientCore
from tickwire.client.heartbeat import Heartbeat, ping_interval_s
from tickwire.client.options import ANY_MATCH, ANY_ROOM, JoinOptions, MatchOptions
from tickwire.client.reconnect import ReconnectPlan, advice_ms, is_final_close
from tickwire.client.requests import is_answer
from tickwire.client.updates import (
    Ended,
    ErrorReceived,
    EventReceived,
    Redirected,
    ReplyReceived,
    SeatLost,
    SeatTaken,
    Update,
    Welcomed,
)
from tickwire.client.world_cache import SharedWorlds
from tickwire.schemas.event_names import to_event_name
from tickwire.schemas.framing import frame_payloads
from tickwire.schemas.messages import Error, Event, Goodbye, Join, Redirect, Welcome
from tickwire.schemas.payloads import decode_payload, decode_value
from tickwire.testing.client_lobby import ClientLobby, MatchCall, RoomListCall
from tickwire.testing.command_call import CommandCall
from tickwire.testing.mirrored_world import MirroredWorld
from tickwire.testing.schedule import Schedule
from tickwire.testing.simulated_connection import SimulatedConnection
from tickwire.testing.simulated_network import Network
from tickwire.testing.virtual_loop import VirtualLoop

T = TypeVar("T")
EVENTS_MAX = 100_000
"""The newest events that a client keeps."""
RECONNECT_S = 60.0
"""How long a client tries to reconnect."""


class ClientContext(NamedTuple):
    """The parts that a client needs of its harness.

    Args:
        loop: the clock.
        rng: spreads the client's retries.
        schedule: the chance of its connections.
        connect: connects to a shard by its URL; returns None if it refuses the connection.
        url: the address of the shard that the client connects to first.
        worlds: the worlds of all clients: equal frames on equal worlds are decoded once.
    """

    loop: VirtualLoop
    rng: random.Random
    schedule: Schedule
    connect: Callable[[str, Network, HarnessClient], SimulatedConnection | None]
    url: str
    worlds: SharedWorlds


class HarnessClient:
    """A player. Implements `ConnectionUser`.

    Args:
        name: its name, which is the id of its player.
        room_type: the type of the room to join; empty for none.
        options: which room it joins, and how.
        network: its network.
        context: the parts of the harness.

    Attributes:
        name: its name.
        network: its network; a change applies to the next connection.
        core: the client core.
        connection: the newest connection; None before the first, and after the last has ended.
        last_error: the newest Error of the server; None before.
        left_reason: why the client has lost its seat; empty while it has one.
        connections: the number of connections so far.
    """

    def __init__(
        self, name: str, room_type: str, options: JoinOptions, network: Network, context: ClientContext
    ) -> None:
        self.name = name
        self.network = network
        self.core = ClientCore(context.worlds.create_world, random=context.rng.random)
        self.connection: SimulatedConnection | None = None
        self.last_error: Error | None = None
        self.left_reason = ""
        self.connections = 0
        self.events: deque[Event] = deque(maxlen=EVENTS_MAX)
        self._room_type, self._options = room_type, options
        self._context = context
        self._loop = context.loop
        self._plan = ReconnectPlan(context.url, reconnect_ms=RECONNECT_S * 1000, random=context.rng.random)
        self._url = context.url
        self._is_away = True
        self._is_joining = False
        self._match_join: JoinOptions | None = None  # of a match, until the client has left its room
        self._lobby = ClientLobby(self.core, self._send_when_connected)
        self._welcome: Welcome | None = None
        self._goodbye: Goodbye | None = None
        self._heartbeat = Heartbeat()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._calls: dict[int, CommandCall] = {}
        self._held = b""  # the payload of the input that is sent with each tick

    # -- the public API -------------------------------------------------------------------------------------

    @property
    def is_connected(self) -> bool:
        """Whether the client has an open session on its connection."""
        return self.connection is not None and self.connection.is_in_use and self._welcome is not None

    @property
    def is_seated(self) -> bool:
        """Whether the client is in a room."""
        return self.core.joined is not None

    @property
    def is_away(self) -> bool:
        """Whether the test has disconnected the client, or its session is over."""
        return self._is_away

    @property
    def world(self) -> MirroredWorld:
        """The world as the client has received it.

        Raises:
            AssertionError: the client is in no room.
        """
        world = self.core.world
        if world is None:
            raise AssertionError(f"{self.name!r} is in no room: {self.left_reason or 'it has not joined'}")
        return MirroredWorld(world)

    @property
    def entity(self) -> int:
        """The id of the player's entity, as the room sent it with the seat; 0 without one."""
        joined = self.core.joined
        return joined.entity if joined is not None else 0

    def input(self, **fields: float) -> None:
        """Send one input, in the game's units; fields that are missing are zero. It is lost while disconnected.

        Raises:
            ValueError: the client is in no room, or the room declares no such input.
        """
        data = self.core.input(fields)
        if self.is_connected:
            self._send(data)

    def hold(self, **fields: float) -> None:
        """Send an input now and with each tick of the room, as a player does who holds a key; no fields end that.

        Raises:
            ValueError: the client is in no room, or the room declares no such input.
        """
        self._held = self.core.pack(fields) if fields else b""
        self._send_held()

    def _send_held(self) -> None:
        joined = self.core.joined
        if self._held and joined is not None and self.is_connected:
            self._send(self.core.input_from_payload(self._held))
            self._call_later("held input", 1 / joined.tick_rate_hz, self._send_held)

    def command(self, name: str, payload: Any = None, /, **arguments: Any) -> CommandCall:
        """Send a command. Its result is there once the room has run for long enough.

        Args:
            name: the name of the command.
            payload: instead of arguments by name: a map of them, or the first argument alone.
            **arguments: the arguments of the command, by name.

        Raises:
            TypeError: both a payload and arguments are passed.
        """
        if arguments and payload is not None:
            raise TypeError("pass a command either a payload or arguments by name")
        id, _ = self.core.command(name, arguments or payload)
        call = self._calls[id] = CommandCall(name, id)
        self._send_commands()
        return call

    @overload
    def received(self, kind: type[T], /) -> list[T]: ...
    @overload
    def received(self, kind: str, /) -> list[Any]: ...
    def received(self, kind: type[Any] | str, /) -> list[Any]:
        """Return the events of a class that the client has received so far, oldest first.

        Args:
            kind: the event class; or the name of an event, whose payloads are returned decoded.
        """
        if isinstance(kind, str):
            return [decode_value(event.payload) for event in self.events if event.name == kind]
        name = to_event_name(kind)
        return [decode_payload(event.payload, kind) for event in self.events if event.name == name]

    def disconnect(self, *, is_silent: bool = False) -> None:
        """Break the connection. The client stays away until `reconnect`; the session can be resumed. Idempotent.

        Args:
            is_silent: whether the shard does not notice it, as when a device loses its network. It closes the
                connection after some seconds of silence.
        """
        self._is_away = True
        self._end_connection()
        if self.connection is not None:
            self.connection.client_closes(is_silent=is_silent)
            self.connection = None

    def reconnect(self) -> None:
        """Connect again, and resume the session if the shard still has it. Does nothing while connected."""
        if self._is_away:
            self._is_away = False
            self._plan.lost(self._loop.time() * 1000)
            self._connect()

    def leave(self) -> None:
        """Leave the room, as a player does who quits."""
        self._is_joining = False
        self._send(self.core.leave())

    # -- rooms and matches ----------------------------------------------------------------------------------

    def join(self, room_type: str, request: JoinOptions = ANY_ROOM) -> None:
        """Request a seat. The client has it, or `last_error`, once the room has run for long enough.

        Args:
            room_type: the type of the room.
            request: which room of the type; by default any open one.

        Raises:
            ValueError: the client is in a room: let it leave first.
        """
        if self.is_seated:
            raise ValueError(f"{self.name!r} is in a room: call leave() and run the room first")
        self._room_type, self._options, self._is_joining, self.last_error = room_type, request, True, None
        if self.is_connected:
            self._send(self.core.join(room_type, request))

    def match(self, mode: str, options: MatchOptions = ANY_MATCH) -> MatchCall:
        """Enter the queue of a mode. Once a match is found, the client leaves its room and joins that of the match.

        Args:
            mode: the name of the mode.
            options: the party, labels and latencies of the player, and the options for `on_join`.
        """
        return self._lobby.request_match(mode, options)

    def cancel_match(self) -> None:
        """Leave the queue. The newest MatchCall ends, unless its match was final before."""
        self._lobby.cancel_match()

    def list_rooms(self, room_type: str, labels: Mapping[str, str] | None = None, *, limit: int = 0) -> RoomListCall:
        """Request the open rooms of a type, which the answer lists once the room has run for long enough.

        Args:
            room_type: the type of the rooms.
            labels: only rooms with these labels.
            limit: the most rooms; 0 for the default.
        """
        return self._lobby.list_rooms(room_type, labels, limit)

    def _follow(self, redirect: Redirect, options: dict[str, Any] | None, *, is_match: bool) -> None:
        """Join the room of a Redirect with its ticket."""
        self._room_type = redirect.room_type
        request = JoinOptions(name=redirect.room_name, ticket=redirect.ticket, options=options)
        self._options, self._is_joining = request, True
        if redirect.url:
            self._visit(redirect.url)
        elif is_match and self.is_seated:
            self._match_join = request
            self._send(self.core.leave())
        else:
            self._send(self.core.join(redirect.room_type, request))

    def _visit(self, url: str) -> None:
        """Begin a new session on another shard; the present one ends."""
        connection, self.connection = self.connection, None
        self._end_connection()
        if connection is not None:
            connection.client_sends(self.core.end_session())
            connection.client_closes()
        self.core.discard_session()
        self._plan.visit(url, self._loop.time() * 1000)
        self._reconnect_later()

    # -- connections ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Connect for the first time, and join."""
        self._is_away, self._is_joining = False, bool(self._room_type)
        self._connect()

    def _connect(self) -> None:
        self._end_connection()
        connection = self._context.connect(self._url, self.network, self)
        if connection is None:
            self._plan.failed()
            self._reconnect_later()
            return
        self.connection = connection
        self.connections += 1
        connection.client_sends(self.core.hello(token=self.name))
        if self.network.breaks_per_minute:
            stream = self._context.schedule.stream(f"{self.name} connection")
            break_s = stream.rng.expovariate(self.network.breaks_per_minute / 60)
            if stream.keeps("break", break_s * 1000):
                self._call_later("break", break_s, lambda: self._break(connection))

    def _break(self, connection: SimulatedConnection) -> None:
        if connection.is_in_use:
            connection.client_closes()
            self.connection_ended(connection, None)

    def connection_ended(self, connection: SimulatedConnection, code: int | None, /) -> None:
        """Reconnect after a pause, unless the server closed the connection for good."""
        if connection is not self.connection:
            return
        goodbye = self._goodbye
        self._end_connection()
        self.connection = None
        if is_final_close(code, goodbye):
            self._is_away = True
            return
        self._plan.lost(self._loop.time() * 1000, advice_ms(code, goodbye, self.last_error))
        self._reconnect_later()

    def _end_connection(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._welcome = self._goodbye = None

    def _reconnect_later(self) -> None:
        attempt = self._plan.next(self._loop.time() * 1000)
        if attempt is None:
            self._is_away = True
            return
        self._url = attempt.url
        self._call_later("connect", attempt.pause_ms / 1000, self._connect)

    def _call_later(self, name: str, delay_s: float, callback: Callable[[], None]) -> None:
        """Start a timer, which replaces the one with this name."""
        timer = self._timers.get(name)
        if timer is not None:
            timer.cancel()
        self._timers[name] = self._loop.call_later(delay_s, callback)

    # -- messages -------------------------------------------------------------------------------------------

    def _now_us(self) -> int:
        return int(self._loop.time() * 1e6) + 1

    def frames_received(self, connection: SimulatedConnection, frames: bytes, /) -> None:
        """Apply the messages of the server in these frames."""
        self._heartbeat.record_received()
        for data in frame_payloads(frames):
            if connection is not self.connection:
                return
            world = self.core.world
            if world is None or self._context.worlds.recall(world, data) is None:
                self._apply(self._context.worlds.receive(self.core, data, now_us=self._now_us()))
        while self.core.outgoing and connection is self.connection:
            connection.client_sends(self.core.outgoing.popleft())

    def _apply(self, update: Update | None) -> None:
        if update is not None:
            self._lobby.receive(update)
        match update:
            case EventReceived(event):
                self.events.append(event)
            case ReplyReceived(reply, is_decided):
                if is_decided and (call := self._calls.pop(reply.id, None)) is not None:
                    call.reply = reply
                self._send_commands()
            case Welcomed():
                self._welcomed(update)
            case SeatTaken():
                self._is_joining, self.left_reason = False, ""
                self._lobby.seat_taken()
            case SeatLost(reason):
                self._held = b""
                self.left_reason = reason
                self._join_match()
            case ErrorReceived(error):
                self.last_error = error
                if is_answer(error, Join):
                    self._is_joining = False
            case Redirected(redirect) if redirect.is_resume:
                self._plan.redirected(redirect.url)
            case Redirected(redirect, is_match=True):
                match_call = self._lobby.match
                self._follow(redirect, match_call.options if match_call is not None else None, is_match=True)
            case Redirected(redirect, is_move=is_move):
                self._follow(redirect, None if is_move else self._options.options, is_match=False)
            case Ended(goodbye):
                self._goodbye = goodbye

    def _join_match(self) -> None:
        """Join the room of a match once the client has left its room."""
        request, self._match_join = self._match_join, None
        if request is not None:
            self._send(self.core.join(self._room_type, request))

    def _welcomed(self, update: Welcomed) -> None:
        self._welcome = update.welcome
        self._heartbeat = Heartbeat()
        self._plan.connected(self._url, self._loop.time() * 1000)
        if update.lost_room_id:
            self.left_reason = update.welcome.left_reason or "the session was lost"
        self._ping()
        if self._is_joining and not update.is_join_in_flight and not update.welcome.room_id:
            self._send(self.core.join(self._room_type, self._options))
        self._lobby.session_opened()
        self._send_commands()
        self._send_held()

    def _ping(self) -> None:
        if self._welcome is None or self.connection is None:
            return
        if not self._heartbeat.record_ping():
            self._break(self.connection)
            return
        self._send(self.core.ping(self._now_us()))
        self._call_later("ping", ping_interval_s(self._welcome.heartbeat_interval_ms), self._ping)

    def _send_commands(self) -> None:
        if not self.is_connected:
            return
        for data in self.core.commands_due(self._now_us()):
            self._send(data)
        next_us = self.core.next_command_us(self._now_us())
        if next_us is not None:
            self._call_later("commands", max(0.0, next_us / 1e6 - self._loop.time()), self._send_commands)

    def _send_when_connected(self, data: bytes) -> None:
        """Send a message if the session is open."""
        if self.is_connected:
            self._send(data)

    def _send(self, data: bytes) -> None:
        if self.connection is not None:
            self.connection.client_sends(data)
