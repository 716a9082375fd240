"""What a client learns, in the past tense: the core gives these for the bytes that came in."""

from __future__ import annotations

import msgspec

from tickwire.schemas.messages import Error, Event, Goodbye, Joined, MatchStatus, Rate, Redirect, Reply, Welcome


class Welcomed(msgspec.Struct, frozen=True):
    """The session is open.

    Args:
        welcome: what the server said.
        has_resumed: it is the session that there was before.
        lost_room_id: the room that the client was in and is not in any more; empty: none.
        has_lost_session: there was a session before, and the server has not kept it.
    """

    welcome: Welcome
    has_resumed: bool = False
    lost_room_id: str = ""
    has_lost_session: bool = False


class SeatTaken(msgspec.Struct, frozen=True):
    """The player is in a room; state follows."""

    joined: Joined


class SeatLost(msgspec.Struct, frozen=True):
    """The player is in no room any more."""

    reason: str


class StateApplied(msgspec.Struct, frozen=True):
    """The world has moved to `tick`; `channels` are those in which something has changed."""

    tick: int
    channels: tuple[int, ...]
    is_keyframe: bool
    has_agreed: bool


class InputAcknowledged(msgspec.Struct, frozen=True):
    """The inputs up to `seq` are part of the state of `tick`."""

    tick: int
    seq: int


class EventReceived(msgspec.Struct, frozen=True):
    """The room said something; `missed` counts the events that should have come before it."""

    event: Event
    missed: int


class ReplyReceived(msgspec.Struct, frozen=True):
    """A command was answered.

    Args:
        reply: the answer.
        is_decided: it is final; otherwise the command is sent again.
    """

    reply: Reply
    is_decided: bool = True


class PongReceived(msgspec.Struct, frozen=True):
    """Clock readings came back: microseconds."""

    rtt_us: int
    clock_offset_us: int


class QueueChanged(msgspec.Struct, frozen=True):
    """Where the player stands in the matchmaking queue; after FOUND a Redirect follows.

    Args:
        status: from the server.
        is_current: it is about the place that the client wants now, and not about one that it gave up.
        is_end: the wait is over without a match.
    """

    status: MatchStatus
    is_current: bool = True
    is_end: bool = False


class Redirected(msgspec.Struct, frozen=True):
    """The room is on another shard.

    Args:
        redirect: from the server.
        is_match: it leads to the match that was found, and does not answer a Join.
    """

    redirect: Redirect
    is_match: bool = False


class EventsLost(msgspec.Struct, frozen=True):
    """The server did not keep all events while the client was away."""

    error: Error


class RateChanged(msgspec.Struct, frozen=True):
    """The server sends less of the state, or more again: the connection takes too little."""

    rate: Rate


class ErrorReceived(msgspec.Struct, frozen=True):
    """The server refused something; the connection may go on."""

    error: Error


class Ended(msgspec.Struct, frozen=True):
    """The server says goodbye and closes."""

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
    | Ended
)
