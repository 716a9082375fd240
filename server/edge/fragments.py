"""Joins the fragments of a message (RFC 6455, section 5.4). Pure."""

from __future__ import annotations

from typing import NamedTuple

from websockets.frames import Frame, Opcode


class FragmentedMessage(NamedTuple):
    """A complete message."""

    data: bytes
    is_text: bool


class Fragments:
    """The fragments of one connection. The WebSocket library has checked their order and their size."""

    __slots__ = ("_data", "_is_text")

    def __init__(self) -> None:
        self._data: bytearray | None = None  # None between messages: few clients send fragments
        self._is_text = False

    def add(self, frame: Frame) -> FragmentedMessage | None:
        """Add a frame; return the message that it completes. Control frames are ignored: the library handles them."""
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._is_text = frame.opcode is Opcode.TEXT
            self._data = bytearray()
        elif frame.opcode is not Opcode.CONT:
            return None
        assert self._data is not None, "the library rejects a continuation without a first fragment"
        self._data += frame.data
        if not frame.fin:
            return None
        data, self._data = bytes(self._data), None
        return FragmentedMessage(data, self._is_text)
