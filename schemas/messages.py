"""The messages, as the frozen structs that the codec encodes and returns.

The annotations drive both encoder and decoder: the fields of a struct have the order of the slots in client.fbs and
server.fbs, and a test compares them with flatc's reading. Imports no other module of Tickwire.
"""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec

U8 = Annotated[int, "u8"]
U16 = Annotated[int, "u16"]
U32 = Annotated[int, "u32"]
U64 = Annotated[int, "u64"]
F32 = Annotated[float, "f32"]
F64 = Annotated[float, "f64"]


class ErrorCode(enum.IntEnum):
    """The reason why a request failed or a connection ends."""

    INTERNAL = 0
    MALFORMED = 1
    UNSUPPORTED = 2
    UPGRADE_REQUIRED = 3
    UNAUTHORIZED = 4
    OUT_OF_ORDER = 5
    RATE_LIMITED = 6
    NO_SUCH_ROOM_TYPE = 7
    NO_SUCH_ROOM = 8
    ROOM_FULL = 9
    ROOM_CLOSED = 10
    UNAVAILABLE = 11
    STALE_EPOCH = 12
    HANDSHAKE_TIMEOUT = 13
    COMMAND_FAILED = 14
    REPLACED = 15
    ALREADY_CONNECTED = 16
    RESYNC = 17
    COMMAND_TOO_OLD = 18
    ROOM_LOCKED = 19
    NO_SUCH_MODE = 20
    KICKED = 21
    BANNED = 22
    KEY_REUSED = 23
    STATE_TOO_LARGE = 24
    ROOM_FAILED = 25
    INVALID_ARGUMENT = 26
    NO_SUCH_COMMAND = 27

    @classmethod
    def _missing_(cls, value: object) -> ErrorCode:
        """Map codes of newer servers, which this build does not know, to INTERNAL."""
        return cls.INTERNAL


class FieldKind(enum.IntEnum):
    """The interpretation of a quantised integer; see schemas/fields.py."""

    BOOL = 0
    UINT = 1
    INT = 2
    REAL = 3
    ANGLE = 4
    ENUM = 5
    ENTITY = 6
    TEXT = 7
    BLOB = 8


class GroupKind(enum.Enum):
    """The value that the fields of a group have together; see schemas/groups.py. No member equals a FieldKind."""

    VECTOR = 0
    QUATERNION = 1


class QueueState(enum.IntEnum):
    """The state of a player in the matchmaking queue."""

    WAITING = 0
    FOUND = 1
    CANCELLED = 2
    TIMED_OUT = 3


class Message(msgspec.Struct, frozen=True):
    """A member of one of the two unions."""


# -- client to server ---------------------------------------------------------------------------------------


class Hello(Message, frozen=True):
    """The first message on a connection."""

    schema_version: U16 = 0
    build: str = ""
    token: str = ""
    resume_token: str = ""
    last_tick: U32 = 0
    last_event: U32 = 0
    room_id: str = ""
    attempt: U32 = 0


class Join(Message, frozen=True):
    """Take a seat: by ticket, else by id, else by code, else by name, else in any open room of the type."""

    room_type: str = ""
    room_name: str = ""
    ticket: str = ""
    options: bytes = b""
    room_id: str = ""
    code: str = ""
    is_private: bool = False
    labels: bytes = b""
    party: str = ""
    party_size: U8 = 0


class Leave(Message, frozen=True):
    """Leave the room."""


class Input(Message, frozen=True):
    """An input for the simulation; the newest wins."""

    seq: U32 = 0
    tick: U32 = 0
    payload: bytes = b""


class Command(Message, frozen=True):
    """A request that is answered by exactly one Reply with the same id."""

    id: U64 = 0
    name: str = ""
    payload: bytes = b""


class Resync(Message, frozen=True):
    """A request for a keyframe, because the client's world is wrong or incomplete."""

    channel: U16 = 0
    tick: U32 = 0


class Ping(Message, frozen=True):
    """A clock reading, returned in Pong."""

    client_time_us: U64 = 0
    last_event: U32 = 0
    generation: U32 = 0


class MatchRequest(Message, frozen=True):
    """A request to enter the queue of a mode."""

    mode: str = ""
    options: bytes = b""
    party: str = ""
    party_size: U8 = 0
    latencies: bytes = b""
    labels: bytes = b""


class MatchCancel(Message, frozen=True):
    """A request to leave the queue."""


class EndSession(Message, frozen=True):
    """End the session now, with its seat and its queue position; the server closes the connection with 1000."""


class ListRooms(Message, frozen=True):
    """A request for open rooms of a type."""

    id: U32 = 0
    room_type: str = ""
    labels: bytes = b""
    limit: U16 = 0


class Authenticate(Message, frozen=True):
    """Authenticates the player of a running session, with a renewed token or as a guest who logs in."""

    token: str = ""


# -- server to client ---------------------------------------------------------------------------------------


class StateFrame(msgspec.Struct, frozen=True):
    """The state of one channel or several: deltas from `tick - age`, or keyframes only if `age` is 0.

    `flags` are HAS_CHECKSUM, HAS_PARTS and IS_COMPLETE of schemas/parts.py.
    """

    tick: int
    channel: int
    age: int
    flags: int
    packed: bytes


class InputAck(msgspec.Struct, frozen=True):
    """The inputs up to `seq` are part of the state of `tick`."""

    tick: int
    seq: int


class FieldDescription(msgspec.Struct, frozen=True):
    """One field, for clients; `low`, `high` and `step` for REAL, `labels` for ENUM, `bytes_max` for TEXT and BLOB."""

    name: str = ""
    kind: FieldKind = FieldKind.BOOL
    bits: U8 = 0
    low: F64 = 0.0
    high: F64 = 0.0
    step: F64 = 0.0
    labels: tuple[str, ...] = ()
    bytes_max: U16 = 0


class GroupDescription(msgspec.Struct, frozen=True):
    """Adjacent fields that are one value: `size` fields from index `first`; `kind` is a GroupKind or a later one."""

    name: str = ""
    kind: U8 = 0
    first: U16 = 0
    size: U8 = 0


class TableDescription(msgspec.Struct, frozen=True):
    """One table's replicated fields, in the order of its columns, and the groups of these fields."""

    name: str = ""
    fields: tuple[FieldDescription, ...] = ()
    groups: tuple[GroupDescription, ...] = ()


class StateDescription(msgspec.Struct, frozen=True):
    """The fields of a room's state and of its inputs, for generic clients."""

    tables: tuple[TableDescription, ...] = ()
    inputs: tuple[FieldDescription, ...] = ()


class Welcome(Message, frozen=True):
    """The session is open."""

    session_id: str = ""
    resume_token: str = ""
    server_time_us: U64 = 0
    heartbeat_interval_ms: U32 = 0
    message_bytes_max: U32 = 0
    inputs_per_second_max: U32 = 0
    generation: U32 = 0
    resume_window_ms: U32 = 0
    room_id: str = ""
    is_joining: bool = False
    messages_per_second_max: U32 = 0
    bytes_per_second_max: U32 = 0
    left_reason: str = ""


class Joined(Message, frozen=True):
    """The seat is taken; state frames follow."""

    room_id: str = ""
    room_type: str = ""
    room_name: str = ""
    tick_rate_hz: F32 = 0.0
    tick: U32 = 0
    entity: U32 = 0
    description: StateDescription = StateDescription()
    room_code: str = ""
    team: U8 = 0


class Left(Message, frozen=True):
    """The seat has been released, by the player or by the room."""

    reason: str = ""


class Event(Message, frozen=True):
    """Reliable, in order, numbered per session from 1."""

    number: U32 = 0
    name: str = ""
    payload: bytes = b""


class Reply(Message, frozen=True):
    """The one answer to a Command.

    A `retry_after_ms` above 0 means that the outcome is open: the client sends the same id again after that time.
    """

    id: U64 = 0
    ok: bool = False
    error: ErrorCode = ErrorCode.INTERNAL
    message: str = ""
    payload: bytes = b""
    retry_after_ms: U32 = 0


class Pong(Message, frozen=True):
    """The answer to Ping."""

    client_time_us: U64 = 0
    server_time_us: U64 = 0
    tick: U32 = 0


class Redirect(Message, frozen=True):
    """The room is on another shard: connect to `url` and Join with `ticket`. An empty `url` means this connection.

    With `is_resume` the session is on that shard, too: send Hello with its resume token, and no Join.
    """

    url: str = ""
    ticket: str = ""
    room_type: str = ""
    room_name: str = ""
    is_resume: bool = False


class MatchStatus(Message, frozen=True):
    """The player's state in the queue."""

    state: QueueState = QueueState.WAITING
    position: U32 = 0
    estimate_ms: U32 = 0
    mode: str = ""
    reason: str = ""
    waiting_for: U8 = 0


class Error(Message, frozen=True):
    """A request failed, or a message was not accepted.

    `request_type` is the tag of the failed message in the union ClientBody (see `to_request_type`); 0 means no
    particular message.
    """

    code: ErrorCode = ErrorCode.INTERNAL
    message: str = ""
    retry_after_ms: U32 = 0
    upgrade_to: U16 = 0
    retryable: bool = False
    request_type: U8 = 0


class Goodbye(Message, frozen=True):
    """The last message before the server closes."""

    code: ErrorCode = ErrorCode.INTERNAL
    message: str = ""
    come_back: bool = False
    retry_after_ms: U32 = 0


class Rate(Message, frozen=True):
    """The rate of state updates for this session from now on."""

    ticks_per_update: U8 = 0
    keyframes_only: bool = False


class ListedRoom(msgspec.Struct, frozen=True):
    """A room that any player may join."""

    room_id: str = ""
    players: U32 = 0
    players_max: U32 = 0
    labels: bytes = b""


class RoomList(Message, frozen=True):
    """The answer to ListRooms: open rooms with a free seat, the fullest first."""

    id: U32 = 0
    rooms: tuple[ListedRoom, ...] = ()


class Authenticated(Message, frozen=True):
    """The answer to Authenticate. An `expires_in_ms` of 0 means that the session's token does not expire."""

    player_id: str = ""
    expires_in_ms: U32 = 0


class TokenExpiring(Message, frozen=True):
    """The session's token expires in `expires_in_ms`; 0 means that it has expired."""

    expires_in_ms: U32 = 0


ClientMessage = (
    Hello
    | Join
    | Leave
    | Input
    | Command
    | Resync
    | Ping
    | MatchRequest
    | MatchCancel
    | EndSession
    | ListRooms
    | Authenticate
)
ServerMessage = (
    StateFrame
    | InputAck
    | Welcome
    | Joined
    | Left
    | Event
    | Reply
    | Pong
    | Redirect
    | MatchStatus
    | Error
    | Goodbye
    | Rate
    | RoomList
    | Authenticated
    | TokenExpiring
)

CLIENT_BODY: tuple[type[Message], ...] = (
    Hello,
    Join,
    Leave,
    Input,
    Command,
    Resync,
    Ping,
    MatchRequest,
    MatchCancel,
    EndSession,
    ListRooms,
    Authenticate,
)
"""The union ClientBody: a member's tag is its index plus one."""
_REQUEST_TYPES = {member: tag for tag, member in enumerate(CLIENT_BODY, start=1)}

SERVER_BODY: tuple[type[Message], ...] = (
    Welcome,
    Joined,
    Left,
    Event,
    Reply,
    Pong,
    Redirect,
    MatchStatus,
    Error,
    Goodbye,
    Rate,
    RoomList,
    Authenticated,
    TokenExpiring,
)
"""The union ServerBody: a member's tag is its index plus one."""


def to_request_type(message_type: type[Message]) -> int:
    """Return the tag of a client's message type in the union ClientBody: the value of `Error.request_type`."""
    return _REQUEST_TYPES[message_type]
