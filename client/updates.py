"""What a client learns, in the past tense: the core gives these for the bytes that came in."""

from __future__ import annotations

import msgspec

from schemas.messages import Error, Event, Goodbye, Joined, Redirect, Reply, Welcome


class Welcomed(msgspec.Struct, frozen=True):
    """The session is open."""

    welcome: Welcome


class SeatTaken(msgspec.Struct, frozen=True):
    """The player is in a room; state follows."""

    joined: Joined


class SeatLost(msgspec.Struct, frozen=True):
    """The player is in no room any more."""

    reason: str


class StateApplied(msgspec.Struct, frozen=True):
    """The world has moved to `tick`, as far as this channel goes."""

    tick: int
    channel: int
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
    """A command was answered."""

    reply: Reply


class PongReceived(msgspec.Struct, frozen=True):
    """Clock readings came back: microseconds."""

    rtt_us: int
    clock_offset_us: int


class Redirected(msgspec.Struct, frozen=True):
    """The room lives elsewhere."""

    redirect: Redirect


class Refused(msgspec.Struct, frozen=True):
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
    | Redirected
    | Refused
    | Ended
)
