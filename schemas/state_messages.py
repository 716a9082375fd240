"""State frames and input acknowledgements: FlatBuffers structs, without offsets and vtables (server.fbs).

    StateFrameHead     8 bytes, then the packed bytes: a frame with its whole tick and its channel
    DeltaFrameHead     4 bytes, then the packed bytes: a frame with the lowest 16 bits of its tick, of channel 0 or
                       with parts
    InputAckMessage    8 bytes: an acknowledgement with the lowest 16 bits of the sequence number

**The first byte.** These structs begin with `kind`, which is odd. Every other message is a table, which begins with
the offset of its root table as a u32, lowest byte first. A table begins with the offset of its vtable, an i32, so
builders place it at a multiple of four bytes. The offset counts from the first byte of the message, and is therefore
a multiple of four: its lowest byte is even, in every message and for every size.

**Low numbers.** A client knows the tick of its last frame and the number of its last input. The numbers in a message
differ from these by less than 2^15: a delta is at most 250 ticks younger than its baseline. `nearest` restores them.
A frame that does not follow from the client's last one, such as the first after a join or a resume, has its whole
tick.

Pure; imports schemas only.
"""

from __future__ import annotations

from struct import Struct

from tickwire.schemas.errors import MalformedMessage, UnknownMessage
from tickwire.schemas.framing import FIN_BINARY
from tickwire.schemas.messages import InputAck, StateFrame
from tickwire.schemas.parts import IS_COMPLETE

_STATE_FRAME, _DELTA_FRAME, _INPUT_ACK = 1, 3, 5
_KIND_BITS = 3
_KIND_MASK = (1 << _KIND_BITS) - 1
_STATE_BYTES = frozenset(byte for byte in range(256) if byte & _KIND_MASK in (_STATE_FRAME, _DELTA_FRAME))
_FULL = Struct("<BBHI")  # kind and flags, age, channel, tick
_SHORT = Struct("<BBH")  # kind and flags, age, the lowest bits of the tick
_ACK = Struct("<BBHI")  # kind, reserved, the lowest bits of the sequence number, tick
_ACK_FRAME = Struct("<BBBBHI")  # the same after a WebSocket header of two bytes
_LOW = 0xFFFF
_HALF = 0x8000
_U32_MAX = 0xFFFFFFFF

STATE_OVERHEAD_BYTES_MAX = _FULL.size
"""The most bytes that a state frame adds to its packed bytes, without the WebSocket header."""


def encode_state(tick: int, channel: int, age: int, flags: int, packed: bytes) -> bytes:
    """Encode a state frame, with the shorter head if the client can restore the tick from that of its last frame."""
    if age and not channel and not flags & IS_COMPLETE:
        return _SHORT.pack(_DELTA_FRAME | flags << _KIND_BITS, age, tick & _LOW) + packed
    return _FULL.pack(_STATE_FRAME | flags << _KIND_BITS, age, channel, tick) + packed


def encode_ack(tick: int, seq: int) -> bytes:
    """Encode an acknowledgement."""
    return _ACK.pack(_INPUT_ACK, 0, seq & _LOW, tick)


def frame_ack(tick: int, seq: int) -> bytes:
    """Encode an acknowledgement with its WebSocket header: sent each tick to every client that has sent an input."""
    return _ACK_FRAME.pack(FIN_BINARY, _ACK.size, _INPUT_ACK, 0, seq & _LOW, tick)


def is_struct(data: bytes) -> bool:
    """Return whether a message of a server is a struct; otherwise it is a table."""
    return bool(data) and bool(data[0] & 1)


def is_state(data: bytes) -> bool:
    """Return whether a message of a server is a state frame in a struct."""
    return bool(data) and data[0] in _STATE_BYTES


def is_ack(data: bytes) -> bool:
    """Return whether a message of a server is an acknowledgement in a struct."""
    return len(data) == _ACK.size and data[0] & _KIND_MASK == _INPUT_ACK


def decode_struct(data: bytes, *, last_tick: int, last_seq: int) -> StateFrame | InputAck:
    """Decode a message that `is_struct`.

    Args:
        data: the message.
        last_tick: the tick of the client's last frame.
        last_seq: the number of the client's last input.

    Raises:
        MalformedMessage: the message is shorter than its struct, or longer than an acknowledgement.
        UnknownMessage: this build does not know the kind.
    """
    kind, flags = data[0] & _KIND_MASK, data[0] >> _KIND_BITS
    size = len(data)
    if kind == _DELTA_FRAME and size >= _SHORT.size:
        _, age, low = _SHORT.unpack_from(data)
        return StateFrame(nearest(low, last_tick), 0, age, flags, data[_SHORT.size :])
    if kind == _STATE_FRAME and size >= _FULL.size:
        _, age, channel, tick = _FULL.unpack_from(data)
        return StateFrame(tick, channel, age, flags, data[_FULL.size :])
    if kind == _INPUT_ACK and size == _ACK.size:
        _, _, low, tick = _ACK.unpack(data)
        return InputAck(tick, nearest(low, last_seq))
    if kind > _INPUT_ACK:
        raise UnknownMessage(f"unknown struct kind {kind}; this build knows 1, 3 and 5")
    raise MalformedMessage(f"a struct of kind {kind} cannot have {size} bytes")


def nearest(low: int, known: int) -> int:
    """Return the u32 with these lowest 16 bits that is nearest to a known one."""
    number = known + ((low - known + _HALF) & _LOW) - _HALF
    if number < 0:
        return number + _LOW + 1
    return number if number <= _U32_MAX else number - _LOW - 1
