"""Copies the attributes that a game has set on its room, other than tables and players, when the room moves.

On the new shard the room is created by `__init__` and `restore`, without `on_create`. Attributes that can be copied
are set before `restore` runs. `restore` or `__init__` must rebuild the others; a room with an attribute that neither
of them sets cannot move.

    copied      None, booleans, numbers, strings, bytes; lists, tuples, sets and dicts of these; numpy numbers and
                arrays; players and rows of the room. A player who has left becomes None, a despawned row stays dead
    not copied  all other values: objects of the game's own classes, functions, tasks, recursive structures

Pure.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from types import CodeType, FunctionType
from typing import Any

import msgspec
import numpy as np
import structlog
from msgspec.msgpack import Ext

from tickwire.server.replication.table import Row, create_dead_row
from tickwire.server.rooms.declarations import own_attributes
from tickwire.server.rooms.player import Player
from tickwire.server.rooms.room import Room

ROOM_ATTRIBUTES = own_attributes(Room)
log = structlog.get_logger(__name__)

_DEPTH_MAX = 32
_SCALARS = (type(None), bool, int, float, str, bytes)
_TUPLE, _SET, _FROZENSET, _DICT, _ARRAY, _PLAYER, _ROW = range(1, 8)
_SEQUENCES: dict[type, int] = {tuple: _TUPLE, set: _SET, frozenset: _FROZENSET}
_KINDS: dict[int, Any] = {_DICT: dict} | {code: kind for kind, code in _SEQUENCES.items()}


class NotCopied(Exception):
    """A value has a type that a move does not copy."""


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
            found[name] = msgspec.msgpack.encode(_to_plain(vars(room)[name], room))
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
            found[name] = msgspec.msgpack.decode(data, ext_hook=lambda code, inner: _from_ext(code, inner, room))
        except (ValueError, TypeError, KeyError) as error:
            log.warning("room_attribute_decode_failed", room_type=room.room_type, attribute=name, error=str(error))
    return found


def _to_plain(value: Any, room: Room, depth: int = 0) -> Any:
    """Convert a value to MessagePack types, with extensions for types that MessagePack lacks.

    Raises:
        NotCopied: the value contains something that cannot be copied.
    """
    if depth > _DEPTH_MAX:
        raise NotCopied
    match value:
        case _ if type(value) in _SCALARS:
            return value
        case _ if type(value) is list:
            return [_to_plain(inner, room, depth + 1) for inner in value]
        case _ if type(value) is dict:
            # As pairs, because a key may be an extension.
            return _ext(_DICT, [_to_plain(pair, room, depth + 1) for pair in value.items()])
        case _ if type(value) in _SEQUENCES:
            return _ext(_SEQUENCES[type(value)], [_to_plain(inner, room, depth + 1) for inner in value])
        case np.ndarray() | np.bool_() | np.integer() | np.floating() if value.dtype.kind in "biuf":
            return _ext(_ARRAY, [value.dtype.str, list(value.shape), value.tobytes()])
        case Player():
            return _ext(_PLAYER, value.id)
        case Row():
            return _ext(
                _ROW, next(([name, value.id] for name in room.tables if _contains(room, name, value)), ["", 0])
            )
    raise NotCopied


def _ext(code: int, value: Any) -> Ext:
    return Ext(code, msgspec.msgpack.encode(value))


def _from_ext(code: int, data: memoryview, room: Room) -> Any:
    value = msgspec.msgpack.decode(data, ext_hook=lambda inner_code, inner: _from_ext(inner_code, inner, room))
    match code:
        case _ if code in _KINDS:
            return _KINDS[code](value)
        case _ if code == _ARRAY:
            dtype, shape, octets = value
            return np.frombuffer(octets, np.dtype(dtype)).reshape(shape).copy()[()]
        case _ if code == _PLAYER:
            return room.players.get(value)
        case _ if code == _ROW:
            name, id = value
            table = getattr(room, name) if name in room.tables else {}
            return table[id] if id in table else create_dead_row()
    raise ValueError(f"unknown msgpack extension {code}")


def _contains(room: Room, name: str, row: Row) -> bool:
    return row.row_in(getattr(room, name)) is not None


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
