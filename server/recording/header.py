"""The header and the end of a recording. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import numpy as np

from tickwire.server import __version__
from tickwire.server.recording.frames import HEADER, MAGIC, RecordingDamaged, encode_frame
from tickwire.server.replication.table import Table
from tickwire.server.rooms.room import Room

FORMAT_VERSION = 1
"""The version of the payloads. A build reads its own version and the ones before."""


class RecordingHeader(msgspec.Struct, frozen=True):
    """The room and the build of a recording.

    Args:
        format: the version of the payloads.
        build: the version of Tickwire that recorded it.
        room_type, room_id, name, mode: the room; never the code of a private one.
        room_class: the class of the room, with its module.
        tick_rate_hz: the number of ticks per second.
        parts: the parts of the state that have a checksum, in order.
        schema: a description of the columns of each table.
        has_code: whether the room has a code, which `Room.unlock` depends on.
    """

    format: int
    build: str
    room_type: str
    room_id: str
    name: str
    mode: str
    room_class: str
    tick_rate_hz: float
    parts: tuple[str, ...]
    schema: dict[str, str] = {}
    has_code: bool = False


class KeyframePlace(NamedTuple):
    """A keyframe in a recording.

    Args:
        tick: the last tick before it.
        offset: the position of its frame, or of the block that begins with it.
    """

    tick: int
    offset: int


class RecordingIndex(msgspec.Struct, frozen=True, array_like=True):
    """The payload of the last frame of a complete recording.

    Args:
        keyframes: the keyframes, in order.
        last_tick: the number of the last recorded tick.
        reason: why the recording has ended.
    """

    keyframes: tuple[KeyframePlace, ...]
    last_tick: int
    reason: str


def encode_header(room: Room, parts: tuple[str, ...]) -> bytes:
    """Return the beginning of a recording of a room."""
    kind = type(room)
    header = RecordingHeader(
        format=FORMAT_VERSION,
        build=__version__,
        room_type=room.room_type,
        room_id=room.room_id,
        name=room.name,
        mode=room.mode,
        room_class=f"{kind.__module__}.{kind.__qualname__}",
        tick_rate_hz=room.tick_rate_hz,
        parts=parts,
        schema=describe_schema(kind),
        has_code=bool(room.code),
    )
    return MAGIC + encode_frame(HEADER, msgspec.msgpack.encode(header))


def describe_schema(room_class: type[Room]) -> dict[str, str]:
    """Return a description of the columns of each table, local ones included, to compare two builds."""
    return {name: ", ".join(_describe(table)) for name, table in room_class.tables.items()}


def _describe(table: type[Table]) -> Iterator[str]:
    for name, column in table.columns.items():
        if column.is_replicated:
            field = column.field(name)
            kind = f"{field.kind.name.lower()} {field.bits} {field.low:g} {field.high:g} {field.step:g}"
            yield f"{name} {kind} {' '.join(field.labels)} {field.bytes_max}"
        else:
            yield f"{name} local {np.dtype(column.dtype()).name}"


def decode_header(payload: bytes) -> RecordingHeader:
    """Return the header of a recording.

    Raises:
        RecordingDamaged: it cannot be decoded, or a newer build has written it.
    """
    try:
        header = msgspec.msgpack.decode(payload, type=RecordingHeader)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RecordingDamaged(f"the header cannot be decoded: {error}") from error
    if not 1 <= header.format <= FORMAT_VERSION:
        raise RecordingDamaged(
            f"build {header.build[:40]} has written it in format {header.format}; this build reads {FORMAT_VERSION}"
        )
    if not (math.isfinite(header.tick_rate_hz) and header.tick_rate_hz > 0):
        raise RecordingDamaged(f"the header has a tick rate of {header.tick_rate_hz} Hz")
    return header
