"""Numbers in as few bits as possible: LEB128, zigzag, codes of any width. The readers check every length.

Pure; imports numpy and tickwire.schemas.errors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tickwire.schemas.errors import MalformedMessage

Matrix = NDArray[np.int64]


class ByteReader:
    """Reads a packed part from the front; every method raises MalformedMessage if the bytes do not fit."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def read(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        if self._at + count > len(self._data):
            raise MalformedMessage("the packed part ends too early")
        self._at += count
        return self._data[self._at - count : self._at]

    def byte(self) -> int:
        """Return the next byte."""
        return self.read(1)[0]

    def varint(self) -> int:
        """Return the next LEB128 number, of at most 35 bits."""
        at = self._at
        if at < len(self._data) and self._data[at] < 0x80:  # most numbers have one byte
            self._at = at + 1
            return self._data[at]
        value = 0
        for shift in range(0, 35, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise MalformedMessage("a varint has more than 5 bytes")

    def ascending(self, limit: int) -> NDArray[np.int64]:
        """Read a count, then as many ascending numbers below `limit`, each as the difference from the one before."""
        count = self.varint()
        if count > len(self._data) - self._at:
            raise MalformedMessage("a list is longer than the message")
        steps = np.fromiter((self.varint() for _ in range(count)), np.int64, count)
        if count and (steps[1:] == 0).any():
            raise MalformedMessage("a list has the same number twice")
        numbers = np.cumsum(steps)
        if count and numbers[-1] >= limit:
            raise MalformedMessage(f"a list has {numbers[-1]}, which must be below {limit}")
        return numbers

    def remaining(self) -> bytes:
        """Return the bytes that have not been read, without reading them."""
        return self._data[self._at :]

    @property
    def data(self) -> bytes:
        """All bytes, read or not."""
        return self._data

    @property
    def position(self) -> int:
        """The number of bytes that have been read."""
        return self._at

    def advance_to(self, position: int) -> None:
        """Skip to a position that is not beyond the end."""
        self._at = position

    @property
    def bytes_left(self) -> int:
        """The number of bytes that have not been read."""
        return len(self._data) - self._at

    @property
    def is_at_end(self) -> bool:
        """Whether all bytes have been read."""
        return self._at == len(self._data)

    def finish(self) -> None:
        """Check that all bytes have been read."""
        if self._at != len(self._data):
            raise MalformedMessage(f"{len(self._data) - self._at} surplus bytes at the end of the packed part")


_ONE_BYTE = [bytes((value,)) for value in range(0x80)]


def varint(value: int) -> bytes:
    """Return a number as LEB128."""
    if value <= 0x7F:
        return _ONE_BYTE[value]
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def pack_codes(codes: Matrix, widths: NDArray[np.integer]) -> bytes:
    """Return the lowest `widths[i]` bits of each code, lowest bit first, padded with zeros to a whole byte.

    Args:
        codes: (codes,) int64, contiguous.
        widths: (codes,): 0 to 64 bits each; a code of 0 bits writes nothing.
    """
    octets = (int(widths.max(initial=0)) + 7) // 8
    if not octets:
        return b""
    rows = codes.view(np.uint8).reshape(-1, 8)[:, :octets]
    bits = np.unpackbits(rows, axis=1, bitorder="little")
    return np.packbits(bits[_BIT_NUMBERS[: 8 * octets] < widths[:, None]], bitorder="little").tobytes()


_BIT_NUMBERS = np.arange(64, dtype=np.uint8)


class BitReader:
    """Reads a stream of bits, lowest first, from the position of a ByteReader; `finish` advances the ByteReader.

    Every method raises MalformedMessage if the stream is too short.
    """

    __slots__ = ("_at", "_bits", "_data", "_size", "_source")

    def __init__(self, source: ByteReader) -> None:
        self._source = source
        self._data = source.remaining()
        self._size = 8 * len(self._data)
        self._at = 0
        self._bits: NDArray[np.uint8] | None = None

    @property
    def position(self) -> int:
        """The number of bits that have been read."""
        return self._at

    def number(self, width: int) -> int:
        """Return the next `width` bits as a number."""
        start = self._advance(width)
        first = start >> 3
        return int.from_bytes(self._data[first : first + 8], "little") >> (start & 7) & ((1 << width) - 1)

    def bits(self, count: int) -> NDArray[np.uint8]:
        """Return the next `count` bits, each as 0 or 1."""
        start = self._advance(count)
        if self._bits is None:
            self._bits = np.unpackbits(np.frombuffer(self._data, np.uint8), bitorder="little")
        return self._bits[start : start + count]

    def unsigned(self, count: int, width: int) -> Matrix:
        """Return the next `count` numbers of `width` bits each."""
        if not width:
            return np.zeros(count, np.int64)
        return _numbers(self.bits(count * width).reshape(count, width))

    def zigzag(self, count: int, width: int) -> Matrix:
        """Return the next `count` zigzag numbers of `width` bits each."""
        return unzigzag(self.unsigned(count, width))

    def unary(self, count: int, limit: int) -> Matrix:
        """Return the next `count` unary numbers: `n` zeros and a one encode `n`.

        Raises:
            MalformedMessage: a number is above `limit`.
        """
        start = self._at
        most = self.bits(min(count * (limit + 1), self._size - start))
        ones = np.flatnonzero(most)[:count]
        numbers = ones.copy()
        numbers[1:] -= ones[:-1] + 1
        if ones.size < count or (numbers > limit).any():
            raise MalformedMessage(f"a unary code is above {limit}, or ends too early")
        self._at = start + int(ones[-1]) + 1
        return numbers

    def mixed(self, is_wide: NDArray[np.bool_], wide: int, narrow: int) -> Matrix:
        """Return the next numbers, of `wide` bits if the mask is set, else of `narrow` bits."""
        ends = np.cumsum(np.where(is_wide, wide, narrow))
        bits = self.bits(int(ends[-1]))
        numbers = np.zeros(is_wide.size, np.int64)
        for mask, width in ((is_wide, wide), (~is_wide, narrow)):
            if width:
                numbers[mask] = _numbers(bits[ends[mask][:, None] - width + np.arange(width)])
        return numbers

    def finish(self) -> None:
        """End the stream, and advance the ByteReader to the next whole byte."""
        self._source.read((self._at + 7) >> 3)

    def _advance(self, count: int) -> int:
        start = self._at
        self._at += count
        if self._at > self._size:
            raise MalformedMessage("the packed part ends too early")
        return start


def _numbers(bits: NDArray[np.uint8]) -> Matrix:
    """Return the numbers of (numbers, width) bits."""
    octets = np.packbits(bits, axis=1, bitorder="little")
    rows = np.zeros((len(bits), 8), np.uint8)
    rows[:, : octets.shape[1]] = octets
    return rows.view("<i8").reshape(len(bits)).astype(np.int64, copy=False)


def bit_lengths(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bit length of each number; all must be at least 0."""
    # A double has 53 bits; larger numbers could be rounded up to the next power of two.
    high = values >> 32
    return np.where(high > 0, np.frexp(high)[1] + 32, np.frexp(values)[1]).astype(np.int64)


def zigzag(values: Matrix) -> Matrix:
    """Return signed numbers as unsigned ones, small as small: 0, -1, 1, -2 become 0, 1, 2, 3."""
    return (values << 1) ^ (values >> 63)


def zigzag_in_place(values: Matrix) -> Matrix:
    """Apply `zigzag` to `values` without a copy, and return it."""
    signs = values >> 63
    values <<= 1
    values ^= signs
    return values


def unzigzag(values: Matrix) -> Matrix:
    """Reverse `zigzag`."""
    return (values >> 1) ^ -(values & 1)
