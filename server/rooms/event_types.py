"""The base class of a room's events, and their names on the wire.

    class RoundWon(Event):
        winner: str
        score: Annotated[int, Meta(ge=0)] = 0

    class Arena(Room):
        events = (RoundWon,)

    self.broadcast(RoundWon("ann", 7))      # or player.send(...)

A client receives the name `round_won` and the fields as a map. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, ClassVar, Protocol

import msgspec

from tickwire.schemas.event_frames import EventFrame, encode_event
from tickwire.schemas.event_names import to_event_name
from tickwire.schemas.payloads import encode_payload
from tickwire.server.rooms.plain_types import check_plain_struct

EVENT_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,64}")


class Event(msgspec.Struct):
    """The base class of the events that a room sends. List the subclasses in `Room.events`.

    Attributes:
        event_name: the name on the wire; empty for the class name in snake case.
    """

    event_name: ClassVar[str] = ""


class EventDeclarations(Protocol):
    """The declarations of a room class about its events. `tickwire.server.rooms.room.Room` has them."""

    events: ClassVar[tuple[type[Event], ...]]


def check_events(cls: type[EventDeclarations]) -> None:
    """Check the event classes of a room class.

    Raises:
        TypeError: a class is not an event, two have one name, or a field cannot be sent.
    """
    if not isinstance(cls.events, tuple):
        raise TypeError(f"{cls.__name__}.events must be a tuple of Event classes, such as (Scored,)")
    names: dict[str, type[Event]] = {}
    for kind in cls.events:
        if not (isinstance(kind, type) and issubclass(kind, Event)) or kind is Event:
            raise TypeError(f"{cls.__name__}.events has {kind!r}, which is not a subclass of Event")
        check_plain_struct(f"{cls.__name__}.events", kind, Event, "sent to clients")
        name = to_event_name(kind)
        if not isinstance(name, str) or not EVENT_NAME.fullmatch(name):
            raise TypeError(
                f"{kind.__name__}.event_name is {name!r}; must be 1 to 64 characters, none of them control"
            )
        if name in names:
            raise TypeError(
                f"{cls.__name__}.events: {names[name].__name__} and {kind.__name__} have the same name {name!r}; "
                "set another `event_name` in one of them"
            )
        names[name] = kind


def encode(event: Event | str, payload: Any, declared: Collection[type[Event]] | None) -> EventFrame:
    """Encode an event.

    Args:
        event: the event, or the name of an event whose payload has no declared type.
        payload: the payload, if `event` is a name.
        declared: the event classes of the room; None for a player that a test has created, which accepts all.

    Raises:
        TypeError: the room does not declare the event's class, or an Event was passed together with a payload.
    """
    if isinstance(event, str):
        return encode_event(event, encode_payload(payload))
    kind = type(event)
    if not isinstance(event, Event):
        raise TypeError(f"an event must be an Event or the name of one, not a {kind.__name__}")
    if declared is not None and kind not in declared:
        raise TypeError(f"the room does not declare {kind.__name__}; add it to `events` of the room's class")
    if payload is not None:
        raise TypeError(f"{kind.__name__} has its own fields as payload; pass no other")
    return encode_event(to_event_name(kind), encode_payload(event))
