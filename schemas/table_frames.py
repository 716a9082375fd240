"""State frames and input acknowledgements for clients of schema version 3, which read them as tables (server.fbs).

A room encodes its frames as structs (schemas/state_messages.py); `to_table_frame` copies the packed bytes of one into
a table. `flatbuffers.Builder` writes the fixed part of the layout once, when this module is imported. To be removed
with support for version 3. Pure; imports schemas only.
"""

from __future__ import annotations

from struct import Struct

import flatbuffers

from tickwire.schemas.framing import binary_frame, header_bytes
from tickwire.schemas.messages import InputAck, StateFrame
from tickwire.schemas.state_messages import decode_struct

_HEAD = Struct("<IHBB")  # tick, channel, age, flags
_ACK = Struct("<II")  # tick, seq


def to_table_frame(frame: bytes, tick: int) -> bytes:
    """Return a state frame, with its WebSocket header, for clients of schema version 3.

    Args:
        frame: the frame for other clients, with its WebSocket header.
        tick: the tick of the frame.
    """
    state = decode_struct(frame[header_bytes(frame) :], last_tick=tick, last_seq=0)
    assert isinstance(state, StateFrame)
    return binary_frame(encode_table_state(state))


def build_table_state(frame: StateFrame) -> bytes:
    """Encode a state frame with `flatbuffers.Builder`: the reference that `encode_table_state` equals."""
    builder = flatbuffers.Builder(64 + len(frame.packed))
    packed = builder.CreateByteVector(frame.packed)
    builder.StartObject(2)
    builder.PrependUOffsetTRelativeSlot(1, packed, 0)
    builder.Prep(4, 8)
    for prepend, value in (
        (builder.PrependUint8, frame.flags),
        (builder.PrependUint8, frame.age),
        (builder.PrependUint16, frame.channel),
        (builder.PrependUint32, frame.tick),
    ):
        prepend(value)
    builder.PrependStructSlot(0, builder.Offset(), 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


# The bytes before the head, and those between the head and the vector's bytes: neither depends on the length, because
# the builder places the vector last and its padding after it. 32 bytes, and up to 3 of padding.
_SAMPLE = build_table_state(StateFrame(0x01020304, 0x0506, 7, 8, b""))
_HEAD_START = _SAMPLE.index(_HEAD.pack(0x01020304, 0x0506, 7, 8))
_PREFIX = _SAMPLE[:_HEAD_START]
_MIDDLE = _SAMPLE[_HEAD_START + _HEAD.size : -4]
_STATE = Struct(f"<{len(_PREFIX)}sIHBB{len(_MIDDLE)}sI")


def encode_table_state(frame: StateFrame) -> bytes:
    """Encode a state frame from the precomputed layout; equal to `build_table_state`."""
    size = len(frame.packed)
    head = _STATE.pack(_PREFIX, frame.tick, frame.channel, frame.age, frame.flags, _MIDDLE, size)
    return head + frame.packed + bytes(-size & 3)


def build_table_ack(ack: InputAck) -> bytes:
    """Encode an acknowledgement with `flatbuffers.Builder`: the reference that `encode_table_ack` equals."""
    builder = flatbuffers.Builder(64)
    builder.StartObject(3)
    builder.Prep(4, 8)
    builder.PrependUint32(ack.seq)
    builder.PrependUint32(ack.tick)
    builder.PrependStructSlot(2, builder.Offset(), 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


_ACK_PREFIX = build_table_ack(InputAck(1, 2))[: -_ACK.size]
_ACK_FRAME_PREFIX = binary_frame(_ACK_PREFIX + bytes(_ACK.size))[: -_ACK.size]


def encode_table_ack(tick: int, seq: int) -> bytes:
    """Encode an acknowledgement from the precomputed layout; equal to `build_table_ack`."""
    return _ACK_PREFIX + _ACK.pack(tick, seq)


def frame_table_ack(tick: int, seq: int) -> bytes:
    """Encode an acknowledgement with its WebSocket header."""
    return _ACK_FRAME_PREFIX + _ACK.pack(tick, seq)
