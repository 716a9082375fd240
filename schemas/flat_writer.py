"""Writes FlatBuffers tables by the annotations of their structs; byte for byte what `flatbuffers.Builder` writes.

The builder takes 50 µs for a Welcome and 200 µs for a Joined, because each field of each table costs several calls.
Here the layout of a table is computed once for each set of fields that it has, and one `Struct` packs all of them.
Like the builder, the writer starts with the last byte of a message, so an offset counts the bytes that follow.
Layout: https://flatbuffers.dev/internals/. Imports schemas only.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from struct import Struct
from typing import Any, NamedTuple

import msgspec

from tickwire.schemas.flat_tables import SCALARS, layout_from_struct

_U32 = Struct("<I")
_OFFSET = "offset"
_BYTES = {"u8": 1, "bool": 1, "u16": 2, "u32": 4, "f32": 4, _OFFSET: 4, "u64": 8, "f64": 8}
_ALIGNMENT_MAX = 8
SHAPES_MAX = 1024
"""Shapes that are kept. The messages of a game need some dozens."""
TABLES_MAX = 64
"""Encoded tables that are kept: descriptions of room types, with up to eight alignments each."""


class _Fields(NamedTuple):
    """The fields of a table type, in the order of its slots: the encoding of each, and those that are objects."""

    encodings: tuple[str, ...]
    objects: tuple[tuple[int, str], ...]
    """The slots that hold the offset of an object, and how that object is encoded."""


class _Shape(NamedTuple):
    """The layout of a table with a certain set of fields.

    Args:
        packing: packs the table: the offset of its vtable, and its fields in the order of their positions.
        order: the slots of the fields in that order.
        offsets: the slots that hold offsets, and where each ends, counted from the end of the table.
        vtable: the vtable.
        alignment: the largest alignment of the fields.
    """

    packing: Struct
    order: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]
    vtable: bytes
    alignment: int


class _EncodedTable(NamedTuple):
    """A table that was written at the start of a message, with its objects and vtables."""

    data: bytes
    root: int
    vtables: dict[bytes, int]
    alignment: int


@cache
def _fields_of(table_type: type) -> _Fields:
    slots = layout_from_struct(table_type).slots
    return _Fields(
        tuple(slot.encoding if slot.encoding in SCALARS else _OFFSET for slot in slots),
        tuple((index, slot.encoding) for index, slot in enumerate(slots) if slot.encoding not in SCALARS),
    )


@lru_cache(SHAPES_MAX)
def _shape(encodings: tuple[str, ...], order: tuple[int, ...], residue: int) -> _Shape:
    """Return the layout of a table.

    Args:
        encodings: the encodings of all slots.
        order: the slots of the fields that the table has, in the order in which the builder writes them.
        residue: the size of the message before the table, modulo _ALIGNMENT_MAX.
    """
    end, ends, reversed_format = residue, {}, []
    for slot in order:
        width = _BYTES[encodings[slot]]
        padding = -end % width
        end += padding + width
        ends[slot] = end
        reversed_format += [f"{padding}x", "I" if encodings[slot] == _OFFSET else SCALARS[encodings[slot]].format[1:]]
    padding = -end % 4
    start = end + padding + 4
    reversed_format += [f"{padding}x", "<i"]
    positions = [start - ends[slot] if slot in ends else 0 for slot in range(max(ends, default=-1) + 1)]
    head = (2 * len(positions) + 4, start - residue)
    return _Shape(
        Struct("".join(reversed(reversed_format))),
        tuple(reversed(order)),
        tuple((slot, ends[slot] - residue) for slot in order if encodings[slot] == _OFFSET),
        Struct(f"<{len(positions) + 2}H").pack(*head, *positions),
        max(4, *(_BYTES[encodings[slot]] for slot in order)) if order else 4,
    )


@lru_cache(TABLES_MAX)
def _encode_table(table: msgspec.Struct, residue: int) -> _EncodedTable:
    """Encode a table that follows `residue` bytes, modulo _ALIGNMENT_MAX. They are not part of the result."""
    writer = TableWriter(residue)
    root = writer.write(table)
    return writer.to_table(root - residue)


class TableWriter:
    """Writes one message.

    Args:
        size: the number of bytes that another writer has written behind; only its last bits matter.
    """

    __slots__ = ("_alignment", "_base", "_parts", "_size", "_vtables")

    def __init__(self, size: int = 0) -> None:
        self._base = self._size = size
        self._parts: list[bytes] = []  # the last part first
        self._vtables: dict[bytes, int] = {}
        self._alignment = 1

    def write(self, table: msgspec.Struct, *, is_complete: bool = False) -> int:
        """Write a struct as a table, after its objects; return its offset.

        Args:
            table: the struct.
            is_complete: whether numbers that are 0 are written too, so that all tables of a type have one layout.
        """
        fields = _fields_of(type(table))
        values = list(msgspec.structs.astuple(table))
        for slot, encoding in fields.objects:
            if values[slot]:
                values[slot] = self._write_object(encoding, values[slot])
        if is_complete:
            scalars = [encoding != _OFFSET for encoding in fields.encodings]
            order = tuple(slot for slot, value in enumerate(values) if value or scalars[slot])
        else:
            order = tuple([slot for slot, value in enumerate(values) if value])
        return self._write_fields(fields.encodings, values, order)

    def finish(self, body: int, tag: int, *, slot: int) -> bytes:
        """Write the root table, which holds a union, and return the message.

        Args:
            body: the offset of the union's table.
            tag: the type of the union's table.
            slot: the slot of the type; the next one holds the offset.
        """
        values: list[Any] = [0] * (slot + 2)
        values[slot], values[slot + 1] = tag, body
        encodings = ("u8",) * (slot + 1) + (_OFFSET,)
        root = self._write_fields(encodings, values, (slot + 1, slot))
        padding = -(self._size + 4) % self._alignment
        self._add(bytes(padding))
        self._add(_U32.pack(self._size + 4 - root))
        self._parts.reverse()
        return b"".join(self._parts)

    def to_table(self, root: int) -> _EncodedTable:
        """Return all that was written, as a table at this offset for `_copy`."""
        vtables = {vtable: offset - self._base for vtable, offset in self._vtables.items()}
        return _EncodedTable(b"".join(reversed(self._parts)), root, vtables, self._alignment)

    def _copy(self, table: _EncodedTable) -> int:
        start = self._size
        self._add(table.data)
        self._alignment = max(self._alignment, table.alignment)
        self._vtables = {vtable: start + offset for vtable, offset in table.vtables.items()}
        return start + table.root

    def _add(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)

    def _write_object(self, encoding: str, value: Any) -> int:
        match encoding:
            case "string":
                return self._write_bytes(value.encode(), end=b"\0")
            case "bytes":
                return self._write_bytes(value)
            case "strings":
                return self._write_offsets([self._write_bytes(text.encode(), end=b"\0") for text in value])
            case "tables":
                return self._write_offsets([self.write(item) for item in value])
            case _:
                if self._vtables:  # the table may share one
                    return self.write(value)
                return self._copy(_encode_table(value, self._size % _ALIGNMENT_MAX))

    def _write_bytes(self, data: bytes, *, end: bytes = b"") -> int:
        padding = -(self._size + len(data) + len(end)) % 4
        self._alignment = max(self._alignment, 4)
        self._add(b"".join((_U32.pack(len(data)), data, end, bytes(padding))))
        return self._size

    def _write_offsets(self, offsets: Sequence[int]) -> int:
        self._add(bytes(-self._size % 4))
        self._alignment = max(self._alignment, 4)
        end = self._size + 4 * len(offsets)
        relative = [end - 4 * index - offset for index, offset in enumerate(offsets)]
        self._add(Struct(f"<{len(offsets) + 1}I").pack(len(offsets), *relative))
        return self._size

    def _write_fields(self, encodings: tuple[str, ...], values: list[Any], order: tuple[int, ...]) -> int:
        shape = _shape(encodings, order, self._size % _ALIGNMENT_MAX)
        start = self._size
        for slot, end in shape.offsets:
            values[slot] = start + end - values[slot]
        table = start + shape.packing.size
        shared = self._vtables.get(shape.vtable)
        to_vtable = len(shape.vtable) if shared is None else shared - table
        self._add(shape.packing.pack(to_vtable, *[values[slot] for slot in shape.order]))
        if shared is None:
            self._add(shape.vtable)
            self._vtables[shape.vtable] = self._size
        self._alignment = max(self._alignment, shape.alignment)
        return table
