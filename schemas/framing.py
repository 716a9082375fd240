"""A WebSocket frame around a message that a server sends: RFC 6455, section 5.2.

A server's frames are not masked, so a frame is made once and written to every receiver. Only this one shape is
made here (binary, final); control frames and fragments are the library's. Pure; imports nothing of ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

_SHORT = Struct("!BB")
_MEDIUM = Struct("!BBH")
_LONG = Struct("!BBQ")
_FIN_BINARY = 0x82


def binary_frame(payload: bytes) -> bytes:
    """One unmasked, final binary frame that holds `payload`."""
    return frame_header(len(payload)) + payload


def frame_header(size: int) -> bytes:
    """Return the header of an unmasked, final binary frame with so many bytes."""
    if size < 126:
        return _SHORT.pack(_FIN_BINARY, size)
    if size < 1 << 16:
        return _MEDIUM.pack(_FIN_BINARY, 126, size)
    return _LONG.pack(_FIN_BINARY, 127, size)


def frame_sizes(frames: bytes) -> Iterator[int]:
    """Yield the payload sizes of frames that `binary_frame` made, one after another."""
    at = 0
    while at < len(frames):
        header, size = 2, frames[at + 1]
        if size >= 126:
            header = 4 if size == 126 else 10
            size = int.from_bytes(frames[at + 2 : at + header], "big")
        yield size
        at += header + size


def header_bytes(frame: bytes) -> int:
    """Return the size of the header of a frame that `binary_frame` made."""
    return {126: _MEDIUM.size, 127: _LONG.size}.get(frame[1], _SHORT.size)
