"""Numbers in as few bits as they need: LEB128, zigzag, and columns of one width. What reads them trusts nothing.

Pure; imports numpy and schemas.errors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from schemas.errors import MalformedMessage

Matrix = NDArray[np.int64]


class Source:
    """Reads a packed part from the front; whatever does not fit is a MalformedMessage."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if self._at + count > len(self._data):
            raise MalformedMessage("the packed part ends too early")
        self._at += count
        return self._data[self._at - count : self._at]

    def byte(self) -> int:
        """The next byte."""
        return self.take(1)[0]

    def varint(self) -> int:
        """The next LEB128 number, at most 35 bits."""
        value = 0
        for shift in range(0, 35, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise MalformedMessage("a number is too long")

    def ascending(self, limit: int) -> NDArray[np.int64]:
        """A count, then that many ascending numbers below `limit`, each less the one before."""
        count = self.varint()
        if count > len(self._data) - self._at:
            raise MalformedMessage("a list is longer than the message")
        steps = np.fromiter((self.varint() for _ in range(count)), np.int64, count)
        if count and (steps[1:] == 0).any():
            raise MalformedMessage("a list names something twice")
        numbers = np.cumsum(steps)
        if count and numbers[-1] >= limit:
            raise MalformedMessage(f"{numbers[-1]} is not below {limit}")
        return numbers

    def mask(self, count: int) -> NDArray[np.bool_]:
        """`count` bits."""
        bits = np.frombuffer(self.take((count + 7) // 8), np.uint8)
        return np.unpackbits(bits, count=count, bitorder="little").astype(np.bool_)

    def plain(self, count: int) -> Matrix:
        """A width, then `count` values."""
        return self.packed(count, self.byte())

    def packed(self, count: int, width: int) -> Matrix:
        """`count` zigzag values of `width` bits each."""
        if width > 63:
            raise MalformedMessage(f"a column of {width} bits")
        return unzigzag(unpack_bits(self.take((count * width + 7) // 8), count, width))

    def finish(self) -> None:
        """All must have been read."""
        if self._at != len(self._data):
            raise MalformedMessage(f"{len(self._data) - self._at} bytes too many")


def varint(value: int) -> bytes:
    """A number as LEB128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def pack_bits(values: NDArray[np.int64], width: int) -> bytes:
    """Non-negative values, the lowest `width` bits of each, one after another, lowest bit first."""
    octets = (width + 7) // 8
    rows = np.ascontiguousarray(values, "<i8").view(np.uint8).reshape(-1, 8)[:, :octets]
    bits = np.unpackbits(rows, axis=1, bitorder="little")[:, :width]
    return np.packbits(bits, bitorder="little").tobytes()


def unpack_bits(data: bytes, count: int, width: int) -> NDArray[np.int64]:
    """The reverse of `pack_bits`."""
    if width == 0 or count == 0:
        return np.zeros(count, np.int64)
    bits = np.unpackbits(np.frombuffer(data, np.uint8), count=count * width, bitorder="little")
    rows = np.zeros((count, 8), np.uint8)
    octets = np.packbits(bits.reshape(count, width), axis=1, bitorder="little")
    rows[:, : octets.shape[1]] = octets
    return rows.view("<i8").reshape(count).astype(np.int64, copy=False)


def zigzag(values: Matrix) -> Matrix:
    """Signed to unsigned, small staying small: 0, -1, 1, -2 become 0, 1, 2, 3."""
    return (values << 1) ^ (values >> 63)


def unzigzag(values: Matrix) -> Matrix:
    """The reverse of `zigzag`."""
    return (values >> 1) ^ -(values & 1)
