"""Numbers in as few bits as they need: LEB128, zigzag, codes of any width. What reads them trusts nothing.

Pure; imports numpy and tickwire.schemas.errors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tickwire.schemas.errors import MalformedMessage

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

    def rest(self) -> bytes:
        """All that is left, without taking it."""
        return self._data[self._at :]

    @property
    def left(self) -> int:
        """How many bytes have not been read."""
        return len(self._data) - self._at

    @property
    def is_at_end(self) -> bool:
        """Whether all has been read."""
        return self._at == len(self._data)

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


def pack_codes(codes: Matrix, widths: NDArray[np.integer]) -> bytes:
    """The lowest `widths[i]` bits of each code, one after another, lowest bit first, filled up to a whole byte.

    Args:
        codes: (codes,), contiguous.
        widths: (codes,): 0 to 64 bits each; a code of none leaves no trace.
    """
    octets = (int(widths.max(initial=0)) + 7) // 8
    if not octets:
        return b""
    rows = codes.view(np.uint8).reshape(-1, 8)[:, :octets]
    bits = np.unpackbits(rows, axis=1, bitorder="little")
    return np.packbits(bits[_PLACES[: 8 * octets] < widths[:, None]], bitorder="little").tobytes()


_PLACES = np.arange(64, dtype=np.uint8)


class BitReader:
    """Reads a stream of bits, lowest first, from where a source stands; `finish` takes what was read from it."""

    __slots__ = ("_at", "_bits", "_data", "_size", "_source")

    def __init__(self, source: Source) -> None:
        self._source = source
        self._data = source.rest()
        self._size = 8 * len(self._data)
        self._at = 0
        self._bits: NDArray[np.uint8] | None = None

    @property
    def at(self) -> int:
        """How many bits have been read."""
        return self._at

    def number(self, width: int) -> int:
        """The next `width` bits."""
        start = self._take(width)
        first = start >> 3
        return int.from_bytes(self._data[first : first + 8], "little") >> (start & 7) & ((1 << width) - 1)

    def bits(self, count: int) -> NDArray[np.uint8]:
        """The next `count` bits, each as 0 or 1."""
        start = self._take(count)
        if self._bits is None:
            self._bits = np.unpackbits(np.frombuffer(self._data, np.uint8), bitorder="little")
        return self._bits[start : start + count]

    def unsigned(self, count: int, width: int) -> Matrix:
        """`count` numbers of `width` bits each."""
        if not width:
            return np.zeros(count, np.int64)
        return _numbers(self.bits(count * width).reshape(count, width))

    def zigzag(self, count: int, width: int) -> Matrix:
        """`count` zigzag numbers of `width` bits each."""
        return unzigzag(self.unsigned(count, width))

    def unary(self, count: int, limit: int) -> Matrix:
        """`count` numbers, each as so many zeros and a one.

        Raises:
            MalformedMessage: one is above `limit`.
        """
        start = self._at
        most = self.bits(min(count * (limit + 1), self._size - start))
        ones = np.flatnonzero(most)[:count]
        numbers = np.diff(ones, prepend=-1) - 1
        if ones.size < count or (numbers > limit).any():
            raise MalformedMessage("a code is too long, or ends too early")
        self._at = start + int(ones[-1]) + 1
        return numbers

    def mixed(self, is_wide: NDArray[np.bool_], wide: int, narrow: int) -> Matrix:
        """Numbers of `wide` bits where the mask is set, of `narrow` bits elsewhere."""
        ends = np.cumsum(np.where(is_wide, wide, narrow))
        bits = self.bits(int(ends[-1]))
        numbers = np.zeros(is_wide.size, np.int64)
        for mask, width in ((is_wide, wide), (~is_wide, narrow)):
            if width:
                numbers[mask] = _numbers(bits[ends[mask][:, None] - width + np.arange(width)])
        return numbers

    def finish(self) -> None:
        """The stream ends here: the source goes on at the next whole byte."""
        self._source.take((self._at + 7) >> 3)

    def _take(self, count: int) -> int:
        start = self._at
        self._at += count
        if self._at > self._size:
            raise MalformedMessage("the packed part ends too early")
        return start


def _numbers(bits: NDArray[np.uint8]) -> Matrix:
    """(numbers, width) bits as numbers."""
    octets = np.packbits(bits, axis=1, bitorder="little")
    rows = np.zeros((len(bits), 8), np.uint8)
    rows[:, : octets.shape[1]] = octets
    return rows.view("<i8").reshape(len(bits)).astype(np.int64, copy=False)


def bit_lengths(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many bits each number has; none is negative."""
    # A double holds 53 bits exactly; above that the rounding could reach the next power of two.
    high = values >> 32
    return np.where(high > 0, np.frexp(high)[1] + 32, np.frexp(values)[1]).astype(np.int64)


def zigzag(values: Matrix) -> Matrix:
    """Signed to unsigned, small staying small: 0, -1, 1, -2 become 0, 1, 2, 3."""
    return (values << 1) ^ (values >> 63)


def zigzag_in_place(values: Matrix) -> Matrix:
    """The same without a copy: `values` is changed and given back."""
    signs = values >> 63
    values <<= 1
    values ^= signs
    return values


def unzigzag(values: Matrix) -> Matrix:
    """The reverse of `zigzag`."""
    return (values >> 1) ^ -(values & 1)
