"""Cuts a client's byte stream into whole WebSocket frames, and takes the one shape that is nearly all of them.

Pure. A complete, final, unfragmented, masked binary frame is unmasked here; every other frame goes, whole, to
the WebSocket library, which therefore always stands at a frame's boundary. A frame that can never be right
(unmasked, larger than allowed, of no known kind) goes to the library with everything behind it, and the library
says why.
Layout: RFC 6455, section 5.2.
"""

from __future__ import annotations

from collections.abc import Callable

from server.edge.masking import unmask

FIN_BINARY = 0x82
MASKED = 0x80
_CONTROL = 0x08
_POSSIBLE_FIRST = frozenset((0x00, 0x01, 0x02, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8A))
"""No reserved bits, a known opcode, and control frames are never fragments."""


class Splitter:
    """One connection's incoming bytes.

    Args:
        payload_bytes_max: the largest payload of one frame.
        message: gets each binary message that was taken here.
        library: gets each other frame, or all that is left once a frame can never be right.
        is_fragmented: whether the library waits for the rest of a fragmented message.
    """

    __slots__ = ("_is_fragmented", "_is_given_up", "_library", "_message", "_payload_max", "_pending")

    def __init__(
        self,
        *,
        payload_bytes_max: int,
        message: Callable[[bytes], None],
        library: Callable[[bytes], None],
        is_fragmented: Callable[[], bool],
    ) -> None:
        self._payload_max = payload_bytes_max
        self._message = message
        self._library = library
        self._is_fragmented = is_fragmented
        self._pending = b""
        self._is_given_up = False

    def close(self) -> None:
        """Lets go of whoever was told: nothing is fed any more."""
        self._message = self._library = _ignore
        self._is_fragmented = _never

    @property
    def is_between_frames(self) -> bool:
        """Whether everything that was fed has been given on, and what comes next begins a frame."""
        return not self._pending and not self._is_given_up

    def feed(self, data: bytes) -> None:
        """Takes what was read; keeps at most one incomplete frame."""
        if self._is_given_up:
            self._library(data)
            return
        if self._pending:
            data = self._pending + data
        at, size = 0, len(data)
        while size - at >= 2 and not self._is_given_up:
            first, second = data[at], data[at + 1]
            length = second & 0x7F
            start = at + 6
            if length == 126:
                start += 2
                length = int.from_bytes(data[at + 2 : at + 4], "big")
            elif length == 127:
                start += 8
                length = int.from_bytes(data[at + 2 : at + 10], "big")
            if _is_wrong(first, second) or (size >= start - 4 and length > self._payload_max):
                self._is_given_up = True
                self._library(data[at:])
                return
            end = start + length
            if size < start or size < end:
                break
            if first == FIN_BINARY and not self._is_fragmented():
                self._message(unmask(data[start:end], data[start - 4 : start]))
            else:
                self._library(data[at:end])
            at = end
        self._pending = data[at:] if at else data


def _ignore(data: bytes) -> None:
    pass


def _never() -> bool:
    return False


def _is_wrong(first: int, second: int) -> bool:
    """Whether a frame that begins so can never be right. The library is told at once, as if it had read it itself."""
    is_large_control = first & _CONTROL and second & 0x7F > 125
    return second < MASKED or first not in _POSSIBLE_FIRST or bool(is_large_control)
