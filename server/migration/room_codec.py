"""A room as it goes from one shard to another: all that is saved of a durable one, and what that leaves out.

A save is quantised, since that is all that clients ever see, and leaves out local columns. A room that moves goes on
where it stood: its numbers travel as they are in memory. Both shards may run different builds, so what is not
understood is left out, as it is of a save. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from tickwire.server.persistence.saver import state_of, world_of
from tickwire.server.rooms.checkpoint import RoomCheckpoint
from tickwire.server.rooms.room import Access
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.salvage import find_misfit
from tickwire.server.storage import SavedWorld

ROOM_BYTES_MAX = 64 * 1024 * 1024
"""A larger room does not move: it would keep Redis from everybody else."""
DTYPES = frozenset(
    ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64"]
)


class _Column(msgspec.Struct, frozen=True, array_like=True):
    dtype: str
    data: bytes


class RoomTransfer(msgspec.Struct, frozen=True):
    """A room on its way.

    Args:
        exact: by table and column.
        access, code, mode: of the room.
        attributes: that the game keeps on it, as far as they can be copied.
        random: the state of its random numbers, in JSON, which holds numbers of 128 bits.
        places: in queues, by session: of players who wait for a match while they are in the room.
    """

    world: SavedWorld
    exact: dict[str, dict[str, _Column]]
    access: Access
    code: str
    mode: str
    attributes: dict[str, bytes] = {}
    random: str = ""
    places: dict[str, msgspec.Raw] = {}


class TooLarge(Exception):
    """The room cannot be sent."""


def pack(simulation: RoomRuntime, places: Mapping[str, bytes] | None = None) -> bytes:
    """A frozen room, to be sent.

    Args:
        places: packed msgpack values, by session; see `RoomTransfer`.

    Raises:
        RoomCodeRaised: the game's `save` did.
        TooLarge: it has more than ROOM_BYTES_MAX.
    """
    room = simulation.room
    exact = {
        table: {
            name: _Column(column.dtype.name, np.ascontiguousarray(column).tobytes())
            for name, column in columns.items()
        }
        for table, columns in simulation.exact().items()
    }
    world = world_of(room.room_type, room.name, room.room_id, simulation.state())
    world = msgspec.structs.replace(world, state_error=find_misfit(room.saves, world.state))
    moved = RoomTransfer(
        world,
        exact,
        room.access,
        room.code,
        room.mode,
        attributes=simulation.encode_attributes(),
        random=json.dumps(room.random.bit_generator.state),
        places={session_id: msgspec.Raw(place) for session_id, place in (places or {}).items()},
    )
    packed = msgspec.msgpack.encode(moved)
    if len(packed) > ROOM_BYTES_MAX:
        raise TooLarge(f"the room is {len(packed)} bytes; at most {ROOM_BYTES_MAX} are sent")
    return packed


def unpack(data: bytes) -> tuple[RoomTransfer, RoomCheckpoint]:
    """What `pack` has made, perhaps of another build.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        moved = msgspec.msgpack.decode(data, type=RoomTransfer)
        state = state_of(moved.world)
        tables = {
            name: msgspec.structs.replace(table, exact=_columns(moved.exact.get(name, {}), table.ids.size))
            for name, table in state.tables.items()
        }
        random = json.loads(moved.random or "{}")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError, TypeError) as error:
        raise ValueError(f"the room that was sent cannot be read: {error!r}") from error
    return moved, msgspec.structs.replace(state, tables=tables, attributes=moved.attributes, random=random)


def _columns(columns: dict[str, _Column], count: int) -> dict[str, Any]:
    read = {}
    for name, column in columns.items():
        if column.dtype in DTYPES:
            array = np.frombuffer(column.data, np.dtype(column.dtype))
            if array.size == count:
                read[name] = array
    return read
