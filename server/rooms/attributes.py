"""The attributes that a game keeps on its room, beside tables and players: what of them a move takes along.

A room that moves to another shard is made there by `__init__` and `restore`, without `on_create`. Attributes that can
be copied are set before `restore` runs. The others are rebuilt by `restore`, or by `__init__`; a room that has one
which neither does cannot move.

    copied      None, booleans, numbers, text, bytes; lists, tuples, sets and dicts of these; numpy's numbers and
                arrays; players and rows of the room. A player who has left becomes None, a row of a gone entity dead
    not copied  everything else: objects of the game's own classes, functions, tasks, what refers to itself

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
from tickwire.server.rooms.room import Player, Room

log = structlog.get_logger(__name__)

_DEPTH_MAX = 32
_SCALARS = (type(None), bool, int, float, str, bytes)
_TUPLE, _SET, _FROZENSET, _DICT, _ARRAY, _PLAYER, _ROW = range(1, 8)
_SEQUENCES: dict[type, int] = {tuple: _TUPLE, set: _SET, frozenset: _FROZENSET}
_KINDS: dict[int, Any] = {_DICT: dict} | {code: kind for kind, code in _SEQUENCES.items()}


class NotCopied(Exception):
    """A value is of a kind that a move does not take along."""


class AttributeReport(msgspec.Struct, frozen=True):
    """The attributes of a room that a move loses.

    Args:
        reset: those that `__init__` sets, and `restore` does not mention: they begin anew.
        missing: those that neither sets: with one of these the room does not move.
    """

    reset: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def find_lost_attributes(room: Room, names: Iterable[str], initial: frozenset[str]) -> AttributeReport:
    """Find the attributes that a move would lose.

    Args:
        names: of the attributes that are the game's own.
        initial: names of the attributes that the room's `__init__` had set.
    """
    names = sorted(names)
    lost = set(names) - encode_attributes(room, names).keys()
    if lost:
        lost -= _mentioned_in_restore(type(room))
    return AttributeReport(tuple(sorted(lost & initial)), tuple(sorted(lost - initial)))


def encode_attributes(room: Room, names: Iterable[str]) -> dict[str, bytes]:
    """Copy the attributes that can be copied."""
    found: dict[str, bytes] = {}
    for name in names:
        try:
            found[name] = msgspec.msgpack.encode(_to_plain(vars(room)[name], room))
        except (NotCopied, OverflowError, ValueError):
            continue  # a number of more than 64 bits, a text with a lone surrogate
    return found


def decode_attributes(room: Room, attributes: Mapping[str, bytes]) -> dict[str, Any]:
    """Return copied attributes, but for those that this build cannot read or has a use of its own for.

    Args:
        room: with its tables and players restored.
        attributes: as `encode_attributes` returned them, perhaps of another build.
    """
    found: dict[str, Any] = {}
    for name, data in attributes.items():
        if inspect.isdatadescriptor(inspect.getattr_static(type(room), name, None)):
            continue
        try:
            found[name] = msgspec.msgpack.decode(data, ext_hook=lambda code, inner: _from_ext(code, inner, room))
        except (ValueError, TypeError, KeyError) as error:
            log.warning("room_attribute_not_read", room_type=room.room_type, attribute=name, error=str(error))
    return found


def _to_plain(value: Any, room: Room, depth: int = 0) -> Any:
    """Convert a value to what MessagePack can hold, with extensions for what it cannot.

    Raises:
        NotCopied: there is something in it that cannot be copied.
    """
    if depth > _DEPTH_MAX:
        raise NotCopied
    match value:
        case _ if type(value) in _SCALARS:
            return value
        case _ if type(value) is list:
            return [_to_plain(inner, room, depth + 1) for inner in value]
        case _ if type(value) is dict:
            # Pairs, since a key may be an extension.
            return _ext(_DICT, [_to_plain(pair, room, depth + 1) for pair in value.items()])
        case _ if type(value) in _SEQUENCES:
            return _ext(_SEQUENCES[type(value)], [_to_plain(inner, room, depth + 1) for inner in value])
        case np.ndarray() | np.bool_() | np.integer() | np.floating() if value.dtype.kind in "biuf":
            return _ext(_ARRAY, [value.dtype.str, list(value.shape), value.tobytes()])
        case Player():
            return _ext(_PLAYER, value.id)
        case Row():
            return _ext(_ROW, next(([name, value.id] for name in room.tables if _holds(room, name, value)), ["", 0]))
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
    raise ValueError(f"extension {code} is not known to this build")


def _holds(room: Room, name: str, row: Row) -> bool:
    return row.row_in(getattr(room, name)) is not None


# -- restore --------------------------------------------------------------------------------------------------------


def _mentioned_in_restore(kind: type[Room]) -> set[str]:
    """Return all names in the code of a room's `restore`, and of the room's methods that it mentions."""
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
