"""Encodes and decodes messages. For any bytes, decoding raises WireError or nothing.

State frames and input acknowledgements are structs (schemas/state_messages.py); every other message is a table.
Inputs also have a precomputed form: the fixed part of the layout is written once, when this module is imported. So
does a Pong, because clients decide how many of them the server sends. Imports schemas only.
"""

from __future__ import annotations

from struct import Struct

import msgspec

from tickwire.schemas import kernel
from tickwire.schemas.errors import MalformedMessage, UnknownMessage
from tickwire.schemas.flat_tables import Layout, Reader, layout_from_struct
from tickwire.schemas.flat_writer import TableWriter
from tickwire.schemas.messages import (
    CLIENT_BODY,
    SERVER_BODY,
    ClientMessage,
    Input,
    InputAck,
    Message,
    Pong,
    ServerMessage,
    StateFrame,
)
from tickwire.schemas.state_messages import decode_struct, is_struct

_TABLE_HEAD = Struct("<IHBB")  # schema version 3: tick, channel, age, flags
_TABLE_ACK = Struct("<II")  # schema version 3: tick, seq
_INPUT_NUMBERS = Struct("<II")  # tick, seq: the builder writes fields of equal size last to first
_CLIENT_LAYOUTS = tuple(layout_from_struct(member) for member in CLIENT_BODY)
_SERVER_LAYOUTS = tuple(layout_from_struct(member) for member in SERVER_BODY)
_CLIENT_TAGS = {member: tag for tag, member in enumerate(CLIENT_BODY, start=1)}
_SERVER_TAGS = {member: tag for tag, member in enumerate(SERVER_BODY, start=1)}


def encode_client(message: Message) -> bytes:
    """Encode a client's message."""
    writer = TableWriter()
    # All Inputs have one layout, so that they can be recognised by it.
    body = writer.write(message, is_complete=isinstance(message, Input))
    return writer.finish(body, _CLIENT_TAGS[type(message)], slot=0)


def encode_server(message: Message) -> bytes:
    """Encode a server's message of the union ServerBody."""
    if isinstance(message, Pong):
        return _PONG_PREFIX + _PONG.pack(message.tick, message.server_time_us, message.client_time_us)
    writer = TableWriter()
    return writer.finish(writer.write(message), _SERVER_TAGS[type(message)], slot=3)


def decode_client(data: bytes) -> ClientMessage:
    """Decode a client's message.

    Raises:
        MalformedMessage: the bytes are not a valid message.
        UnknownMessage: this build does not know the message type.
    """
    shape = _INPUT_SHAPES.get(len(data))
    if shape is not None and int.from_bytes(data, "little") & shape.mask == shape.pattern:
        tick, seq = shape.numbers.unpack_from(data)
        return Input(seq, tick, data[shape.payload_start :])
    reader = Reader(data)
    return _read_body(reader, reader.slots(reader.root()), 0, _CLIENT_LAYOUTS)  # type: ignore[return-value]


def client_message_type(data: bytes) -> int:
    """Return the tag of a client's message in ClientBody, or 0 without one. Decodes nothing else of the message."""
    try:
        reader = Reader(data)
        slots = reader.slots(reader.root())
        return int(reader.scalar("u8", slots[0])) if slots and slots[0] else 0
    except MalformedMessage:
        return 0


def decode_server(data: bytes, *, last_tick: int = 0, last_seq: int = 0) -> ServerMessage:
    """Decode a server's message.

    Args:
        data: the message.
        last_tick: the tick of the client's last frame: a delta has the lowest 16 bits of its tick.
        last_seq: the number of the client's last input: an acknowledgement has the lowest 16 bits of its number.

    Raises:
        MalformedMessage: the bytes are not a valid message.
        UnknownMessage: this build does not know the message type.
    """
    if is_struct(data):
        return decode_struct(data, last_tick=last_tick, last_seq=last_seq)
    reader = Reader(data)
    slots = (*reader.slots(reader.root()), 0, 0, 0, 0, 0)
    if slots[0]:  # from a server of schema version 3, as are acknowledgements in a table
        tick, channel, age, flags = reader.fixed(_TABLE_HEAD, slots[0])
        return StateFrame(tick, channel, age, flags, reader.bytes_at(slots[1]) if slots[1] else b"")
    if slots[2]:
        return InputAck(*reader.fixed(_TABLE_ACK, slots[2]))
    return _read_body(reader, slots, 3, _SERVER_LAYOUTS)  # type: ignore[return-value]


def _read_body(reader: Reader, slots: tuple[int, ...], slot: int, layouts: tuple[Layout, ...]) -> Message:
    if len(slots) < slot + 2 or not slots[slot] or not slots[slot + 1]:
        raise MalformedMessage("the message has no body")
    tag = reader.scalar("u8", slots[slot])
    if not 1 <= tag <= len(layouts):
        raise UnknownMessage(f"unknown message type {tag}; this build knows 1 to {len(layouts)}")
    message: Message = reader.table(layouts[tag - 1], reader.follow(slots[slot + 1]))
    return message


# -- Pongs --------------------------------------------------------------------------------------------------


_PONG = Struct("<IQQ")  # tick, server_time_us, client_time_us: the builder writes fields last to first
_PONG_WRITER = TableWriter()
_PONG_PREFIX = _PONG_WRITER.finish(_PONG_WRITER.write(Pong(), is_complete=True), _SERVER_TAGS[Pong], slot=3)[
    : -_PONG.size
]


# -- inputs -------------------------------------------------------------------------------------------------


class InputShape(msgspec.Struct, frozen=True):
    """The layout of Inputs of one size: all bytes apart from the numbers and the payload, as one integer."""

    mask: int
    pattern: int
    numbers: Struct  # _INPUT_NUMBERS at their position
    before: bytes  # the bytes before the numbers
    after: bytes  # the bytes between the numbers and the payload
    payload_start: int
    payload_size: int


INPUT_PAYLOAD_BYTES_MAX = 64
"""The largest input a room may declare."""


def _input_shape(payload_size: int) -> InputShape:
    zeros = bytes(payload_size)
    blank = encode_client(Input(0, 0, zeros))
    full = encode_client(Input(0xFFFFFFFF, 0xFFFFFFFF, b"\xff" * payload_size))
    numbers_start = encode_client(Input(0, 0xFFFFFFFF, zeros)).index(b"\xff\xff\xff\xff")
    varies = int.from_bytes(blank, "little") ^ int.from_bytes(full, "little")
    mask = ((1 << (8 * len(blank))) - 1) & ~varies
    return InputShape(
        mask=mask,
        pattern=int.from_bytes(blank, "little") & mask,
        numbers=Struct(f"<{numbers_start}xII"),
        before=blank[:numbers_start],
        after=blank[numbers_start + _INPUT_NUMBERS.size : len(blank) - payload_size],
        payload_start=len(blank) - payload_size,
        payload_size=payload_size,
    )


# Only sizes without padding, so that a message's size determines its shape. Complete from the start: clients must not
# make the server compute shapes.
_INPUT_SHAPES = {
    shape.payload_start + shape.payload_size: shape
    for shape in map(_input_shape, range(4, INPUT_PAYLOAD_BYTES_MAX + 1, 4))
}
_INPUT_SHAPES_BY_PAYLOAD = {shape.payload_size: shape for shape in _INPUT_SHAPES.values()}


_INPUT_HEAD = _INPUT_SHAPES_BY_PAYLOAD[4].before


def read_input_frame(frame: bytes) -> Input | None:
    """Return the Input in a client's frame. Only the native kernel does this; None without it.

    Args:
        frame: a whole WebSocket frame: final, binary, masked, with a payload of at most 125 bytes.

    Returns:
        The input; None if the frame has to be unmasked and decoded by `decode_client`.
    """
    found = kernel.read_input(frame, _INPUT_HEAD) if kernel.is_native else None
    return None if found is None else Input(*found)


def push_input_frame(frame: bytes, seat: object) -> bool:
    """Queue the Input in a client's frame at a seat. Only the native kernel does this; False without it.

    Args:
        frame: as for `read_input_frame`.
        seat: the seat of the player.

    Returns:
        Whether the frame was handled. Nothing was changed otherwise.
    """
    return kernel.is_native and kernel.push_input(frame, _INPUT_HEAD, seat, Input)


def encode_input(seq: int, tick: int, payload: bytes) -> bytes:
    """Encode an Input from the precomputed layout; equal to `encode_client(Input(seq, tick, payload))`."""
    shape = _INPUT_SHAPES_BY_PAYLOAD.get(len(payload))
    if shape is None:
        return encode_client(Input(seq, tick, payload))
    return shape.before + _INPUT_NUMBERS.pack(tick, seq) + shape.after + payload
