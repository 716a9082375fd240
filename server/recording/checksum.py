"""The checksums of a room's state after a tick: one for each table, and one for each other part of the state.

They cover the numbers as they are in memory, local columns included, the ids and the channels of all rows, texts as
clients receive them, the random numbers, the clock, the ids of entities and the players. Pure.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from tickwire.server.replication.table import Table
from tickwire.server.rooms.room import Room

OTHER_PARTS = ("random", "clock", "entity ids", "players")


class StateChecksums:
    """Computes the checksums of one room.

    Args:
        room: the room.

    Attributes:
        parts: the names of the parts, in order: the tables, then OTHER_PARTS.
    """

    __slots__ = ("_room", "_struct", "_texts", "parts")

    def __init__(self, room: Room) -> None:
        self._room = room
        self.parts = (*room.tables, *OTHER_PARTS)
        self._struct = struct.Struct(f"<{len(self.parts)}I")
        self._texts: dict[str, tuple[NDArray[Any], int]] = {}

    def compute(self) -> bytes:
        """Return the checksums, four bytes each."""
        room = self._room
        tables = (self._table(name, getattr(room, name)) for name in room.tables)
        return self._struct.pack(*tables, _random(room), _clock(room), _entity_ids(room), _players(room))

    def _table(self, name: str, table: Table) -> int:
        checksum = 0
        arrays: list[NDArray[Any]] = [table.ids, table.channels, *table.numeric_arrays()]
        for array in arrays:  # each is contiguous
            checksum = zlib.crc32(array.data, checksum)
        return self._add_texts(name, table, checksum) if table.textual else checksum

    def _add_texts(self, name: str, table: Table, checksum: int) -> int:
        texts = table.texts()  # the same object while unchanged
        known = self._texts.get(name)
        if known is None or known[0] is not texts:
            known = texts, zlib.crc32(b"\0".join(texts.ravel().tolist()))
            self._texts[name] = known
        return zlib.crc32(known[1].to_bytes(4, "little"), checksum)


def find_differences(
    recorded_parts: tuple[str, ...], recorded: bytes, parts: tuple[str, ...], computed: bytes
) -> tuple[str, ...]:
    """Return the parts of a recording whose checksums differ. A part that this build does not have is left out."""
    known = dict(zip(parts, _read(computed), strict=True))
    values = zip(recorded_parts, _read(recorded), strict=False)
    return tuple(part for part, value in values if known.get(part, value) != value)


def _read(checksums: bytes) -> tuple[int, ...]:
    return struct.unpack_from(f"<{len(checksums) // 4}I", checksums)


def _clock(room: Room) -> int:
    timer = room.clock.find_next()
    values = (room.tick, room.clock.last_number, *((timer.number, timer.tick) if timer else ()))
    return zlib.crc32(repr(values).encode())


def _entity_ids(room: Room) -> int:
    return zlib.crc32(repr((room.entity_ids.next_id, room.next_channel, *room.entity_ids.count_released())).encode())


def _random(room: Room) -> int:
    state: Mapping[str, Any] = room.random.bit_generator.state
    numbers = state["state"]
    if isinstance(numbers.get("state"), int):  # PCG64: less work than the text of all of it
        return zlib.crc32(b"%d %d %d" % (numbers["state"], numbers["inc"], state["uinteger"]), state["has_uint32"])
    return zlib.crc32(repr(state).encode())


def _players(room: Room) -> int:
    players = room.players.values()
    checksum = zlib.crc32("\0".join(room.players).encode(errors="replace"))
    checksum = zlib.crc32(bytes([player.is_connected for player in players]), checksum)
    if room._history is not None:
        checksum = zlib.crc32(repr([player._lag_ticks for player in players]).encode(), checksum)
    return zlib.crc32(f"{room.access} {room.close_reason}".encode(errors="replace"), checksum)
