"""State frames with several channels: one part per channel, one after another, to the end of `packed`.

    varint   channel * 4 + 2 if the part is a keyframe + 1 if it ends with a checksum
    varint   length, then as many bytes: equal to `packed` of a frame of this channel alone

All parts of a frame belong to one tick and are applied together: an entity that leaves one channel and enters another
in the same frame has moved. Pure; imports schemas only.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from tickwire.schemas.bit_packing import ByteReader, varint
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.messages import StateFrame

HAS_CHECKSUM, HAS_PARTS, IS_COMPLETE = 1, 2, 4
"""The flags of a state frame."""
CHANNELS_MAX = 1 << 16


class Part(msgspec.Struct, frozen=True):
    """The update of one channel in a frame."""

    channel: int
    is_keyframe: bool
    has_checksum: bool
    packed: bytes


def encode_part(channel: int, packed: bytes, *, is_keyframe: bool, has_checksum: bool) -> bytes:
    """Return one encoded part."""
    return _encode_tag(channel << 2 | is_keyframe << 1 | has_checksum) + varint(len(packed)) + packed


# A room encodes the same tags in every tick: one a channel.
_encode_tag = lru_cache(maxsize=4096)(varint)


def decode_parts(frame: StateFrame) -> list[Part]:
    """Return the updates in a frame, channel by channel.

    Raises:
        MalformedMessage: the parts do not fill the frame exactly, a channel is out of range or repeated, or a delta
            has no baseline.
    """
    if not frame.flags & HAS_PARTS:
        return [Part(frame.channel, not frame.age, bool(frame.flags & HAS_CHECKSUM), frame.packed)]
    source = ByteReader(frame.packed)
    parts: dict[int, Part] = {}
    while not source.is_at_end:
        tag = source.varint()
        channel, is_keyframe, has_checksum = tag >> 2, bool(tag & 2), bool(tag & 1)
        if channel >= CHANNELS_MAX or channel in parts:
            raise MalformedMessage(f"channel {channel} is out of range or has two parts")
        if not (is_keyframe or frame.age):
            raise MalformedMessage(f"a delta for channel {channel} in a frame without a baseline")
        parts[channel] = Part(channel, is_keyframe, has_checksum, source.read(source.varint()))
    return list(parts.values())
