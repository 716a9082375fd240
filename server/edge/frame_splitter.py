"""Cuts a client's byte stream into whole WebSocket frames.

The caller requests one frame after the other, as its limits allow. Nearly all frames are final binary frames, which
the caller unmasks with `payload_from_frame`. It passes every other frame, whole, to the WebSocket library, which is
therefore always at a frame boundary. An invalid frame (unmasked, too large, or of an unknown type) is returned with
all bytes that follow it, so that the library reports the error. Pure. Layout: RFC 6455, section 5.2.
"""

from __future__ import annotations

from tickwire.schemas.framing import HEADER_BYTES, MASK_BYTES, MASKED, header_bytes, payload_bytes
from tickwire.server.edge.masking import unmask

FIN_PING = 0x89
FIN_PONG = 0x8A
_CONTROL = 0x08
_POSSIBLE_FIRST = frozenset((0x00, 0x01, 0x02, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8A))
"""The valid first bytes: no reserved bits, a known opcode, and control frames are never fragments."""


class FrameSplitter:
    """Splits the incoming bytes of one connection.

    Args:
        payload_bytes_max: the largest payload of one frame.

    Attributes:
        has_failed: whether an invalid frame was returned; all later bytes are returned unsplit.
    """

    __slots__ = ("_at", "_payload_max", "_pending", "has_failed")

    def __init__(self, *, payload_bytes_max: int) -> None:
        self._payload_max = payload_bytes_max
        self._pending = b""
        self._at = 0
        self.has_failed = False

    @property
    def is_between_frames(self) -> bool:
        """Whether every byte was returned, and the next one starts a frame."""
        return not self._pending and not self.has_failed

    def feed(self, data: bytes) -> None:
        """Add bytes that were read."""
        self._pending = self._pending[self._at :] + data if self._pending else data
        self._at = 0

    def next(self) -> bytes | None:
        """Return the next whole frame with its header, or None until one is complete."""
        data, at = self._pending, self._at
        size = len(data) - at
        if self.has_failed:
            return self._rest() if size else None
        if size < 2:
            return None
        start, length = HEADER_BYTES[data[at + 1]], payload_bytes(data, at)
        if _is_invalid(data[at], data[at + 1]) or length > self._payload_max:
            self.has_failed = True
            return self._rest()
        if size < start + length:
            return None
        return self._take(start + length)

    def _rest(self) -> bytes:
        return self._take(len(self._pending) - self._at)

    def _take(self, size: int) -> bytes:
        data, at = self._pending, self._at
        self._at = at + size
        if self._at == len(data):
            self._pending, self._at = b"", 0  # an idle connection holds no bytes
        return data[at : at + size]


def payload_from_frame(frame: bytes) -> bytes:
    """Return the payload of a whole, masked frame."""
    start = header_bytes(frame)
    return unmask(frame[start:], frame[start - MASK_BYTES : start])


def _is_invalid(first: int, second: int) -> bool:
    """Return whether no valid frame starts with these two bytes. The library then receives them at once."""
    is_large_control = first & _CONTROL and second & 0x7F > 125
    return second < MASKED or first not in _POSSIBLE_FIRST or bool(is_large_control)
