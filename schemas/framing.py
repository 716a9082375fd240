"""WebSocket framing: the headers of RFC 6455, section 5.2.

    byte 0    FIN and opcode
    byte 1    MASK (0x80) and length: 0 to 125 bytes; 126: a u16 follows; 127: a u64 follows; both big-endian
    then      the mask of four bytes, if MASK is set: in all frames of clients, in no frame of a server

The server does not mask its frames, so a frame is encoded once and written to every receiver. Control frames and
fragments are left to the WebSocket library. Pure; imports no other module of Tickwire.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

FIN_BINARY = 0x82
MASKED = 0x80
MASK_BYTES = 4
SHORT_PAYLOAD_MAX = 125
"""The largest payload whose size is in the second byte."""
_SHORT = Struct("!BB")
_MEDIUM = Struct("!BBH")
_LONG = Struct("!BBQ")


def _header_bytes(second: int) -> int:
    length_code = second & ~MASKED
    size = _SHORT.size if length_code <= SHORT_PAYLOAD_MAX else _MEDIUM.size if length_code == 126 else _LONG.size
    return size + (MASK_BYTES if second & MASKED else 0)


HEADER_BYTES = tuple(map(_header_bytes, range(256)))
"""The size of a frame's header, with its mask, by the frame's second byte."""


def binary_frame(payload: bytes) -> bytes:
    """Return one unmasked, final binary frame with this payload."""
    return frame_header(len(payload)) + payload


def frame_header(size: int) -> bytes:
    """Return the header of an unmasked, final binary frame with a payload of `size` bytes."""
    if size <= SHORT_PAYLOAD_MAX:
        return _SHORT.pack(FIN_BINARY, size)
    if size < 1 << 16:
        return _MEDIUM.pack(FIN_BINARY, 126, size)
    return _LONG.pack(FIN_BINARY, 127, size)


def masked_frame_header(size: int) -> bytes:
    """Return the header of a masked, final binary frame with a payload of `size` bytes, without the mask itself."""
    if size <= SHORT_PAYLOAD_MAX:
        return _SHORT.pack(FIN_BINARY, MASKED | size)
    if size < 1 << 16:
        return _MEDIUM.pack(FIN_BINARY, MASKED | 126, size)
    return _LONG.pack(FIN_BINARY, MASKED | 127, size)


def payload_bytes(data: bytes, at: int = 0) -> int:
    """Return the payload size of the frame that begins at `at`; 0 while bytes of a long length are still missing."""
    length = data[at + 1] & ~MASKED
    if length <= SHORT_PAYLOAD_MAX:
        return length
    end = at + (_MEDIUM.size if length == 126 else _LONG.size)
    return int.from_bytes(data[at + 2 : end], "big") if len(data) >= end else 0


def frame_sizes(frames: bytes) -> Iterator[int]:
    """Yield the payload sizes of whole frames, one after another."""
    at = 0
    while at < len(frames):
        size = payload_bytes(frames, at)
        yield size
        at += HEADER_BYTES[frames[at + 1]] + size


def frame_payloads(frames: bytes) -> Iterator[bytes]:
    """Yield the payloads of whole, unmasked frames, one after another."""
    at = 0
    while at < len(frames):
        start = at + HEADER_BYTES[frames[at + 1]]
        at = start + payload_bytes(frames, at)
        yield frames[start:at]


def header_bytes(frame: bytes) -> int:
    """Return the size of the header of a frame, with its mask."""
    return HEADER_BYTES[frame[1]]
