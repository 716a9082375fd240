"""Reads and writes one FlatBuffers table by the annotations of its struct.

FlatBuffers for Python trusts what it reads; this reader trusts nothing: every offset and length is checked
against the buffer before it is followed, and all that one message may copy out of its buffer is at most the
buffer's own size. Layout: https://flatbuffers.dev/internals/. Imports tickwire.schemas.errors only.
"""

from __future__ import annotations

import enum
import typing
from collections.abc import Callable
from struct import Struct, unpack_from
from typing import Any

import flatbuffers
import msgspec

from tickwire.schemas.errors import MalformedMessage

_U16 = Struct("<H")
_U32 = Struct("<I")
_I32 = Struct("<i")
_SCALARS = {
    "u8": Struct("<B"),
    "u16": _U16,
    "u32": _U32,
    "u64": Struct("<Q"),
    "f32": Struct("<f"),
    "f64": Struct("<d"),
    "bool": Struct("<?"),
}
_PREPEND = {
    "u8": "PrependUint8Slot",
    "u16": "PrependUint16Slot",
    "u32": "PrependUint32Slot",
    "u64": "PrependUint64Slot",
    "f32": "PrependFloat32Slot",
    "f64": "PrependFloat64Slot",
    "bool": "PrependBoolSlot",
}
STRING_BYTES_MAX = 4096
"""The longest text a message may hold."""


class Slot(msgspec.Struct, frozen=True):
    """One field of a table: its name, how it lies on the wire, and the struct or enumeration it becomes."""

    name: str
    wire: str  # a key of _SCALARS, or: string, bytes, table, tables, strings
    inner: Any = None


class Layout(msgspec.Struct, frozen=True):
    """One table: the struct that it becomes, and its slots in order."""

    type: Any
    slots: tuple[Slot, ...]


_layouts: dict[type, Layout] = {}


def layout_of(struct_type: type) -> Layout:
    """The layout that a struct's annotations declare. Computed once a type."""
    if struct_type not in _layouts:
        hints = typing.get_type_hints(struct_type, include_extras=True)
        slots = tuple(_slot(name, hints[name]) for name in struct_type.__struct_fields__)  # type: ignore[attr-defined]
        _layouts[struct_type] = Layout(struct_type, slots)
    return _layouts[struct_type]


def _slot(name: str, hint: Any) -> Slot:
    if typing.get_origin(hint) is typing.Annotated:
        return Slot(name, hint.__metadata__[0])
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        return Slot(name, "strings") if item is str else Slot(name, "tables", layout_of(item))
    if hint in (str, bytes, bool):
        return Slot(name, {str: "string", bytes: "bytes", bool: "bool"}[hint])
    if issubclass(hint, enum.IntEnum):
        return Slot(name, "u8", hint)
    return Slot(name, "table", layout_of(hint))


# -- writing ------------------------------------------------------------------------------------------------


def write_table(builder: flatbuffers.Builder, value: Any) -> int:
    """Writes a struct as a table, children first.

    Returns:
        The table's offset, as the builder counts them.
    """
    slots = layout_of(type(value)).slots
    children = {
        place: _write_child(builder, slot, getattr(value, slot.name))
        for place, slot in enumerate(slots)
        if slot.wire not in _SCALARS and getattr(value, slot.name) not in ("", b"", ())
    }
    builder.StartObject(len(slots))
    for place, slot in enumerate(slots):
        if slot.wire in _SCALARS:
            getattr(builder, _PREPEND[slot.wire])(place, getattr(value, slot.name), 0)
        elif place in children:
            builder.PrependUOffsetTRelativeSlot(place, children[place], 0)
    return int(builder.EndObject())


def _write_child(builder: flatbuffers.Builder, slot: Slot, value: Any) -> int:
    match slot.wire:
        case "string":
            return int(builder.CreateString(value))
        case "bytes":
            return int(builder.CreateByteVector(value))
        case "table":
            return write_table(builder, value)
        case "strings":
            return _write_offsets(builder, [builder.CreateString(text) for text in value])
        case _:
            return _write_offsets(builder, [write_table(builder, item) for item in value])


def _write_offsets(builder: flatbuffers.Builder, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


# -- reading ------------------------------------------------------------------------------------------------


class Reader:
    """Reads tables out of one buffer, checking before following.

    Args:
        data: the whole message; not copied.
    """

    __slots__ = ("_budget", "_data", "_size")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._size = len(data)
        # Several offsets may point at one string; without a budget a small message could unfold to a large one.
        self._budget = len(data)

    def root(self) -> int:
        """The position of the root table."""
        return self.follow(0)

    def follow(self, position: int) -> int:
        """Where the unsigned offset at `position` points."""
        target: int = position + self._unpack(_U32, position)
        if target == position or target + 4 > self._size:
            raise MalformedMessage(f"offset at byte {position} leaves the message")
        return target

    def slots(self, table: int) -> tuple[int, ...]:
        """The positions of a table's fields, 0 for one that is absent."""
        vtable = table - self._unpack(_I32, table)
        vtable_size = self._unpack(_U16, vtable)
        if vtable_size < 4 or vtable_size & 1 or vtable + vtable_size > self._size:
            raise MalformedMessage(f"vtable at byte {vtable} has an impossible size")
        table_size = self._unpack(_U16, vtable + 2)
        if table_size < 4 or table + table_size > self._size:
            raise MalformedMessage(f"table at byte {table} has an impossible size")
        offsets = unpack_from(f"<{vtable_size // 2 - 2}H", self._data, vtable + 4)
        if any(offset and not 4 <= offset < table_size for offset in offsets):
            raise MalformedMessage(f"a field of the table at byte {table} lies outside of it")
        return tuple(table + offset if offset else 0 for offset in offsets)

    def table(self, layout: Layout, table: int) -> Any:
        """Reads the table at a position as its struct; absent fields get the struct's defaults."""
        places = self.slots(table)
        values = {
            slot.name: self._value(slot, place) for slot, place in zip(layout.slots, places, strict=False) if place
        }
        return layout.type(**values)

    def bytes_at(self, place: int) -> bytes:
        """The byte vector that the offset at `place` points to."""
        vector = self.follow(place)
        length = self._unpack(_U32, vector)
        if vector + 4 + length > self._size:
            raise MalformedMessage(f"vector at byte {vector} leaves the message")
        self._spend(length)
        return self._data[vector + 4 : vector + 4 + length]

    def scalar(self, wire: str, place: int) -> Any:
        """The number at a position."""
        return self._unpack(_SCALARS[wire], place)

    def fixed(self, format: Struct, place: int) -> tuple[Any, ...]:
        """The fixed struct at a position."""
        if place + format.size > self._size:
            raise MalformedMessage(f"struct at byte {place} leaves the message")
        return format.unpack_from(self._data, place)

    def _value(self, slot: Slot, place: int) -> Any:
        match slot.wire:
            case "string":
                return self._text(place)
            case "bytes":
                return self.bytes_at(place)
            case "table":
                return self.table(slot.inner, self.follow(place))
            case "tables":
                return tuple(self._each(place, lambda at: self.table(slot.inner, self.follow(at))))
            case "strings":
                return tuple(self._each(place, self._text))
            case _:
                number = self.scalar(slot.wire, place)
                return number if slot.inner is None else _member(slot.inner, number)

    def _each(self, place: int, read: Callable[[int], Any]) -> list[Any]:
        vector = self.follow(place)
        count = self._unpack(_U32, vector)
        if vector + 4 + 4 * count > self._size:
            raise MalformedMessage(f"vector at byte {vector} leaves the message")
        self._spend(4 * count)
        return [read(vector + 4 + 4 * index) for index in range(count)]

    def _text(self, place: int) -> str:
        data = self.bytes_at(place)
        if len(data) > STRING_BYTES_MAX:
            raise MalformedMessage(f"text of {len(data)} bytes; at most {STRING_BYTES_MAX} are allowed")
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise MalformedMessage(f"text at byte {place} is not UTF-8") from error

    def _spend(self, count: int) -> None:
        self._budget -= count
        if self._budget < 0:
            raise MalformedMessage("the message unfolds to more than its own size")

    def _unpack(self, format: Struct, place: int) -> Any:
        if place < 0 or place + format.size > self._size:
            raise MalformedMessage(f"read at byte {place} leaves the message of {self._size}")
        return format.unpack_from(self._data, place)[0]


def _member(enumeration: Any, number: int) -> Any:
    try:
        return enumeration(number)
    except ValueError as error:
        raise MalformedMessage(f"{number} is no {enumeration.__name__}") from error
