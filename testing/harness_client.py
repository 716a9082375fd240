"""A simulated player of a harness: the real session machine and client core on a simulated connection.

Like the asyncio client it joins once its session is open, sends pings, repeats commands without a reply, follows
redirects and reconnects when its connection is lost (harness_shell.py). Its calls do not wait: their results are
there once the room has run for long enough.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any, TypeVar, overload

from tickwire.client.errors import CommandFailed, NotMatched, Refused
from tickwire.client.options import ANY_MATCH, ANY_ROOM, JoinOptions, MatchOptions
from tickwire.client.updates import (
    ErrorReceived,
    EventReceived,
    QueueChanged,
    SeatLost,
    SeatTaken,
    Update,
    Welcomed,
)
from tickwire.schemas.event_names import to_event_name
from tickwire.schemas.messages import Error, Event
from tickwire.schemas.payloads import decode_payload, decode_value
from tickwire.testing.command_call import CommandCall
from tickwire.testing.harness_shell import ClientContext, HarnessShell
from tickwire.testing.lobby_calls import MatchCall, RoomListCall
from tickwire.testing.mirrored_world import MirroredWorld
from tickwire.testing.simulated_network import Network

T = TypeVar("T")
EVENTS_MAX = 100_000
"""The newest events that a client keeps."""
WAIT_MS_MAX = 10**9
"""A command and a match of a simulated player have no time limit of their own."""
ROOMS_PER_LIST = 50


class HarnessClient(HarnessShell):
    """A player.

    Args:
        name: its name, which is the id of its player.
        room_type: the type of the room to join; empty for none.
        options: which room it joins, and how.
        network: its network.
        context: the parts of the harness.

    Attributes:
        last_error: the newest Error of the server; None before.
        left_reason: why the client has lost its seat; empty while it has one.
    """

    def __init__(
        self, name: str, room_type: str, options: JoinOptions, network: Network, context: ClientContext
    ) -> None:
        super().__init__(name, network, context)
        self.last_error: Error | None = None
        self.left_reason = ""
        self.events: deque[Event] = deque(maxlen=EVENTS_MAX)
        self._room_type, self._options = room_type, options
        self._is_joining = bool(room_type)
        self._match: MatchCall | None = None
        self._held = b""  # the payload of the input that is sent with each tick
        self._held_timer: asyncio.TimerHandle | None = None

    # -- the public API -------------------------------------------------------------------------------------

    @property
    def is_seated(self) -> bool:
        """Whether the client is in a room."""
        return self.core.joined is not None

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
            self._stop_holding()
            self._held_timer = self._loop.call_later(1 / joined.tick_rate_hz, self._send_held)

    def _stop_holding(self) -> None:
        if self._held_timer is not None:
            self._held_timer.cancel()

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
        number = self._machine.command(name, arguments or payload, WAIT_MS_MAX, self._now_ms())
        call = CommandCall(name, self.core.command_id)

        def receive(reply: Any, error: Exception | None) -> None:
            if error is None:
                call.reply = reply
            elif isinstance(error, CommandFailed):
                call.reply = error.reply
            else:
                call.failure = error

        self._call(number, receive)
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
        self._go_away(is_silent=is_silent)

    def reconnect(self) -> None:
        """Connect again, and resume the session if the shard still has it. Does nothing while connected."""
        if self.is_away:
            self._come_back()

    def start(self) -> None:
        """Connect for the first time, and join."""
        self._come_back()

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
        self._request_seat()

    def _request_seat(self) -> None:
        """Request a seat until the server answers: a join without an answer in time is repeated."""
        number = self._machine.join(self._room_type, self._options, self._now_ms())

        def receive(joined: Any, error: Exception | None) -> None:
            if isinstance(error, TimeoutError) and self._is_joining and not self.is_seated:
                self._request_seat()
            elif error is None or isinstance(error, Refused):
                self._is_joining = False

        self._call(number, receive)

    def leave(self) -> None:
        """Leave the room, as a player does who quits."""
        self._is_joining = False
        self._call(self._machine.leave(self._now_ms()), lambda value, error: None)

    def match(self, mode: str, options: MatchOptions = ANY_MATCH) -> MatchCall:
        """Enter the queue of a mode. Once a match is found, the client leaves its room and joins that of the match.

        Args:
            mode: the name of the mode.
            options: the party, labels and latencies of the player, and the options for `on_join`.
        """
        call = MatchCall(mode)
        if self._match is None or self._match.is_done:  # otherwise the machine refuses another one
            self._match = call

        def receive(joined: Any, error: Exception | None) -> None:
            call.has_joined = error is None
            call.has_ended = isinstance(error, NotMatched)
            if error is not None and not call.has_ended:
                call.failure = error

        self._call(self._machine.match(mode, options, WAIT_MS_MAX, self._now_ms()), receive)
        return call

    def cancel_match(self) -> None:
        """Leave the queue. The newest MatchCall ends, unless its match was final before."""
        self._machine.cancel_match(self._now_ms())
        self._perform()

    def list_rooms(
        self, room_type: str, labels: Mapping[str, str] | None = None, *, limit: int = ROOMS_PER_LIST
    ) -> RoomListCall:
        """Request the open rooms of a type, which the answer lists once the room has run for long enough.

        Args:
            room_type: the type of the rooms.
            labels: only rooms with these labels.
            limit: the most rooms.
        """
        call = RoomListCall()

        def receive(answer: Any, error: Exception | None) -> None:
            if error is None:
                call.answer(answer.rooms)
            else:
                call.failure = error

        self._call(self._machine.list_rooms(room_type, labels, limit, self._now_ms()), receive)
        return call

    # -- the session ----------------------------------------------------------------------------------------

    def _opening(self) -> None:
        if self._is_joining:
            self._request_seat()

    def _ended(self) -> None:
        self._stop_holding()

    def _updated(self, update: Update) -> None:
        match update:
            case EventReceived(event):
                self.events.append(event)
            case Welcomed(lost_room_id=lost_room_id, welcome=welcome):
                if lost_room_id:
                    self.left_reason = welcome.left_reason or "the session was lost"
            case SeatTaken():
                self.left_reason = ""
            case SeatLost(reason):
                self._held = b""
                self.left_reason = reason
            case ErrorReceived(error):
                self.last_error = error
            case QueueChanged(status, is_current=True) if self._match is not None:
                self._match.status = status

    def _session_opened(self) -> None:
        self._send_held()
