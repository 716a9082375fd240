"""Messages, MessagePack and inputs as Python writes them, as JSON: a client in another language must agree.

    client, server   messages: type, fields as [name, encoding, value], and the bytes of flatc's builder, in hex
    payloads         values, and their MessagePack in hex
    inputs           descriptions of fields, values by name, and the payload of an input in hex

Integers of 64 bits are texts, because JSON has no such numbers in most languages; bytes are hex.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from tests.harness import flatbuffers_reference
from tickwire.schemas.fields import angle, boolean, enumeration, pack_input, real, sint, uint
from tickwire.schemas.flat_tables import SCALARS, Slot, layout_from_struct
from tickwire.schemas.messages import CLIENT_BODY, SERVER_BODY, Message
from tickwire.schemas.payloads import encode_payload

_GREATEST = {"u8": 200, "u16": 65535, "u32": 2**32 - 1, "u64": 2**64 - 1, "bool": True, "f32": 0.5, "f64": 0.1}
_TEXT = "text with ä, €, 😀"


def create_vectors() -> dict[str, Any]:
    """Return all vectors."""
    return {
        "client": [_vector(one, flatbuffers_reference.build_client(one)) for one in _messages(CLIENT_BODY)],
        "server": [_vector(one, flatbuffers_reference.build_server(one)) for one in _messages(SERVER_BODY)],
        "payloads": [{"value": value, "hex": encode_payload(value).hex()} for value in _payloads()],
        "inputs": _inputs(),
    }


def _messages(types: tuple[type[Message], ...]) -> list[Message]:
    """Return each message without fields, with each of its fields alone, and with all of them."""
    messages: list[Message] = []
    for message_type in types:
        slots = layout_from_struct(message_type).slots
        values = {slot.name: _value(slot) for slot in slots}
        messages += [message_type(), *[message_type(**{name: values[name]}) for name in values]]
        messages.append(message_type(**values))
    return messages


def _value(slot: Slot) -> Any:
    match slot.encoding:
        case "string":
            return f"{slot.name}: {_TEXT}"
        case "bytes":
            return bytes(range(7))
        case "strings":
            return ("calm", "", "merry")
        case "table":
            return _table(slot.inner.type)
        case "tables":
            return (_table(slot.inner.type), slot.inner.type(), _table(slot.inner.type))
        case _:
            greatest = _GREATEST[slot.encoding]
            return greatest if slot.inner is None else slot.inner(len(slot.inner) - 1)


def _table(table_type: type[msgspec.Struct]) -> msgspec.Struct:
    return table_type(**{slot.name: _value(slot) for slot in layout_from_struct(table_type).slots})


def _vector(message: Message, data: bytes) -> dict[str, Any]:
    return {"type": type(message).__name__, "fields": _fields(message), "hex": data.hex()}


def _fields(table: msgspec.Struct) -> list[list[Any]]:
    slots = layout_from_struct(type(table)).slots
    return [[slot.name, slot.encoding, _plain(slot, getattr(table, slot.name))] for slot in slots]


def _plain(slot: Slot, value: Any) -> Any:
    match slot.encoding:
        case "bytes":
            return value.hex()
        case "u64":
            return str(value if value < 2**63 else value - 2**64)
        case "table":
            return {"type": slot.inner.type.__name__, "fields": _fields(value)}
        case "tables":
            return [{"type": slot.inner.type.__name__, "fields": _fields(item)} for item in value]
        case encoding if encoding in SCALARS:
            return int(value) if slot.inner is not None else value
        case _:
            return value


def _payloads() -> list[Any]:
    numbers = [0, 1, 31, 32, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**53]
    texts = ["", "a", "x" * 31, "x" * 32, "x" * 255, "x" * 256, "x" * 65536, _TEXT]
    values = [None, True, False, 0.0, -0.5, 1e300, *numbers, *[-one - 1 for one in numbers[:-1]], *texts]
    maps = [{}, {"a": 1}, {str(index): index for index in range(16)}, {"nested": {"list": [1, [2, {"deep": None}]]}}]
    return [*values, [], list(range(15)), list(range(16)), list(range(70000)), *maps]


def _inputs() -> list[dict[str, Any]]:
    fields = (
        real("dx", -1, 1, 0.1),
        real("dy", -1, 1, 1 / 128),
        angle("aim", 10),
        boolean("fire"),
        uint("slot", 20),
        sint("wheel", 12),
        enumeration("mood", ("calm", "merry", "curious")),
    )
    steps = [-1e9, -7.5, -3.2, -1.0, -0.55, -0.25, -0.05, 0.0, 0.0039062, 0.05, 0.15, 0.25, 0.5, 1.0, 2.5, 6.4, 1e9]
    values = [{"dx": one, "dy": one, "aim": one, "slot": one, "wheel": one} for one in steps]
    values += [{}, {"fire": 1, "mood": 2, "wheel": -2048}, {"aim": math.tau, "mood": 7, "fire": 3}]
    described = [msgspec.to_builtins(field.describe()) for field in fields]
    return [{"fields": described, "values": one, "hex": pack_input(fields, one).hex()} for one in values]
