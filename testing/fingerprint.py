"""Fingerprints of a room's state: a checksum of each part, to compare two runs of a room tick by tick.

The parts are the columns of the tables, the room's random numbers, its timers, its players with their data, the
attributes that the game has set, and the events that the players were sent. Sets are compared without their order,
because only the order in which a room reads a set can make a difference. Pure.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import numpy as np

from tickwire.server.replication.table import Row
from tickwire.server.rooms.attributes import ROOM_ATTRIBUTES
from tickwire.server.rooms.player import Player
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.room_timer import RoomTimer
from tickwire.server.rooms.runtime import RoomRuntime

LEVELS_MAX = 8
"""Values that are nested more deeply are not compared."""
VALUES_MAX = 10_000
"""The values of one attribute that are compared, so that a large object does not make each tick slow."""

Fingerprint = Mapping[str, int]
"""The checksums by the name of the part, such as `ships.hp`."""


def take_fingerprint(room: Room) -> dict[str, int]:
    """Return the fingerprint of a room, also in the middle of a hook. The room does not change."""
    parts = {"random numbers": checksum(repr(room.random.bit_generator.state).encode())}
    for name in room.tables:
        table = getattr(room, name)
        parts[f"{name}.id"] = zlib.crc32(table.ids.tobytes())
        parts[f"{name}.channel"] = zlib.crc32(
            table._channels[: len(table)].tobytes()
        )  # `channel` would mark it as used
        for column in table.columns:
            parts[f"{name}.{column}"] = _checksum_of_column(table.view(column))
    timers = [(timer.number, timer.method, timer.tick) for timer in room.clock.timers]
    parts["timers"] = checksum(repr(timers).encode())
    parts["players"] = checksum(encode_values((player.id, player.data) for player in room.players.values()))
    for name in vars(room).keys() - ROOM_ATTRIBUTES - room.tables.keys():
        parts[f"self.{name}"] = checksum(encode_values([vars(room)[name]]))
    return parts


def take_event_fingerprint(runtime: RoomRuntime) -> dict[str, int]:
    """Return the checksums of the events that each player was sent and has not acknowledged."""
    return {
        f"events to {seat.player_id}": checksum(
            b"".join(seat.subscriber.outbox.frames), seat.subscriber.outbox.last_number
        )
        for seat in runtime.seats
    }


def checksum(data: bytes, start: int = 0) -> int:
    """Return the checksum of some bytes."""
    return zlib.crc32(data, start & 0xFFFFFFFF)


def _checksum_of_column(values: Any) -> int:
    if values.dtype != np.object_:
        return zlib.crc32(np.ascontiguousarray(values).tobytes())
    return checksum(encode_values(values))


def encode_values(values: Iterable[Any], values_max: int = VALUES_MAX) -> bytes:
    """Return values of a game as bytes that are equal in two runs if the values are."""
    encoder = _Encoder(values_max)
    return b"".join(encoder.encode(value) for value in values)


class _Encoder:
    """Encodes values of a game as bytes that are equal in two runs if the values are."""

    def __init__(self, values_max: int) -> None:
        self._left = values_max

    def encode(self, value: Any, level: int = 0) -> bytes:
        """Return a value as bytes; a value of an unknown type as the name of its type."""
        self._left -= 1
        if level > LEVELS_MAX or self._left < 0:
            return b"..."
        match value:
            case None | bool() | int() | float() | str() | bytes() | np.generic():
                return f"{type(value).__name__} {value!r};".encode(errors="backslashreplace")
            case np.ndarray():
                return f"{value.dtype}{value.shape}".encode() + (value.tobytes() if value.dtype != object else b"")
            case set() | frozenset():
                return b"{" + b"".join(sorted(self.encode(inner, level + 1) for inner in value)) + b"}"
            case list() | tuple():
                return b"[" + b"".join(self.encode(inner, level + 1) for inner in value) + b"]"
            case Mapping():
                return b"<" + b"".join(self.encode(pair, level + 1) for pair in value.items()) + b">"
            case Player():
                return f"player {value.id};".encode()
            case Row():
                return f"entity {value.id};".encode()
            case RoomTimer():
                return f"timer {value.number};".encode()
            case np.random.Generator():
                return repr(value.bit_generator.state).encode()
        return type(value).__qualname__.encode() + self._encode_fields(value, level)

    def _encode_fields(self, value: Any, level: int) -> bytes:
        if isinstance(value, msgspec.Struct):
            return self.encode(msgspec.structs.asdict(value), level + 1)
        fields = getattr(value, "__dict__", None)
        if isinstance(value, type | Room) or callable(value) or not isinstance(fields, dict):
            return b""
        return self.encode(fields, level + 1)
