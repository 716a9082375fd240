"""The updates that the core returns for received messages. Names are in the past tense."""

from __future__ import annotations

import msgspec

from tickwire.schemas.messages import (
    Authenticated,
    Error,
    Event,
    Goodbye,
    Joined,
    MatchStatus,
    Rate,
    Redirect,
    Reply,
    RoomList,
    Welcome,
)


class Welcomed(msgspec.Struct, frozen=True):
    """The session is open.

    Args:
        welcome: the server's message.
        has_resumed: whether the previous session was resumed.
        lost_room_id: the room that the client was in before and is not in now; empty: none.
        has_lost_session: whether the server did not keep the previous session.
        is_join_in_flight: whether the answer to an earlier Join follows: the server processes it, or has seated the
            player in a room that the client was not in before.
    """

    welcome: Welcome
    has_resumed: bool = False
    lost_room_id: str = ""
    has_lost_session: bool = False
    is_join_in_flight: bool = False


class SeatTaken(msgspec.Struct, frozen=True):
    """The player joined a room; its state follows.

    Args:
        joined: the server's message.
        is_same_room: whether the client was in this room before. The room moved to another shard, and the message
            does not answer a Join: the server refuses a Join of a player who has a seat.
    """

    joined: Joined
    is_same_room: bool = False


class SeatLost(msgspec.Struct, frozen=True):
    """The player left the room, or the room closed."""

    reason: str


class StateApplied(msgspec.Struct, frozen=True):
    """The world advanced to `tick`; `channels` are the channels that changed."""

    tick: int
    channels: tuple[int, ...]
    is_keyframe: bool
    has_agreed: bool


class InputAcknowledged(msgspec.Struct, frozen=True):
    """The inputs up to `seq` are part of the state of `tick`."""

    tick: int
    seq: int


class EventReceived(msgspec.Struct, frozen=True):
    """The room sent an event; `missed` is the number of lost events before it."""

    event: Event
    missed: int


class ReplyReceived(msgspec.Struct, frozen=True):
    """A command was answered.

    Args:
        reply: the server's message.
        is_decided: whether the reply is final; otherwise the command is sent again.
    """

    reply: Reply
    is_decided: bool = True


class PongReceived(msgspec.Struct, frozen=True):
    """A round trip was measured, in microseconds."""

    rtt_us: int
    clock_offset_us: int


class QueueChanged(msgspec.Struct, frozen=True):
    """The player's status in the matchmaking queue changed; after FOUND a Redirect follows.

    Args:
        status: the server's message.
        is_current: whether it is about the current queue entry, and not an abandoned one.
        is_end: whether the wait ended without a match.
    """

    status: MatchStatus
    is_current: bool = True
    is_end: bool = False


class Redirected(msgspec.Struct, frozen=True):
    """The room is on another shard.

    Args:
        redirect: the server's message.
        is_match: whether it leads to a found match, and does not answer a Join.
        is_move: whether the room moves the player to another room: SeatLost follows.
    """

    redirect: Redirect
    is_match: bool = False
    is_move: bool = False


class EventsLost(msgspec.Struct, frozen=True):
    """The server did not keep all events while the client was disconnected."""

    error: Error


class RateChanged(msgspec.Struct, frozen=True):
    """The server changed its send rate, because the connection is too slow or has recovered."""

    rate: Rate


class ErrorReceived(msgspec.Struct, frozen=True):
    """The server sent an Error. The connection may stay open."""

    error: Error


class RoomsListed(msgspec.Struct, frozen=True):
    """The server answered a request for open rooms."""

    answer: RoomList


class SessionAuthenticated(msgspec.Struct, frozen=True):
    """The server answered Authenticate: the session is the player's."""

    answer: Authenticated


class TokenRequested(msgspec.Struct, frozen=True):
    """The server requests a new token, because the session's token expires soon."""

    expires_in_ms: int


class Ended(msgspec.Struct, frozen=True):
    """The server sent Goodbye, and closes the connection."""

    goodbye: Goodbye


Update = (
    Welcomed
    | SeatTaken
    | SeatLost
    | StateApplied
    | InputAcknowledged
    | EventReceived
    | ReplyReceived
    | PongReceived
    | QueueChanged
    | Redirected
    | EventsLost
    | RateChanged
    | ErrorReceived
    | RoomsListed
    | SessionAuthenticated
    | TokenRequested
    | Ended
)
