"""Copies the attributes that a game has set on its room, other than tables and players, when the room moves.

On the new shard the room is created by `__init__` and `restore`, without `on_create`. Attributes that can be copied
are set before `restore` runs. `restore` or `__init__` must rebuild the others; a room with an attribute that neither
of them sets cannot move.

server/rooms/value_codec.py lists the types of values that can be copied. Pure.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from types import CodeType, FunctionType
from typing import Any

import msgspec
import structlog

from tickwire.server.rooms.declarations import own_attributes
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.value_codec import NotCopied, decode_value, encode_value

ROOM_ATTRIBUTES = own_attributes(Room)
log = structlog.get_logger(__name__)


class AttributeReport(msgspec.Struct, frozen=True):
    """The attributes of a room that a move loses.

    Args:
        reset: attributes that `__init__` sets and `restore` does not mention; they return to their initial value.
        missing: attributes that neither of them sets; a room with one of these does not move.
    """

    reset: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


class GameAttributes:
    """The attributes that a game has set on one room, without its tables.

    Args:
        room: the room, which `__init__` has just returned.
    """

    __slots__ = ("_initial", "_room")

    def __init__(self, room: Room) -> None:
        self._room = room
        self._initial = frozenset(vars(room))

    @property
    def names(self) -> frozenset[str]:
        """The names of the attributes."""
        return frozenset(vars(self._room)).difference(ROOM_ATTRIBUTES, self._room.tables)

    def encode(self) -> dict[str, bytes]:
        """Return the attributes that can be copied, encoded with msgpack, by name."""
        return encode_attributes(self._room, self.names)

    def find_lost(self) -> AttributeReport:
        """Find the attributes that a move would lose."""
        lost = set(self.names) - self.encode().keys()
        if lost:
            lost -= _mentioned_in_restore(type(self._room))
        return AttributeReport(tuple(sorted(lost & self._initial)), tuple(sorted(lost - self._initial)))


def encode_attributes(room: Room, names: Iterable[str]) -> dict[str, bytes]:
    """Return the attributes that can be copied, encoded with msgpack, by name."""
    found: dict[str, bytes] = {}
    for name in names:
        try:
            found[name] = encode_value(vars(room)[name], room)
        except (NotCopied, OverflowError, ValueError):
            continue  # also an integer of more than 64 bits, a string with a lone surrogate
    return found


def decode_attributes(room: Room, attributes: Mapping[str, bytes]) -> dict[str, Any]:
    """Return copied attributes, without those that this build cannot decode or declares otherwise.

    An attribute of another build may be a table, a property or a method of the room in this one.

    Args:
        room: the room, with its tables and players restored.
        attributes: the result of `encode_attributes`, perhaps of another build.
    """
    found: dict[str, Any] = {}
    for name, data in attributes.items():
        declared = inspect.getattr_static(type(room), name, None)
        if name in room.tables or inspect.isdatadescriptor(declared) or inspect.isroutine(declared):
            continue
        try:
            found[name] = decode_value(data, room)
        except (ValueError, TypeError, KeyError) as error:
            log.warning("room_attribute_decode_failed", room_type=room.room_type, attribute=name, error=str(error))
    return found


# -- restore --------------------------------------------------------------------------------------------------------


def _mentioned_in_restore(kind: type[Room]) -> set[str]:
    """Return all names in the code of a room's `restore`, and in the methods of the room that it mentions."""
    names: set[str] = set()
    waiting = [vars(base)["restore"] for base in kind.__mro__ if "restore" in vars(base) and base is not Room]
    seen: set[CodeType] = set()
    while waiting:
        function = waiting.pop()
        if not isinstance(function, FunctionType) or function.__code__ in seen:
            continue
        seen.add(function.__code__)
        for name in _names_in(function.__code__) - names:
            names.add(name)
            waiting.append(inspect.getattr_static(kind, name, None))
    return names


def _names_in(code: CodeType) -> set[str]:
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*(_names_in(constant) for constant in inner))
