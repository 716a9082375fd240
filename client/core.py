"""The protocol of a client without I/O: turns received bytes into updates and a world, and requests into bytes.

The caller passes each WebSocket message to `receive`, and sends the bytes that the other methods return and those in
`outgoing`. After a frame that does not fit or a wrong checksum the core requests a keyframe, and repeats the request
if none arrives. The core outlives connections: the next `hello` asks for the same session; after a resume, commands
without a reply are sent again. Pure: the caller passes clock readings.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from math import ceil
from typing import Any

from tickwire.client.command_window import CommandWindow, is_decided
from tickwire.client.input_encoder import InputEncoder
from tickwire.client.match_queue import MatchQueue, Meaning
from tickwire.client.message_encoder import MessageEncoder
from tickwire.client.options import ANY_MATCH, ANY_ROOM, JoinOptions, MatchOptions
from tickwire.client.requests import is_answer
from tickwire.client.state_receiver import StateReceiver, create_world
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
    RoomsListed,
    SeatLost,
    SeatTaken,
    SessionAuthenticated,
    TokenRequested,
    Update,
    Welcomed,
)
from tickwire.client.world import World
from tickwire.schemas import SCHEMA_VERSION, SERVER_MESSAGE_BYTES_MAX
from tickwire.schemas.codec import decode_server, encode_client
from tickwire.schemas.errors import UnknownMessage
from tickwire.schemas.fields import Field, from_description
from tickwire.schemas.messages import (
    Authenticate,
    Authenticated,
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
    ListRooms,
    MatchCancel,
    MatchStatus,
    Ping,
    Pong,
    Rate,
    Redirect,
    Reply,
    RoomList,
    StateFrame,
    TokenExpiring,
    Welcome,
)
from tickwire.schemas.payloads import encode_payload

MESSAGE_BYTES_MAX = SERVER_MESSAGE_BYTES_MAX


class ClientCore:
    """The client's side of a session.

    Args:
        create_world: creates the mirrored world of a joined room.
        random: returns random numbers from 0 to 1; spreads the pauses before a command is sent again.

    Attributes:
        state: the mirrored state of the room.
        acknowledged_seq: the sequence number of the newest input that is part of the world.
        resume_token: resumes this session; empty without a session, or if it cannot be resumed.
        rate: the rate at which the server sends the state.
        outgoing: messages of the protocol itself. Send them after each `receive`, and after `abandon_match`.
        events_missed, events_repeated: counted over all sessions; expected to stay 0.
    """

    def __init__(
        self, create_world: Callable[[Joined], World] = create_world, *, random: Callable[[], float] = lambda: 0.5
    ) -> None:
        self.outgoing: deque[bytes] = deque()
        self.state = StateReceiver(self.outgoing, create_world)
        self.acknowledged_seq = 0
        self.resume_token = ""
        self.rate = Rate(1)
        self.events_missed = 0
        self.events_repeated = 0
        self.unknown_messages = 0
        self._encoder = MessageEncoder()
        self._inputs = InputEncoder()
        self._command_id = 0
        self._event_number = 0
        self._generation = 0
        self._attempt = 0
        self._list_id = 0
        self._has_session = False
        self._is_abandoning_join = False
        self._commands = CommandWindow(random)
        self._match_queue = MatchQueue()

    @property
    def world(self) -> World | None:
        """The mirrored world of the room; None outside of a room."""
        return self.state.world

    @property
    def joined(self) -> Joined | None:
        """The room's Joined message; None outside of a room."""
        return self.state.joined

    @property
    def resyncs(self) -> int:
        """The number of keyframes that the core requested, over all sessions. Expected to stay 0."""
        return self.state.resyncs

    @property
    def mismatches(self) -> int:
        """The number of states with a wrong checksum, over all sessions. Expected to stay 0."""
        return self.state.mismatches

    # -- to the server --------------------------------------------------------------------------------------

    def hello(self, *, build: str = "", token: str = "") -> bytes:
        """Encode the first message on a connection. It asks to resume the previous session, if there was one."""
        self.outgoing.clear()
        self._attempt += 1
        return self._encoder.encode(
            Hello(
                SCHEMA_VERSION,
                build,
                token,
                resume_token=self.resume_token,
                last_tick=self.state.baseline_tick if self.resume_token else 0,
                last_event=self._event_number if self.resume_token else 0,
                room_id=self.state.room_id if self.resume_token else "",
                attempt=self._attempt,
            )
        )

    def discard_session(self) -> None:
        """Discard the session: the next `hello` asks for a new one."""
        self.resume_token = ""
        self._has_session = self._is_abandoning_join = False
        self._commands.clear()
        self._match_queue.reset()
        self.state.leave()
        self._inputs.reset()
        self.acknowledged_seq = self._event_number = 0
        self.rate = Rate(1)

    def join(self, room_type: str, options: JoinOptions = ANY_ROOM) -> bytes:
        """Encode a request for a seat in a room of this type.

        Raises:
            MessageTooLarge: the server would not accept the message.
        """
        return self._encoder.encode(options.to_message(room_type))

    def match_request(self, mode: str, options: MatchOptions = ANY_MATCH) -> bytes:
        """Encode a request to enter the queue of this mode.

        Raises:
            MessageTooLarge: the server would not accept the message.
        """
        data = self._encoder.encode(options.to_message(mode))
        self._match_queue.request(mode)
        return data

    def list_rooms(self, room_type: str, labels: Mapping[str, str] | None, limit: int) -> tuple[bytes, int]:
        """Encode a request for open rooms; return it and its id, which RoomList returns.

        Raises:
            MessageTooLarge: the server would not accept the message.
        """
        self._list_id += 1
        encoded = encode_payload(dict(labels)) if labels else b""
        return self._encoder.encode(ListRooms(self._list_id, room_type, encoded, limit)), self._list_id

    def match_cancel(self) -> bytes:
        """Encode the request to leave the queue. The answer is CANCELLED, or FOUND if the match was already final."""
        return encode_client(MatchCancel())

    def abandon_match(self) -> None:
        """Leave the queue without waiting for the answer. Does nothing if the wait is over.

        The MatchCancel is added to `outgoing`, and is sent again after a resume until it is answered. Later messages
        about the abandoned queue entry are not reported as current.
        """
        if self._match_queue.abandon():
            self.outgoing.append(self.match_cancel())

    def abandon_join(self) -> None:
        """Abandon a Join without an answer: if its seat arrives, the core leaves the room."""
        self._is_abandoning_join = True

    @property
    def is_abandoning_join(self) -> bool:
        """Whether an abandoned Join has no answer yet. The next Join must wait for it."""
        return self._is_abandoning_join

    def leave(self) -> bytes:
        """Encode the request to leave the room."""
        return encode_client(Leave())

    def end_session(self) -> bytes:
        """Encode the request to end the session, its seat and its queue entry."""
        return encode_client(EndSession())

    def authenticate(self, token: str) -> bytes:
        """Encode the request to authenticate the player of the running session.

        Raises:
            MessageTooLarge: the server would not accept the message.
        """
        return self._encoder.encode(Authenticate(token))

    def input(self, values: dict[str, float]) -> bytes:
        """Encode an input, in the game's units. Missing fields are zero.

        Raises:
            ValueError: the client is in no room, the room declares no such input, or a value is not a number.
        """
        return self.input_from_payload(self.pack(values))

    def pack(self, values: dict[str, float]) -> bytes:
        """Return the payload of an input, for callers that send the same input repeatedly.

        Raises:
            ValueError: as `input`.
        """
        self._world_for_input()
        return self._inputs.pack(values)

    def input_from_payload(self, payload: bytes) -> bytes:
        """Encode an input with a payload from `pack`, of the same room.

        Raises:
            ValueError: the client is in no room.
        """
        return self._inputs.encode(self._world_for_input().tick, payload)

    def _world_for_input(self) -> World:
        if self.state.world is None:
            raise ValueError("an input needs a room: join first")
        return self.state.world

    @property
    def input_fields(self) -> tuple[Field, ...]:
        """The fields of this room's inputs."""
        return self._inputs.fields

    @property
    def input_seq(self) -> int:
        """The sequence number of the last input."""
        return self._inputs.seq

    def command(self, name: str, payload: Any = None) -> tuple[int, bytes]:
        """Add a command for the room. `commands_due` returns it until it is answered.

        Returns:
            Its id, which the Reply repeats, and the message, for callers that send it themselves.

        Raises:
            MessageTooLarge: the server would not accept the message.
            ClientError: too many commands have no reply yet.
        """
        command_id = self._command_id + 1
        data = self._encoder.encode(Command(command_id, name, encode_payload(payload)))
        self._commands.add(command_id, data)
        self._command_id = command_id
        return command_id, data

    def commands_due(self, now_us: int) -> list[bytes]:
        """Return the commands to send now on the session's connection: new ones, and those to be sent again.

        Args:
            now_us: the clock that `receive` uses, in microseconds.
        """
        return self._commands.due(now_us / 1000)

    def next_command_us(self, now_us: int) -> int | None:
        """Return the time of the next due command, if no reply arrives before; None without commands."""
        due_ms = self._commands.next_due_ms(now_us / 1000)
        return None if due_ms is None else ceil(due_ms * 1000)

    def restore(self, resume_token: str, *, last_event: int, attempt: int, command_id: int) -> None:
        """Continue a session of an earlier run of the program. The next `hello` asks for it and a keyframe.

        Args:
            resume_token: of the session.
            last_event: the newest event that was received.
            attempt: at least the number of the last Hello.
            command_id: at least the id of the last command.
        """
        self.resume_token, self._has_session = resume_token, True
        self._event_number, self._attempt, self._command_id = last_event, attempt, command_id

    @property
    def event_number(self) -> int:
        """The number of the newest event."""
        return self._event_number

    @property
    def attempt(self) -> int:
        """The number of the last Hello."""
        return self._attempt

    @property
    def command_id(self) -> int:
        """The id of the last command."""
        return self._command_id

    @property
    def commands_unanswered(self) -> int:
        """The number of commands without a reply."""
        return len(self._commands)

    def abandon_command(self, command_id: int) -> None:
        """Remove a command: it is not sent again. Idempotent."""
        self._commands.remove(command_id)

    def ping(self, now_us: int) -> bytes:
        """Encode a Ping: the heartbeat, a clock reading that the server returns, and the number of the last event.

        Send the first Ping directly after Welcome, because it confirms the resume token.
        """
        return encode_client(Ping(now_us, self._event_number, self._generation))

    # -- from the server ------------------------------------------------------------------------------------

    def receive(self, data: bytes, *, now_us: int) -> Update | None:
        """Apply one message.

        Args:
            data: a whole WebSocket message.
            now_us: the clock that `ping` uses, in microseconds.

        Returns:
            The update; None if the message contains nothing new, or if this build does not know its type.

        Raises:
            MalformedMessage: the bytes are not a message; close the connection.
        """
        try:
            last_tick = self.state.world.tick if self.state.world is not None else 0
            message = decode_server(data, last_tick=last_tick, last_seq=self._inputs.seq)
        except UnknownMessage:
            self.unknown_messages += 1
            return None
        match message:
            case StateFrame():
                return self.state.receive(message)
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
                self.state.leave()
                self.rate = Rate(1)
                return SeatLost(reason)
            case Reply():
                self._commands.replied(message, now_us / 1000)
                return ReplyReceived(message, is_decided(message))
            case Pong():
                return self._pong(message, now_us)
            case Redirect(is_resume=True):
                return Redirected(message)
            case Redirect():
                meaning = self._match_queue.redirect_received()
                if meaning is None and self.state.world is not None:  # a Join from a seat is refused
                    return Redirected(message, is_move=True)
                if meaning is None:
                    self._is_abandoning_join = False
                    return Redirected(message)
                return Redirected(message, is_match=True) if meaning is Meaning.PROGRESS else None
            case Error(ErrorCode.RESYNC):
                return EventsLost(message)
            case Error():
                if is_answer(message, Join):
                    self._is_abandoning_join = False
                return ErrorReceived(message)
            case RoomList():
                return RoomsListed(message)
            case Authenticated():
                return SessionAuthenticated(message)
            case TokenExpiring(expires_in_ms):
                return TokenRequested(expires_in_ms)
            case Goodbye():
                return Ended(message)
            case Rate():
                self.rate = message
                return RateChanged(message)
            case MatchStatus():
                meaning = self._match_queue.status_received(message)
                return QueueChanged(message, meaning is not Meaning.NONE, meaning is Meaning.END)
            case _:
                return None

    def _welcomed(self, welcome: Welcome) -> Welcomed:
        has_resumed = welcome.generation > 1
        previous_room_id = self.state.room_id
        has_lost_session = self._has_session and not has_resumed
        if not has_resumed:
            self.discard_session()
        self._has_session = True
        self.resume_token, self._generation = welcome.resume_token, welcome.generation
        self._encoder.message_bytes_max = welcome.message_bytes_max
        self._commands.welcomed(welcome)
        # A client that joins from a seat is refused, so that a seat in the same room does not come from its Join.
        is_join_in_flight = welcome.is_joining or welcome.room_id not in ("", previous_room_id)
        if not is_join_in_flight:
            self._is_abandoning_join = False
        if has_resumed:
            self._resumed(welcome)
        is_lost = bool(previous_room_id) and self.joined is None
        return Welcomed(
            welcome, has_resumed, previous_room_id if is_lost else "", has_lost_session, is_join_in_flight
        )

    def _resumed(self, welcome: Welcome) -> None:
        self.rate = Rate(1)
        self.state.resumed(welcome.room_id)
        if self._match_queue.has_cancelled:
            self._match_queue.resumed()
            self.outgoing.append(self.match_cancel())

    def _seat_taken(self, joined: Joined) -> SeatTaken | None:
        is_same_room = joined.room_id == self.state.room_id
        if self._is_abandoning_join and not is_same_room:
            self._is_abandoning_join = False
            self.outgoing.append(self.leave())
            return None
        inputs = tuple(from_description(field) for field in joined.description.inputs)
        self.state.enter(joined)  # an invalid description raises before anything has changed
        self._inputs.enter(inputs)
        return SeatTaken(joined, is_same_room)

    def _event(self, event: Event) -> EventReceived | None:
        if event.number <= self._event_number:
            self.events_repeated += 1
            return None
        missed = event.number - self._event_number - 1
        self.events_missed += missed
        self._event_number = event.number
        return EventReceived(event, missed)

    def _pong(self, pong: Pong, now_us: int) -> PongReceived:
        # The server read its clock half a round trip ago, if both directions take equally long: RFC 5905, section 8.
        rtt_us = max(0, now_us - pong.client_time_us)
        return PongReceived(rtt_us, pong.server_time_us + rtt_us // 2 - now_us)
