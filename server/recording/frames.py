"""The frames of a recording: a kind, a length, a checksum and a payload.

    recording = MAGIC, header, frames
    frame     = kind (1 byte), length (4), CRC-32 of kind and payload (4), payload; numbers are little-endian

    H header      the room and the build; always the first frame
    K keyframe    the whole state of the room between two ticks
    T tick        what entered the room since the frame before, and the checksums of the state after the tick
    Z block       other frames, compressed with zlib
    E end         why the recording has ended
    X index       the ticks and positions of the keyframes; the last frame of a complete file

A recording may stop anywhere, because its process was killed: the intact frames before that point are valid. Pure.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from tickwire.server.errors import TickwireError

MAGIC = b"TICKREC1"
"""The digit is the version of the frames; the version of their payloads is in the header."""
PAYLOAD_BYTES_MAX = 64 * 1024 * 1024
"""The limit of one frame, also of a block that is decompressed: as large as a room that can migrate."""
HEADER, KEYFRAME, TICK, BLOCK, END, INDEX = b"HKTZEX"
_PREFIX = struct.Struct("<BII")
PREFIX_BYTES = _PREFIX.size


class RecordingDamaged(TickwireError):
    """A file is not a recording, or it is damaged, or a newer build has written it."""

    code = "RECORDING_DAMAGED"


class Frame(NamedTuple):
    """A frame of a recording.

    Args:
        kind: one of the kinds, such as TICK.
        payload: the content.
        offset: the position of the frame in the file, or of the block that contains it.
        end: the position after that frame or block.
    """

    kind: int
    payload: bytes
    offset: int = 0
    end: int = 0


class FrameTooLarge(Exception):
    """A payload has more than PAYLOAD_BYTES_MAX bytes."""


def encode_frame(kind: int, payload: bytes) -> bytes:
    """Return a frame.

    Raises:
        FrameTooLarge: the payload has more than PAYLOAD_BYTES_MAX bytes.
    """
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise FrameTooLarge(f"a frame has {len(payload)} bytes; the limit is {PAYLOAD_BYTES_MAX}")
    return _PREFIX.pack(kind, len(payload), _checksum(kind, payload)) + payload


def encode_block(frames: bytes) -> bytes:
    """Return a block that contains some frames, or the frames themselves if they exceed the limit of a block."""
    if len(frames) <= PAYLOAD_BYTES_MAX + PREFIX_BYTES:
        packed = zlib.compress(frames, 3)
        if len(packed) <= PAYLOAD_BYTES_MAX:
            return encode_frame(BLOCK, packed)
    return frames


def read_frames(data: bytes, offset: int = len(MAGIC)) -> Iterator[Frame]:
    """Yield the frames of a recording, those inside of blocks too, up to the first one that is not intact.

    Args:
        data: the recording.
        offset: the position of the first frame.
    """
    for frame in _split(data, offset):
        if frame.kind != BLOCK:
            yield frame
            continue
        inner = _decompress(frame.payload)
        if inner is None:
            return
        for one in _split(inner, 0):
            yield one._replace(offset=frame.offset, end=frame.end)


def find_last_payload(data: bytes, kind: int, bytes_max: int) -> bytes | None:
    """Return the payload of the last frame of a recording if it has this kind and is intact, or else None.

    Args:
        data: the recording.
        kind: the kind.
        bytes_max: the largest size of the frame.
    """
    at = data.rfind(kind, max(0, len(data) - bytes_max))
    while at >= 0:
        if at + PREFIX_BYTES <= len(data):
            _, size, _ = _PREFIX.unpack_from(data, at)
            if at + PREFIX_BYTES + size == len(data):
                return next((frame.payload for frame in _split(data, at)), None)
        at = data.rfind(kind, max(0, len(data) - bytes_max), at)
    return None


def _split(data: bytes, offset: int) -> Iterator[Frame]:
    while offset + PREFIX_BYTES <= len(data):
        kind, size, checksum = _PREFIX.unpack_from(data, offset)
        start, end = offset + PREFIX_BYTES, offset + PREFIX_BYTES + size
        if end > len(data):
            return
        payload = bytes(data[start:end])
        if _checksum(kind, payload) != checksum:
            return
        yield Frame(kind, payload, offset, end)
        offset = end


def _decompress(payload: bytes) -> bytes | None:
    """Return the content of a block; None if it is damaged or exceeds the limit."""
    inflater = zlib.decompressobj()
    try:
        inner = inflater.decompress(payload, PAYLOAD_BYTES_MAX + PREFIX_BYTES)
    except zlib.error:
        return None
    return inner if inflater.eof else None


def _checksum(kind: int, payload: bytes) -> int:
    return zlib.crc32(payload, kind)
