"""Cuts a client's byte stream into whole WebSocket frames.

Pure. The caller takes one frame after the other, as its limits allow. It unmasks the shape that nearly all of them
have, the final binary frame, with `payload_of`; every other frame goes, whole, to the WebSocket library, which
therefore always stands at a frame's boundary. A frame that can never be right (unmasked, larger than allowed, of no
known kind) is returned with everything behind it, for the library to say why.
Layout: RFC 6455, section 5.2.
"""

from __future__ import annotations

from tickwire.schemas.framing import HEADER_BYTES, MASK_BYTES, MASKED, header_bytes, payload_bytes
from tickwire.server.edge.masking import unmask

FIN_PING = 0x89
_CONTROL = 0x08
_POSSIBLE_FIRST = frozenset((0x00, 0x01, 0x02, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8A))
"""No reserved bits, a known opcode, and control frames are never fragments."""


class FrameSplitter:
    """One connection's incoming bytes.

    Args:
        payload_bytes_max: the largest payload of one frame.

    Attributes:
        is_given_up: whether a frame that can never be right has been returned, and is followed by whatever comes.
    """

    __slots__ = ("_at", "_payload_max", "_pending", "is_given_up")

    def __init__(self, *, payload_bytes_max: int) -> None:
        self._payload_max = payload_bytes_max
        self._pending = b""
        self._at = 0
        self.is_given_up = False

    @property
    def is_between_frames(self) -> bool:
        """Whether every byte was returned, and the next one begins a frame."""
        return not self._pending and not self.is_given_up

    def feed(self, data: bytes) -> None:
        """Take what was read. It is kept until `next` has returned it."""
        self._pending = self._pending[self._at :] + data if self._pending else data
        self._at = 0

    def next(self) -> bytes | None:
        """Return the next whole frame, with its header; None if there is none yet."""
        data, at = self._pending, self._at
        size = len(data) - at
        if self.is_given_up:
            return self._rest() if size else None
        if size < 2:
            return None
        start, length = HEADER_BYTES[data[at + 1]], payload_bytes(data, at)
        if _is_wrong(data[at], data[at + 1]) or length > self._payload_max:
            self.is_given_up = True
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


def payload_of(frame: bytes) -> bytes:
    """Return the payload of a whole, masked frame."""
    start = header_bytes(frame)
    return unmask(frame[start:], frame[start - MASK_BYTES : start])


def _is_wrong(first: int, second: int) -> bool:
    """Whether a frame that begins so can never be right. The library is told at once, as if it had read it itself."""
    is_large_control = first & _CONTROL and second & 0x7F > 125
    return second < MASKED or first not in _POSSIBLE_FIRST or bool(is_large_control)
