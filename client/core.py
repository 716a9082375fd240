"""A client without I/O: bytes in, typed updates and a mirrored world out; wishes in, bytes to send out.

Whoever drives it gives each WebSocket message to `receive` and sends what the other methods return. It repairs
itself: a frame that does not fit, or a checksum that differs, makes it ask for a keyframe (`outgoing`), and ask
again when none comes. Pure: clock readings come in.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from client.updates import (
    Ended,
    EventReceived,
    InputAcknowledged,
    PongReceived,
    Redirected,
    Refused,
    ReplyReceived,
    SeatLost,
    SeatTaken,
    StateApplied,
    Update,
    Welcomed,
)
from client.world import World, WrongBaseline
from schemas import SCHEMA_VERSION
from schemas.codec import decode_server, encode_client, encode_input
from schemas.errors import MalformedMessage, UnknownMessage
from schemas.fields import Field, from_description, pack_input
from schemas.messages import (
    Command,
    Error,
    Event,
    Goodbye,
    Hello,
    InputAck,
    Join,
    Joined,
    Leave,
    Left,
    Ping,
    Pong,
    Redirect,
    Reply,
    Resync,
    StateFrame,
    Welcome,
)

RESYNC_AGAIN_TICKS = 64
"""After so many ticks without the keyframe it asked for, the core asks again: a server above its rate limit drops
what it gets, a Resync too."""


class ClientCore:
    """One session, seen from the player's side.

    Attributes:
        world: what was told of the room; None outside of one.
        joined: the room's Joined; None outside of one.
        acknowledged_seq: the newest input that is part of the world.
        outgoing: messages that must be sent though nobody asked: take and send them after each `receive`.
        resyncs, mismatches, events_missed, events_repeated: should stay 0; counted, over all sessions.
    """

    def __init__(self) -> None:
        self.world: World | None = None
        self.joined: Joined | None = None
        self.acknowledged_seq = 0
        self.outgoing: deque[bytes] = deque()
        self.resyncs = 0
        self.mismatches = 0
        self.events_missed = 0
        self.events_repeated = 0
        self.unknown_messages = 0
        self._input_fields: tuple[Field, ...] = ()
        self._input_names: frozenset[str] = frozenset()
        self._input_seq = 0
        self._command_id = 0
        self._event_number = 0
        self._awaiting_keyframe: dict[int, int] = {}  # channel: the tick at which it was asked for

    # -- wishes ---------------------------------------------------------------------------------------------

    def hello(self, *, build: str = "", token: str = "") -> bytes:
        """The first message. It begins a new session: what was told of the one before is forgotten."""
        self.world = self.joined = None
        self.acknowledged_seq = self._input_seq = self._event_number = 0
        self.outgoing.clear()
        self._awaiting_keyframe.clear()
        return encode_client(Hello(SCHEMA_VERSION, build, token))

    def join(
        self,
        room_type: str,
        *,
        name: str = "",
        ticket: str = "",
        options: dict[str, Any] | None = None,
    ) -> bytes:
        """Asks for a seat."""
        packed = msgspec.msgpack.encode(options) if options else b""
        return encode_client(Join(room_type, name, ticket, packed))

    def leave(self) -> bytes:
        """Gives the seat back."""
        return encode_client(Leave())

    def input(self, values: dict[str, float]) -> bytes:
        """A wish for the simulation, in the game's units; what is not given is zero.

        Raises:
            ValueError: the client is in no room, the room declares no such input, or a value is not a number.
        """
        if self.world is None:
            raise ValueError("an input needs a room: join first")
        if not values.keys() <= self._input_names:
            unknown = ", ".join(sorted(values.keys() - self._input_names))
            raise ValueError(f"no input {unknown}; this room has: {', '.join(sorted(self._input_names))}")
        payload = pack_input(self._input_fields, values)
        self._input_seq += 1
        return encode_input(self._input_seq, self.world.tick, payload)

    @property
    def input_seq(self) -> int:
        """The sequence number of the last input."""
        return self._input_seq

    def command(self, name: str, payload: Any = None) -> tuple[int, bytes]:
        """A request; its id is in the Reply."""
        self._command_id += 1
        return self._command_id, encode_client(Command(self._command_id, name, msgspec.msgpack.encode(payload)))

    def ping(self, now_us: int) -> bytes:
        """A clock reading for the server to give back; also the heartbeat."""
        return encode_client(Ping(now_us))

    # -- what the server says -------------------------------------------------------------------------------

    def receive(self, data: bytes, *, now_us: int) -> Update | None:
        """Takes one message.

        Args:
            data: a whole WebSocket message.
            now_us: the clock that `ping` was given, microseconds.

        Returns:
            What it means; None when there is nothing new in it, or it is of a type that this build does not know.

        Raises:
            MalformedMessage: it is no message; the connection is not to be trusted further.
        """
        try:
            message = decode_server(data)
        except UnknownMessage:
            self.unknown_messages += 1
            return None
        match message:
            case StateFrame():
                return self._state(message)
            case InputAck(tick, seq):
                self.acknowledged_seq = seq
                return InputAcknowledged(tick, seq)
            case Event():
                return self._event(message)
            case Welcome():
                return Welcomed(message)
            case Joined():
                return self._seat_taken(message)
            case Left(reason):
                self.world = self.joined = None
                return SeatLost(reason)
            case Reply():
                return ReplyReceived(message)
            case Pong():
                return self._pong(message, now_us)
            case Redirect():
                return Redirected(message)
            case Error():
                return Refused(message)
            case Goodbye():
                return Ended(message)
            case _:
                return None  # MatchStatus: no queue is joined yet

    def _seat_taken(self, joined: Joined) -> SeatTaken:
        world = World(joined.description)
        self._input_fields = tuple(from_description(field) for field in joined.description.inputs)
        self._input_names = frozenset(field.name for field in self._input_fields)
        self.joined, self.world = joined, world
        self.acknowledged_seq = self._input_seq = 0
        self._awaiting_keyframe.clear()
        return SeatTaken(joined)

    def _state(self, frame: StateFrame) -> StateApplied | None:
        if self.world is None:
            return None
        asked_tick = self._awaiting_keyframe.get(frame.channel)
        if frame.age and asked_tick is not None:
            if frame.tick - asked_tick >= RESYNC_AGAIN_TICKS:
                self._ask_for_keyframe(frame)
            return None
        try:
            agrees = self.world.apply(frame)
        except (WrongBaseline, MalformedMessage):
            self._ask_for_keyframe(frame)
            return None
        self._awaiting_keyframe.pop(frame.channel, None)
        if not agrees:
            self.mismatches += 1
            self._ask_for_keyframe(frame)
        return StateApplied(frame.tick, frame.channel, frame.age == 0, agrees)

    def _ask_for_keyframe(self, frame: StateFrame) -> None:
        self.resyncs += 1
        self._awaiting_keyframe[frame.channel] = frame.tick
        self.outgoing.append(encode_client(Resync(frame.channel, frame.tick)))

    def _event(self, event: Event) -> EventReceived | None:
        if event.number <= self._event_number:
            self.events_repeated += 1
            return None
        missed = event.number - self._event_number - 1
        self.events_missed += missed
        self._event_number = event.number
        return EventReceived(event, missed)

    def _pong(self, pong: Pong, now_us: int) -> PongReceived:
        # The server read its clock half a round trip ago, if both ways take alike: RFC 5905, section 8.
        rtt_us = max(0, now_us - pong.client_time_us)
        return PongReceived(rtt_us, pong.server_time_us + rtt_us // 2 - now_us)
