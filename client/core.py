"""A client without I/O: bytes in, typed updates and a mirrored world out; wishes in, bytes to send out.

Whoever drives it gives each WebSocket message to `receive` and sends what the other methods return. It repairs
itself: a frame that does not fit, or a checksum that differs, makes it ask for a keyframe (`outgoing`), and ask
again when none comes. It outlives connections: the next `hello` asks for the same session, and once that is resumed
the commands that were not answered are asked again. Pure: clock readings come in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from tickwire.client.command_window import CommandWindow, is_decided
from tickwire.client.errors import MessageTooLarge
from tickwire.client.match_queue import MatchQueue, Meaning
from tickwire.client.requests import is_answer
from tickwire.client.updates import (
    Ended,
    ErrorReceived,
    EventReceived,
    EventsLost,
    InputAcknowledged,
    PongReceived,
    QueueChanged,
    RateChanged,
    Redirected,
    ReplyReceived,
    SeatLost,
    SeatTaken,
    StateApplied,
    Update,
    Welcomed,
)
from tickwire.client.world import World, WrongBaseline
from tickwire.schemas import SCHEMA_VERSION, SERVER_MESSAGE_BYTES_MAX
from tickwire.schemas.codec import decode_server, encode_client, encode_input
from tickwire.schemas.errors import MalformedMessage, UnknownMessage
from tickwire.schemas.fields import Field, from_description, pack_input
from tickwire.schemas.messages import (
    Command,
    EndSession,
    Error,
    ErrorCode,
    Event,
    Goodbye,
    Hello,
    InputAck,
    Join,
    Joined,
    Leave,
    Left,
    MatchCancel,
    MatchRequest,
    MatchStatus,
    Message,
    Ping,
    Pong,
    Rate,
    Redirect,
    Reply,
    Resync,
    StateFrame,
    Welcome,
)
from tickwire.schemas.parts import IS_COMPLETE, Part, decode_parts
from tickwire.schemas.payloads import encode_payload

MESSAGE_BYTES_MAX = SERVER_MESSAGE_BYTES_MAX
TEXT_BYTES_MAX = 4096
"""The longest text in a message, as UTF-8: the server closes the session of a client that sends a longer one."""
RESYNC_AGAIN_TICKS = 64
"""After so many ticks without the keyframe it asked for, the core asks again."""


class ClientCore:
    """One session, seen from the player's side.

    Args:
        make_world: makes the mirror of a room that was joined.
        random: returns random numbers from 0 to 1; spreads the pauses before a command is sent again.

    Attributes:
        world: what was told of the room; None outside of one.
        joined: the room's Joined; None outside of one.
        acknowledged_seq: the newest input that is part of the world.
        resume_token: what brings this session back; empty when there is none, or it cannot be resumed.
        rate: how much of the state the server sends.
        outgoing: messages that must be sent though nobody asked: take and send them after each `receive`, and after
            `give_up_match`.
        resyncs, mismatches, events_missed, events_repeated: should stay 0; counted, over all sessions.
    """

    def __init__(
        self, make_world: Callable[[Joined], World] | None = None, *, random: Callable[[], float] = lambda: 0.5
    ) -> None:
        self._make_world = make_world or _world_of
        self.world: World | None = None
        self.joined: Joined | None = None
        self.acknowledged_seq = 0
        self.resume_token = ""
        self.rate = Rate(1)
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
        self._generation = 0
        self._attempt = 0
        self._has_session = False
        self._is_giving_up_join = False
        self._message_bytes_max = 0
        self._commands = CommandWindow(random)
        self._queue = MatchQueue()
        self._awaiting_keyframe: dict[int, int] = {}  # channel: the tick at which it was asked for

    # -- wishes ---------------------------------------------------------------------------------------------

    def hello(self, *, build: str = "", token: str = "") -> bytes:
        """The first message on a connection: asks for the session that there was, if there was one."""
        self.outgoing.clear()
        self._attempt += 1
        world = self.world if not self._awaiting_keyframe else None  # a world known to be wrong is no baseline
        return self._encoded(
            Hello(
                SCHEMA_VERSION,
                build,
                token,
                resume_token=self.resume_token,
                last_tick=world.tick if world is not None and self.resume_token else 0,
                last_event=self._event_number if self.resume_token else 0,
                room_id=self.joined.room_id if self.joined is not None and self.resume_token else "",
                attempt=self._attempt,
            )
        )

    def forget_session(self) -> None:
        """The next `hello` asks for a new session."""
        self.resume_token = ""
        self._has_session = self._is_giving_up_join = False
        self._commands.clear()
        self._queue.reset()
        self.world = self.joined = None
        self.acknowledged_seq = self._input_seq = self._event_number = 0
        self._awaiting_keyframe.clear()
        self.rate = Rate(1)

    def join(
        self,
        room_type: str,
        *,
        name: str = "",
        ticket: str = "",
        options: dict[str, Any] | None = None,
        room_id: str = "",
        code: str = "",
        is_private: bool = False,
        labels: dict[str, str] | None = None,
        party: tuple[str, int] | None = None,
    ) -> bytes:
        """Asks for a seat.

        Args:
            room_id, code, name: exactly that room; else any open one.
            is_private: a new room, that only its code opens.
            labels: only rooms that have them.
            party: a code that friends share, and how many they are: all get seats in one room, or nobody.

        Raises:
            MessageTooLarge: the server would not accept the message.
        """
        party_code, party_size = party or ("", 0)
        packed, of_labels = _packed(options), _packed(labels)
        wish = Join(room_type, name, ticket, packed, room_id, code, is_private, of_labels, party_code, party_size)
        return self._encoded(wish)

    def match_request(
        self,
        mode: str,
        *,
        options: dict[str, Any] | None = None,
        party: tuple[str, int] | None = None,
        latencies: dict[str, float] | None = None,
        labels: dict[str, str] | None = None,
    ) -> bytes:
        """Asks for a place in a queue.

        Args:
            party: a code that friends share, and how many they are: matched together once all have asked.
            latencies: round trips in milliseconds by region; without, the region that was reached.
            labels: what the match must be like.

        Raises:
            MessageTooLarge: the server would not accept the message.
        """
        code, size = party or ("", 0)
        wish = MatchRequest(mode, _packed(options), code, size, _packed(latencies), _packed(labels))
        data = self._encoded(wish)
        self._queue.request(mode)
        return data

    def match_cancel(self) -> bytes:
        """Encode the wish to leave the queue. CANCELLED answers it and ends the wait, or FOUND if that came first."""
        return encode_client(MatchCancel())

    def give_up_match(self) -> None:
        """Leave the queue without waiting for the answer. Does nothing if the wait is over.

        A MatchCancel is in `outgoing`, and is sent again after a resume until it is answered. Messages about the
        place that still arrive are not reported as current.
        """
        if self._queue.give_up():
            self.outgoing.append(self.match_cancel())

    def give_up_join(self) -> None:
        """Give the seat back that a Join without an answer may bring, as soon as it is there."""
        self._is_giving_up_join = True

    @property
    def is_giving_up_join(self) -> bool:
        """Whether a Join that was given up has no answer yet: another one must wait."""
        return self._is_giving_up_join

    def leave(self) -> bytes:
        """Gives the seat back."""
        return encode_client(Leave())

    def end_session(self) -> bytes:
        """Encode the request to end the session, with its seat and its place in the queue."""
        return encode_client(EndSession())

    def input(self, values: dict[str, float]) -> bytes:
        """A wish for the simulation, in the game's units; what is not given is zero.

        Raises:
            ValueError: the client is in no room, the room declares no such input, or a value is not a number.
        """
        return self.input_of(self.pack(values))

    def pack(self, values: dict[str, float]) -> bytes:
        """The payload of an input, for who sends the same again and again.

        Raises:
            ValueError: as `input`.
        """
        if self.world is None:
            raise ValueError("an input needs a room: join first")
        if not values.keys() <= self._input_names:
            unknown = ", ".join(sorted(values.keys() - self._input_names))
            raise ValueError(f"no input {unknown}; this room has: {', '.join(sorted(self._input_names))}")
        return pack_input(self._input_fields, values)

    def input_of(self, payload: bytes) -> bytes:
        """An input that was packed before, in this room.

        Raises:
            ValueError: the client is in no room.
        """
        if self.world is None:
            raise ValueError("an input needs a room: join first")
        self._input_seq += 1
        return encode_input(self._input_seq, self.world.tick, payload)

    @property
    def input_fields(self) -> tuple[Field, ...]:
        """What an input of this room is made of."""
        return self._input_fields

    @property
    def input_seq(self) -> int:
        """The sequence number of the last input."""
        return self._input_seq

    def command(self, name: str, payload: Any = None) -> tuple[int, bytes]:
        """Add a command for the room. `commands_due` returns it until it is answered.

        Returns:
            Its id, which is in the Reply, and the message, for a caller that sends it by itself.

        Raises:
            MessageTooLarge: the server would not accept the message.
            ClientError: too many commands have no answer yet.
        """
        command_id = self._command_id + 1
        data = self._encoded(Command(command_id, name, encode_payload(payload)))
        self._commands.add(command_id, data)
        self._command_id = command_id
        return command_id, data

    def commands_due(self, now_us: int) -> list[bytes]:
        """Return the commands to send now on the session's connection: new ones, and those to be sent again.

        Args:
            now_us: the clock that `receive` is given, microseconds.
        """
        return self._commands.due(now_us / 1e6)

    def next_command_us(self, now_us: int) -> int | None:
        """Return when `commands_due` returns something, if nothing is received before; None without commands."""
        due_s = self._commands.next_due_s(now_us / 1e6)
        return None if due_s is None else int(due_s * 1e6) + 1

    @property
    def commands_unanswered(self) -> int:
        """How many commands have no answer yet."""
        return len(self._commands)

    def give_up(self, command_id: int) -> None:
        """Remove a command: it is not sent again. Idempotent."""
        self._commands.remove(command_id)

    def ping(self, now_us: int) -> bytes:
        """A clock reading for the server to give back; also the heartbeat, and says what has arrived.

        The first is best sent as soon as Welcome is here.
        """
        return encode_client(Ping(now_us, self._event_number, self._generation))

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
                return self._welcomed(message)
            case Joined():
                return self._seat_taken(message)
            case Left(reason):
                self.world = self.joined = None
                self.rate = Rate(1)
                return SeatLost(reason)
            case Reply():
                self._commands.replied(message, now_us / 1e6)
                return ReplyReceived(message, is_decided(message))
            case Pong():
                return self._pong(message, now_us)
            case Redirect(is_resume=True):
                return Redirected(message)
            case Redirect():
                meaning = self._queue.redirect_received()
                if meaning is None:
                    self._is_giving_up_join = False
                    return Redirected(message)
                return Redirected(message, is_match=True) if meaning is Meaning.PROGRESS else None
            case Error(ErrorCode.RESYNC):
                return EventsLost(message)
            case Error():
                if is_answer(message, Join):
                    self._is_giving_up_join = False
                return ErrorReceived(message)
            case Goodbye():
                return Ended(message)
            case Rate():
                self.rate = message
                return RateChanged(message)
            case MatchStatus():
                meaning = self._queue.status_received(message)
                return QueueChanged(message, meaning is not Meaning.NONE, meaning is Meaning.END)
            case _:
                return None

    def _welcomed(self, welcome: Welcome) -> Welcomed:
        has_resumed = welcome.generation > 1
        was_in = self.joined.room_id if self.joined is not None else ""
        has_lost_session = self._has_session and not has_resumed
        if not has_resumed:
            self.forget_session()
        self._has_session = True
        self.resume_token, self._generation = welcome.resume_token, welcome.generation
        self._message_bytes_max = welcome.message_bytes_max
        self._commands.welcomed(welcome)
        if has_resumed:
            self.rate = Rate(1)
            self._awaiting_keyframe.clear()
            if was_in and welcome.room_id == was_in and self.world is not None:
                self.world.settle()
            elif was_in and not welcome.room_id:
                self.world = self.joined = None
            if self._queue.has_cancelled:
                self._queue.resumed()
                self.outgoing.append(self.match_cancel())
            if not welcome.is_joining and not welcome.room_id:
                self._is_giving_up_join = False
        is_lost = bool(was_in) and self.joined is None
        return Welcomed(welcome, has_resumed, was_in if is_lost else "", has_lost_session)

    def _seat_taken(self, joined: Joined) -> SeatTaken | None:
        if self._is_giving_up_join:
            self._is_giving_up_join = False
            self.outgoing.append(self.leave())
            return None
        before = self.joined.room_id if self.joined is not None else ""
        world = self.world
        if world is not None and before == joined.room_id and world.description == joined.description:
            world.clear()
        else:
            world = self._make_world(joined)
        self._input_fields = tuple(from_description(field) for field in joined.description.inputs)
        self._input_names = frozenset(field.name for field in self._input_fields)
        self.joined, self.world = joined, world
        self._awaiting_keyframe.clear()
        return SeatTaken(joined)

    def _state(self, frame: StateFrame) -> StateApplied | None:
        if self.world is None:
            return None
        parts = decode_parts(frame)
        applied = [self._part(self.world, part, frame) for part in parts]
        named = {part.channel for part in parts}
        is_complete = bool(frame.flags & IS_COMPLETE)
        self.world.finish(frame.tick, keep=named if is_complete else None)
        if is_complete:
            self._awaiting_keyframe = {c: tick for c, tick in self._awaiting_keyframe.items() if c in named}
        if parts and all(agrees is None for agrees in applied):
            return None
        is_keyframe = all(part.is_keyframe for part in parts)
        return StateApplied(frame.tick, tuple(part.channel for part in parts), is_keyframe, False not in applied)

    def _part(self, world: World, part: Part, frame: StateFrame) -> bool | None:
        """Applies one part; says whether its checksum agrees, None when it could not be applied."""
        asked_tick = self._awaiting_keyframe.get(part.channel)
        if not part.is_keyframe and asked_tick is not None:
            if frame.tick - asked_tick >= RESYNC_AGAIN_TICKS:
                self._ask_for_keyframe(part.channel, frame.tick)
            return None
        try:
            agrees = world.apply(part, tick=frame.tick, age=frame.age)
        except WrongBaseline:  # a frame is missing: who knows what it said of the other channels
            for channel in world.channels | {part.channel}:
                self._ask_for_keyframe(channel, frame.tick)
            return None
        except MalformedMessage:
            self._ask_for_keyframe(part.channel, frame.tick)
            return None
        self._awaiting_keyframe.pop(part.channel, None)
        if not agrees:
            self.mismatches += 1
            self._ask_for_keyframe(part.channel, frame.tick)
        return agrees

    def _ask_for_keyframe(self, channel: int, tick: int) -> None:
        self.resyncs += 1
        self._awaiting_keyframe[channel] = tick
        self.outgoing.append(encode_client(Resync(channel, tick)))

    def _event(self, event: Event) -> EventReceived | None:
        if event.number <= self._event_number:
            self.events_repeated += 1
            return None
        missed = event.number - self._event_number - 1
        self.events_missed += missed
        self._event_number = event.number
        return EventReceived(event, missed)

    def _encoded(self, message: Message) -> bytes:
        """Encode a message with contents of the game's, if the server accepts it.

        Raises:
            MessageTooLarge: it does not.
        """
        kind = type(message).__name__
        for name in message.__struct_fields__:
            value = getattr(message, name)
            if isinstance(value, str) and len(value) > TEXT_BYTES_MAX // 4:
                size = len(value.encode())
                if size > TEXT_BYTES_MAX:
                    raise MessageTooLarge(f"the {name} of a {kind}", size, TEXT_BYTES_MAX)
        data = encode_client(message)
        if 0 < self._message_bytes_max < len(data):
            raise MessageTooLarge(f"the {kind}", len(data), self._message_bytes_max)
        return data

    def _pong(self, pong: Pong, now_us: int) -> PongReceived:
        # The server read its clock half a round trip ago, if both ways take alike: RFC 5905, section 8.
        rtt_us = max(0, now_us - pong.client_time_us)
        return PongReceived(rtt_us, pong.server_time_us + rtt_us // 2 - now_us)


def _world_of(joined: Joined) -> World:
    return World(joined.description)


def _packed(value: dict[str, Any] | dict[str, str] | dict[str, float] | None) -> bytes:
    return encode_payload(value) if value else b""
