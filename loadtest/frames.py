"""A server's byte stream cut into messages, and a client's messages framed. Pure. Layout: RFC 6455, section 5.2.

Whole, final, unmasked binary frames are taken here; every other frame goes, whole, to the WebSocket library, and one
that can never be right goes there with all that follows, so that the library says why.
"""

from __future__ import annotations

from collections.abc import Callable

from websockets.speedups import apply_mask

from tickwire.schemas.framing import FIN_BINARY, HEADER_BYTES, MASKED, masked_frame_header, payload_bytes


class FrameReader:
    """One connection's incoming bytes.

    Args:
        payload_bytes_max: the largest payload of one frame.
        on_message: gets each binary message.
        on_other: gets every other frame.
    """

    __slots__ = ("_is_given_up", "_on_message", "_on_other", "_payload_max", "_pending")

    def __init__(
        self, *, payload_bytes_max: int, on_message: Callable[[bytes], None], on_other: Callable[[bytes], None]
    ) -> None:
        self._payload_max = payload_bytes_max
        self._on_message = on_message
        self._on_other = on_other
        self._pending = b""
        self._is_given_up = False

    def close(self) -> None:
        """Lets go of whoever was told: nothing is fed any more."""
        self._on_message = self._on_other = _ignore

    def feed(self, data: bytes) -> None:
        """Takes what was read; keeps at most one incomplete frame."""
        if self._is_given_up:
            self._on_other(data)
            return
        if self._pending:
            data = self._pending + data
        at, size = 0, len(data)
        while size - at >= 2:
            second = data[at + 1]
            start, length = at + HEADER_BYTES[second], payload_bytes(data, at)
            if second >= MASKED or length > self._payload_max:
                self._is_given_up = True
                self._pending = b""
                self._on_other(data[at:])
                return
            end = start + length
            if size < end:
                break
            if data[at] == FIN_BINARY:
                self._on_message(data[start:end])
            else:
                self._on_other(data[at:end])
            at = end
        self._pending = data[at:] if at else data


def _ignore(data: bytes) -> None:
    pass


def masked_frame(payload: bytes, key: bytes) -> bytes:
    """One final binary frame that holds `payload`, under a mask of four bytes."""
    return masked_frame_header(len(payload)) + key + apply_mask(payload, key)
