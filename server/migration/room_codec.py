"""Encodes a room for its transfer to another shard: everything that a save contains, and more.

A save is quantised, because clients see only quantised values, and it leaves local columns out. A transferred room
continues exactly from its last tick, so its numbers travel as they are in memory. Both shards may run different
builds: unknown data is ignored, as it is when a save is read. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import msgspec

from tickwire.server.persistence.raw_columns import RawColumn, decode_columns, encode_columns
from tickwire.server.persistence.world_codec import decode_world, encode_world
from tickwire.server.rooms.checkpoint import RoomCheckpoint
from tickwire.server.rooms.room import Access
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.salvage import find_misfit
from tickwire.server.storage import SavedWorld

ROOM_BYTES_MAX = 64 * 1024 * 1024
"""A larger room is not migrated: its transfer would block Redis for all other clients."""


class RoomTransfer(msgspec.Struct, frozen=True):
    """A room on its way to another shard.

    Args:
        world: the room's checkpoint in the stored form.
        raw_columns: the columns as they are in memory, by table and column.
        access: the room's access: open, private or locked.
        code: the code that opens a private room.
        mode: the matchmaking mode that the room was created for.
        attributes: the game's attributes of the room, as far as they can be copied.
        random: the state of the room's random numbers, in JSON, because it holds 128-bit integers.
        positions: encoded queue positions by session, of players in the room who also wait for a match.
    """

    world: SavedWorld
    raw_columns: dict[str, dict[str, RawColumn]]
    access: Access
    code: str
    mode: str
    attributes: dict[str, bytes] = {}
    random: str = ""
    positions: dict[str, msgspec.Raw] = {}


class RoomTooLarge(Exception):
    """The encoded room has more than ROOM_BYTES_MAX bytes."""


def encode_room(runtime: RoomRuntime, positions: Mapping[str, bytes] | None = None) -> bytes:
    """Encode a frozen room.

    Args:
        runtime: the room.
        positions: encoded queue positions by session; see `RoomTransfer`.

    Raises:
        RoomCodeRaised: the game's `save` raised.
        RoomTooLarge: the room has more than ROOM_BYTES_MAX bytes.
    """
    room = runtime.room
    raw_columns = {table: encode_columns(columns) for table, columns in runtime.raw_columns().items()}
    world = encode_world(room.room_type, room.name, room.room_id, runtime.checkpoint())
    world = msgspec.structs.replace(world, state_error=find_misfit(room.save_type, world.state))
    transfer = RoomTransfer(
        world,
        raw_columns,
        room.access,
        room.code,
        room.mode,
        attributes=runtime.attributes.encode(),
        random=json.dumps(room.random.bit_generator.state),
        positions={session_id: msgspec.Raw(position) for session_id, position in (positions or {}).items()},
    )
    encoded = msgspec.msgpack.encode(transfer)
    if len(encoded) > ROOM_BYTES_MAX:
        raise RoomTooLarge(f"the room has {len(encoded)} bytes; the limit is {ROOM_BYTES_MAX}")
    return encoded


def decode_room(data: bytes) -> tuple[RoomTransfer, RoomCheckpoint]:
    """Decode a room that `encode_room` of this or another build has encoded.

    Returns:
        The transfer, and the room's checkpoint with its columns as they were in memory.

    Raises:
        ValueError: the data cannot be decoded.
    """
    try:
        transfer = msgspec.msgpack.decode(data, type=RoomTransfer)
        state = decode_world(transfer.world)
        tables = {
            name: msgspec.structs.replace(
                table, raw_columns=decode_columns(transfer.raw_columns.get(name, {}), table.ids.size)
            )
            for name, table in state.tables.items()
        }
        random = json.loads(transfer.random or "{}")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError, TypeError) as error:
        raise ValueError(f"the transferred room cannot be decoded: {error!r}") from error
    return transfer, msgspec.structs.replace(state, tables=tables, attributes=transfer.attributes, random=random)
