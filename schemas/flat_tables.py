"""Reads FlatBuffers tables by the annotations of their structs; schemas/flat_writer.py writes them.

The FlatBuffers library for Python does not check its input. This reader checks every offset and length against the
buffer before it follows it, and copies at most the buffer's own size out of one message. Layout:
https://flatbuffers.dev/internals/. Imports tickwire.schemas.errors only.
"""

from __future__ import annotations

import enum
import typing
from collections.abc import Callable
from struct import Struct, unpack_from
from typing import Any

import msgspec

from tickwire.schemas.errors import MalformedMessage

_U16 = Struct("<H")
_U32 = Struct("<I")
_I32 = Struct("<i")
SCALARS = {
    "u8": Struct("<B"),
    "u16": _U16,
    "u32": _U32,
    "u64": Struct("<Q"),
    "f32": Struct("<f"),
    "f64": Struct("<d"),
    "bool": Struct("<?"),
}
"""How numbers are encoded, by the names that the annotations of messages use."""
STRING_BYTES_MAX = 4096
"""The longest text in a message, in bytes of UTF-8."""


class Slot(msgspec.Struct, frozen=True):
    """One field of a table: its name, its encoding, and the struct or enumeration that it is decoded to."""

    name: str
    encoding: str  # a key of SCALARS, or: string, bytes, table, tables, strings
    inner: Any = None


class Layout(msgspec.Struct, frozen=True):
    """One table: the struct that it is decoded to, and its slots in order."""

    type: Any
    slots: tuple[Slot, ...]


_layouts: dict[type, Layout] = {}


def layout_from_struct(struct_type: type) -> Layout:
    """Return the layout that a struct's annotations declare; computed once per type."""
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
        return Slot(name, "strings") if item is str else Slot(name, "tables", layout_from_struct(item))
    if hint in (str, bytes, bool):
        return Slot(name, {str: "string", bytes: "bytes", bool: "bool"}[hint])
    if issubclass(hint, enum.IntEnum):
        return Slot(name, "u8", hint)
    return Slot(name, "table", layout_from_struct(hint))


# -- reading ------------------------------------------------------------------------------------------------


class Reader:
    """Reads tables of one buffer; every method raises MalformedMessage if an offset or a length is invalid.

    Args:
        data: the whole message; not copied.
    """

    __slots__ = ("_budget", "_data", "_size")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._size = len(data)
        # Several offsets may point to one string: without a budget a small message could be decoded to a large one.
        self._budget = len(data)

    def root(self) -> int:
        """Return the position of the root table."""
        return self.follow(0)

    def follow(self, position: int) -> int:
        """Return the position that the unsigned offset at `position` points to."""
        target: int = position + self._unpack(_U32, position)
        if target == position or target + 4 > self._size:
            raise MalformedMessage(f"the offset at byte {position} points outside the message")
        return target

    def slots(self, table: int) -> tuple[int, ...]:
        """Return the positions of a table's fields; 0 for an absent field."""
        vtable = table - self._unpack(_I32, table)
        vtable_size = self._unpack(_U16, vtable)
        if vtable_size < 4 or vtable_size & 1 or vtable + vtable_size > self._size:
            raise MalformedMessage(f"the vtable at byte {vtable} has an invalid size")
        table_size = self._unpack(_U16, vtable + 2)
        if table_size < 4 or table + table_size > self._size:
            raise MalformedMessage(f"the table at byte {table} has an invalid size")
        offsets = unpack_from(f"<{vtable_size // 2 - 2}H", self._data, vtable + 4)
        if any(offset and not 4 <= offset < table_size for offset in offsets):
            raise MalformedMessage(f"a field of the table at byte {table} is outside the table")
        return tuple(table + offset if offset else 0 for offset in offsets)

    def table(self, layout: Layout, table: int) -> Any:
        """Return the table at a position as its struct; absent fields get the struct's defaults."""
        positions = self.slots(table)
        slots = zip(layout.slots, positions, strict=False)
        values = {slot.name: self._value(slot, position) for slot, position in slots if position}
        return layout.type(**values)

    def bytes_at(self, position: int) -> bytes:
        """Return the byte vector that the offset at `position` points to."""
        vector = self.follow(position)
        length = self._unpack(_U32, vector)
        if vector + 4 + length > self._size:
            raise MalformedMessage(f"the vector at byte {vector} ends outside the message")
        self._spend(length)
        return self._data[vector + 4 : vector + 4 + length]

    def scalar(self, encoding: str, position: int) -> Any:
        """Return the number at a position."""
        return self._unpack(SCALARS[encoding], position)

    def fixed(self, format: Struct, position: int) -> tuple[Any, ...]:
        """Return the fields of the fixed struct at a position."""
        if position + format.size > self._size:
            raise MalformedMessage(f"the struct at byte {position} ends outside the message")
        return format.unpack_from(self._data, position)

    def _value(self, slot: Slot, position: int) -> Any:
        match slot.encoding:
            case "string":
                return self._text(position)
            case "bytes":
                return self.bytes_at(position)
            case "table":
                return self.table(slot.inner, self.follow(position))
            case "tables":
                return tuple(self._each(position, lambda item: self.table(slot.inner, self.follow(item))))
            case "strings":
                return tuple(self._each(position, self._text))
            case _:
                number = self.scalar(slot.encoding, position)
                return number if slot.inner is None else _member(slot.inner, number)

    def _each(self, position: int, read: Callable[[int], Any]) -> list[Any]:
        vector = self.follow(position)
        count = self._unpack(_U32, vector)
        if vector + 4 + 4 * count > self._size:
            raise MalformedMessage(f"the vector at byte {vector} ends outside the message")
        self._spend(4 * count)
        return [read(vector + 4 + 4 * index) for index in range(count)]

    def _text(self, position: int) -> str:
        data = self.bytes_at(position)
        if len(data) > STRING_BYTES_MAX:
            raise MalformedMessage(f"a text has {len(data)} bytes; at most {STRING_BYTES_MAX} are allowed")
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise MalformedMessage(f"the text at byte {position} is not UTF-8") from error

    def _spend(self, count: int) -> None:
        self._budget -= count
        if self._budget < 0:
            raise MalformedMessage("the message refers to more bytes than its own size")

    def _unpack(self, format: Struct, position: int) -> Any:
        if position < 0 or position + format.size > self._size:
            raise MalformedMessage(f"byte {position} is outside the message of {self._size} bytes")
        return format.unpack_from(self._data, position)[0]


def _member(enumeration: Any, number: int) -> Any:
    try:
        return enumeration(number)
    except ValueError as error:
        raise MalformedMessage(f"{number} is not a valid {enumeration.__name__}") from error
