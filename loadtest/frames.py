"""Splits a server's byte stream into messages, and frames a client's messages. Pure. Layout: RFC 6455, section 5.2.

Complete, final, unmasked binary frames are handled here. Every other frame is passed to the WebSocket library as a
whole. An invalid frame is passed to it with all bytes that follow, so that the library reports the error.
"""

from __future__ import annotations

from collections.abc import Callable

from websockets.speedups import apply_mask

from tickwire.schemas.framing import (
    FIN_BINARY,
    HEADER_BYTES,
    MASKED,
    SHORT_PAYLOAD_MAX,
    masked_frame_header,
    payload_bytes,
)


class FrameReader:
    """Reads the incoming bytes of one connection.

    Args:
        payload_bytes_max: the largest payload of one frame.
        on_message: called with each binary message.
        on_other: called with every other frame.
    """

    __slots__ = ("_on_message", "_on_other", "_passes_through", "_payload_max", "_pending")

    def __init__(
        self, *, payload_bytes_max: int, on_message: Callable[[bytes], None], on_other: Callable[[bytes], None]
    ) -> None:
        self._payload_max = payload_bytes_max
        self._on_message = on_message
        self._on_other = on_other
        self._pending = b""
        self._passes_through = False

    def close(self) -> None:
        """Release the callbacks. `feed` must not be called afterwards."""
        self._on_message = self._on_other = _ignore

    def feed(self, data: bytes) -> bool:
        """Process received bytes. At most one incomplete frame is kept.

        Returns:
            Whether the next bytes begin a frame.
        """
        if self._passes_through:
            self._on_other(data)
            return False
        if self._pending:
            data = self._pending + data
        at, size = 0, len(data)
        while size - at >= 2:
            second = data[at + 1]
            start, length = at + HEADER_BYTES[second], payload_bytes(data, at)
            if second >= MASKED or length > self._payload_max:
                self._passes_through = True
                self._pending = b""
                self._on_other(data[at:])
                return False
            end = start + length
            if size < end:
                break
            if data[at] == FIN_BINARY:
                self._on_message(data[start:end])
            else:
                self._on_other(data[at:end])
            at = end
        self._pending = data[at:] if at < size else b""
        return at >= size


def find_frame(data: bytes, at: int) -> tuple[int, int]:
    """Return the start and the end of the payload of the frame at a position.

    Args:
        data: received bytes.
        at: the position of the first byte of a frame.

    Returns:
        Two positions; zeros if the frame is not a complete, final, unmasked binary frame.
    """
    size = len(data)
    if size < at + 2 or data[at] != FIN_BINARY:
        return 0, 0
    second = data[at + 1]
    start = at + HEADER_BYTES[second]
    end = start + (second if second <= SHORT_PAYLOAD_MAX else payload_bytes(data, at))
    return (start, end) if end <= size and second < MASKED else (0, 0)


def _ignore(data: bytes) -> None:
    pass


def masked_frame(payload: bytes, key: bytes) -> bytes:
    """Encode `payload` as one final binary frame with a mask of four bytes."""
    return masked_frame_header(len(payload)) + key + apply_mask(payload, key)
