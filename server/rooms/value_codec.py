"""Encodes values that a game keeps on its room: attributes of a room that moves, and arguments of timers.

    encoded      None, booleans, numbers, strings, bytes; lists, tuples, sets and dicts of these; numpy numbers and
                 arrays; references: players, rows and timers of the room. A player who has left becomes None, a
                 despawned row stays dead, and a timer that has ended stays ended
    not encoded  all other values: objects of the game's own classes, functions, tasks, recursive structures

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec
import numpy as np
from msgspec.msgpack import Ext

from tickwire.server.replication.table import Row, Table, create_dead_row
from tickwire.server.rooms.player import Player
from tickwire.server.rooms.room_timer import RoomTimer, create_ended_timer

_DEPTH_MAX = 32
_SCALARS = (type(None), bool, int, float, str, bytes)
_TUPLE, _SET, _FROZENSET, _DICT, _ARRAY, _PLAYER, _ROW, _TIMER = range(1, 9)
_SEQUENCES: dict[type, int] = {tuple: _TUPLE, set: _SET, frozenset: _FROZENSET}
_KINDS: dict[int, Any] = {_DICT: dict} | {code: kind for kind, code in _SEQUENCES.items()}


class NotCopied(Exception):
    """A value has a type that is not encoded."""


class TimerSource(Protocol):
    """Finds the timers of a room. `tickwire.server.rooms.clock.RoomClock` is one."""

    def get(self, number: int) -> RoomTimer | None:
        """Return the pending timer with this number, or None."""
        ...


class ReferenceSource(Protocol):
    """Finds the players, rows and timers that values refer to. `tickwire.server.rooms.room.Room` is one."""

    players: dict[str, Player]

    @property
    def tables(self) -> Mapping[str, type[Table]]:
        """The tables by name; each is an attribute."""
        ...

    @property
    def clock(self) -> TimerSource:
        """The timers."""
        ...


def encode_value(value: Any, room: ReferenceSource) -> bytes:
    """Return a value, encoded with msgpack.

    Raises:
        NotCopied: the value contains something that is not encoded.
        OverflowError, ValueError: it contains an integer of more than 64 bits, or text that is not Unicode.
    """
    return msgspec.msgpack.encode(_to_plain(value, room))


def encode_plain(value: Any) -> bytes:
    """Return a value without references, encoded with msgpack.

    Raises:
        NotCopied, OverflowError, ValueError: see `encode_value`; also for a reference.
    """
    return msgspec.msgpack.encode(_to_plain(value, None))


def decode_value(data: bytes, room: ReferenceSource) -> Any:
    """Return an encoded value. Each call returns new containers.

    Raises:
        ValueError, TypeError, KeyError: the value cannot be decoded; another build may have encoded it.
    """
    return msgspec.msgpack.decode(data, ext_hook=lambda code, inner: _from_ext(code, inner, room))


def to_comparable(data: bytes) -> Any:
    """Return an encoded value in a form that is equal for equal values: sets are sorted, references stay encoded."""

    def convert(code: int, inner: memoryview) -> Any:
        value = msgspec.msgpack.decode(inner, ext_hook=convert)
        return (code, sorted(map(repr, value)) if code in (_SET, _FROZENSET) else value)

    return msgspec.msgpack.decode(data, ext_hook=convert)


def _to_plain(value: Any, room: ReferenceSource | None, depth: int = 0) -> Any:
    """Convert a value to MessagePack types, with extensions for types that MessagePack lacks.

    Raises:
        NotCopied: the value contains something that is not encoded.
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
        case Player() | Row() | RoomTimer() if room is not None:
            return _to_reference(value, room)
    raise NotCopied


def _to_reference(value: Player | Row | RoomTimer, room: ReferenceSource) -> Ext:
    match value:
        case Player():
            return _ext(_PLAYER, value.id)
        case Row():
            tables = ((name, getattr(room, name)) for name in room.tables)
            return _ext(
                _ROW, next(([name, value.id] for name, table in tables if value.row_in(table) is not None), ["", 0])
            )
    return _ext(_TIMER, value.number)


def _ext(code: int, value: Any) -> Ext:
    return Ext(code, msgspec.msgpack.encode(value))


def _from_ext(code: int, data: memoryview, room: ReferenceSource) -> Any:
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
        case _ if code == _TIMER:
            return room.clock.get(value) or create_ended_timer()
    raise ValueError(f"unknown msgpack extension {code}")
