"""Encodes messages with `flatbuffers.Builder`: the reference that the codec equals byte for byte."""

from __future__ import annotations

from typing import Any

import flatbuffers

from tickwire.schemas.flat_tables import SCALARS, Slot, layout_from_struct
from tickwire.schemas.messages import CLIENT_BODY, SERVER_BODY, Input, Message, Pong

_PREPEND = {
    "u8": "PrependUint8Slot",
    "u16": "PrependUint16Slot",
    "u32": "PrependUint32Slot",
    "u64": "PrependUint64Slot",
    "f32": "PrependFloat32Slot",
    "f64": "PrependFloat64Slot",
    "bool": "PrependBoolSlot",
}


def build_client(message: Message) -> bytes:
    """Encode a client's message."""
    return _build(message, CLIENT_BODY.index(type(message)) + 1, slot=0)


def build_server(message: Message) -> bytes:
    """Encode a server's message of the union ServerBody."""
    return _build(message, SERVER_BODY.index(type(message)) + 1, slot=3)


def _build(message: Message, tag: int, *, slot: int) -> bytes:
    builder = flatbuffers.Builder(256)
    builder.ForceDefaults(isinstance(message, Input | Pong))
    body = write_table(builder, message)
    builder.StartObject(slot + 2)
    builder.PrependUOffsetTRelativeSlot(slot + 1, body, 0)
    builder.PrependUint8Slot(slot, tag, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


def write_table(builder: flatbuffers.Builder, value: Any) -> int:
    """Write a struct as a table, children first; return its offset in the builder."""
    slots = layout_from_struct(type(value)).slots
    children = {
        index: _write_child(builder, slot, getattr(value, slot.name))
        for index, slot in enumerate(slots)
        if slot.encoding not in SCALARS and getattr(value, slot.name) not in ("", b"", ())
    }
    builder.StartObject(len(slots))
    for index, slot in enumerate(slots):
        if slot.encoding in SCALARS:
            getattr(builder, _PREPEND[slot.encoding])(index, getattr(value, slot.name), 0)
        elif index in children:
            builder.PrependUOffsetTRelativeSlot(index, children[index], 0)
    return int(builder.EndObject())


def _write_child(builder: flatbuffers.Builder, slot: Slot, value: Any) -> int:
    match slot.encoding:
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
