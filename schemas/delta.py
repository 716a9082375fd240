"""The delta codec: what changed between two snapshots of a channel, in the fewest bytes, in integers.

A snapshot of a table is its entities' ids in ascending order and one int64 column a field. A delta says who
left, who entered, and one residual an entity for each column, against the cheapest of three predictions:

    LAST      the value the client has
    LINEAR    that value plus its last difference: steady motion costs nearly nothing
    CHANGED   LAST again, but only for the entities whose bit is set

One section a table that has something to say, in this order (varint is LEB128):

    varint   1 + the table's place in the description; 0 ends the sections
    varint   number of entities that left, then their places in the baseline, each varint less the one before
    varint   number that entered, then their ids, each varint less the one before
    a column a field, for those that entered:  byte width, zigzag values packed
    a column a field, for those that stayed:   byte (predictor << 6 | width), [bitmask], zigzag residuals packed
    varint   number of texts; 0, until texts and blobs have a field kind

A column of width 0 has no packed bytes: a field in which nothing changed costs one byte. Packed values are
little-endian bit order, filled up to a whole byte. After the sections a checksum may follow: CRC-32 (zlib) over
each table's ids (u32) and columns (i64), little-endian.

Pure; imports numpy and schemas only. Both ends run this code, or code that agrees with schemas/golden/.
"""

from __future__ import annotations

import enum
import zlib

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.errors import MalformedMessage
from schemas.fields import Field
from schemas.packing import Source, pack_bits, varint, zigzag

Ids = NDArray[np.uint32]
Matrix = NDArray[np.int64]
CHECKSUM_BYTES = 4
ENTITIES_MAX = 1 << 16
"""The most entities of one table in a channel."""


class Predictor(enum.IntEnum):
    """What a residual is relative to."""

    LAST = 0
    LINEAR = 1
    CHANGED = 2


class Columns(msgspec.Struct, frozen=True, eq=False):
    """One table at one tick.

    Args:
        ids: (entities,), ascending.
        values: (fields, entities), quantised.
        before: (fields, entities): the values one snapshot earlier, for LINEAR; an entity that has just
            entered has its own values there.
    """

    ids: Ids
    values: Matrix
    before: Matrix


def empty_columns(field_count: int) -> Columns:
    """A table with nobody in it."""
    nothing = np.empty((field_count, 0), np.int64)
    return Columns(np.empty(0, np.uint32), nothing, nothing)


class TableCodec:
    """Encodes and decodes one table's sections.

    Args:
        fields: the table's replicated fields, in order.
    """

    def __init__(self, fields: tuple[Field, ...]) -> None:
        self.fields = fields
        self._wrapping = [(row, 1 << field.bits) for row, field in enumerate(fields) if field.wraps]
        self._lows = np.array([field.range[0] for field in fields], np.int64).reshape(-1, 1)
        self._highs = np.array([field.range[1] for field in fields], np.int64).reshape(-1, 1)

    def successor(self, base: Columns, ids: Ids, values: Matrix) -> Columns:
        """The snapshot that follows `base` for whoever stands on it: `before` filled in."""
        if base.ids.size == ids.size and np.array_equal(base.ids, ids):
            return Columns(ids, values, base.values)
        before = values.copy()
        stayed_now, stayed_then = _shared(ids, base.ids)
        before[:, stayed_now] = base.values[:, stayed_then]
        return Columns(ids, values, before)

    # -- writing --------------------------------------------------------------------------------------------

    def encode(self, base: Columns, now: Columns) -> bytes:
        """The section's bytes from `base` to `now`, without the table's place; empty when nothing changed."""
        if base.ids.size == now.ids.size and np.array_equal(base.ids, now.ids):
            if np.array_equal(base.values, now.values):
                return b""
            return b"\0\0" + self._encode_stayed(base.values, base.before, now.values) + b"\0"
        here, there = _shared(now.ids, base.ids)
        left = np.setdiff1d(np.arange(base.ids.size), there, assume_unique=True)
        is_new = np.ones(now.ids.size, np.bool_)
        is_new[here] = False
        out = [_encode_ascending(left), _encode_ascending(now.ids[is_new])]
        if is_new.any():
            out += [_encode_plain(row) for row in zigzag(now.values[:, is_new])]
        out.append(self._encode_stayed(base.values[:, there], base.before[:, there], now.values[:, here]))
        out.append(b"\0")
        return b"".join(out)

    def _encode_stayed(self, last: Matrix, before: Matrix, now: Matrix) -> bytes:
        count = now.shape[1]
        if count == 0:
            return b""
        against_last = now - last
        against_line = against_last - (last - before)
        for row, modulus in self._wrapping:
            against_last[row] = _wrapped(against_last[row], modulus)
            against_line[row] = _wrapped(against_line[row], modulus)
        against_last, against_line = zigzag(against_last), zigzag(against_line)
        # The widest residual of each column decides its width; an or of all has the same highest bit.
        widths_last = [int(w).bit_length() for w in np.bitwise_or.reduce(against_last, axis=1)]
        widths_line = [int(w).bit_length() for w in np.bitwise_or.reduce(against_line, axis=1)]
        changed = np.count_nonzero(against_last, axis=1)
        out = []
        for row, (last_width, line_width) in enumerate(zip(widths_last, widths_line, strict=True)):
            if last_width == 0:
                out.append(b"\0")
                continue
            masked_bits = count + int(changed[row]) * last_width
            if line_width * count < min(last_width * count, masked_bits):
                out.append(bytes((Predictor.LINEAR << 6 | line_width,)) + pack_bits(against_line[row], line_width))
            elif masked_bits < last_width * count:
                is_set = against_last[row] != 0
                out.append(bytes((Predictor.CHANGED << 6 | last_width,)))
                out.append(np.packbits(is_set, bitorder="little").tobytes())
                out.append(pack_bits(against_last[row][is_set], last_width))
            else:
                out.append(bytes((Predictor.LAST << 6 | last_width,)) + pack_bits(against_last[row], last_width))
        return b"".join(out)

    # -- reading --------------------------------------------------------------------------------------------

    def decode(self, source: Source, base: Columns) -> Columns:
        """Reads one section and gives what stands after it.

        Raises:
            MalformedMessage: the section does not fit `base`, or a value is out of its field's range.
        """
        left = source.ascending(base.ids.size)
        entered = source.ascending(1 << 32)
        if entered.size and entered[0] == 0:
            raise MalformedMessage("entity 0 is nobody")
        stays = np.ones(base.ids.size, np.bool_)
        stays[left] = False
        if int(stays.sum()) + entered.size > ENTITIES_MAX:
            raise MalformedMessage(f"a channel holds at most {ENTITIES_MAX} entities of a table")
        fresh = np.empty((len(self.fields), entered.size), np.int64)
        for row in range(len(self.fields) if entered.size else 0):
            fresh[row] = source.plain(entered.size)
        last, before = base.values[:, stays], base.before[:, stays]
        values = self._decode_stayed(source, last, before)
        if source.varint() != 0:
            raise MalformedMessage("texts are not part of this schema version")
        ids = base.ids[stays]
        if entered.size:
            if np.isin(entered, ids).any():
                raise MalformedMessage("an entity entered that is there already")
            ids = np.concatenate([ids, entered.astype(np.uint32)])
            order = np.argsort(ids, kind="stable")
            ids = ids[order]
            values = np.concatenate([values, fresh], axis=1)[:, order]
            last = np.concatenate([last, fresh], axis=1)[:, order]
        if ((values < self._lows) | (values > self._highs)).any():
            raise MalformedMessage("a value is out of its field's range")
        return Columns(ids, values, last)

    def _decode_stayed(self, source: Source, last: Matrix, before: Matrix) -> Matrix:
        values = np.empty_like(last)
        count = last.shape[1]
        if count == 0:
            return values
        for row in range(len(self.fields)):
            predictor, width = divmod(source.byte(), 64)
            predicted = last[row]
            if predictor == Predictor.CHANGED:
                is_set = source.mask(count)
                residuals = np.zeros(count, np.int64)
                residuals[is_set] = source.packed(int(is_set.sum()), width)
            elif predictor in (Predictor.LAST, Predictor.LINEAR):
                residuals = source.packed(count, width)
                if predictor == Predictor.LINEAR:
                    predicted = 2 * predicted - before[row]
            else:
                raise MalformedMessage(f"predictor {predictor} is not known")
            values[row] = predicted + residuals
        for row, modulus in self._wrapping:
            values[row] &= modulus - 1
        return values


# -- a channel: several tables ------------------------------------------------------------------------------


def encode_channel(codecs: tuple[TableCodec, ...], base: tuple[Columns, ...], now: tuple[Columns, ...]) -> bytes:
    """The packed part of a state frame: all tables' sections, without a checksum."""
    out = bytearray()
    for place, (codec, table_base, table_now) in enumerate(zip(codecs, base, now, strict=True)):
        section = codec.encode(table_base, table_now)
        if section:
            out += varint(place + 1)
            out += section
    out.append(0)
    return bytes(out)


def decode_channel(
    codecs: tuple[TableCodec, ...], base: tuple[Columns, ...], packed: bytes, *, has_checksum: bool
) -> tuple[tuple[Columns, ...], bool]:
    """Applies a packed part to what the client has.

    Returns:
        The tables after it, and whether the checksum, if there is one, agrees.

    Raises:
        MalformedMessage: the bytes do not fit the baseline.
    """
    source = Source(packed)
    tables = [codec.successor(table, table.ids, table.values) for codec, table in zip(codecs, base, strict=True)]
    seen = 0
    while place := source.varint():
        if not seen < place <= len(codecs):
            raise MalformedMessage(f"section for table {place - 1}, out of order or unknown")
        seen = place
        tables[place - 1] = codecs[place - 1].decode(source, base[place - 1])
    now = tuple(tables)
    agrees = not has_checksum or source.take(CHECKSUM_BYTES) == checksum(now)
    source.finish()
    return now, agrees


def checksum(tables: tuple[Columns, ...]) -> bytes:
    """CRC-32 over all tables' ids and columns: four bytes, little-endian."""
    crc = 0
    for table in tables:
        crc = zlib.crc32(table.ids.astype("<u4", copy=False).tobytes(), crc)
        crc = zlib.crc32(table.values.astype("<i8", copy=False).tobytes(), crc)
    return crc.to_bytes(CHECKSUM_BYTES, "little")


def _wrapped(residuals: Matrix, modulus: int) -> Matrix:
    half = modulus >> 1
    return ((residuals + half) & (modulus - 1)) - half


def _encode_plain(row: Matrix) -> bytes:
    width = int(np.bitwise_or.reduce(row)).bit_length()
    return bytes((width,)) + (pack_bits(row, width) if width else b"")


def _encode_ascending(numbers: NDArray[np.integer]) -> bytes:
    steps = np.diff(numbers.astype(np.int64), prepend=0).tolist()
    return varint(len(steps)) + b"".join(map(varint, steps))


def _shared(now: Ids, then: Ids) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where the ids that stand in both stand in each."""
    _, here, there = np.intersect1d(now, then, assume_unique=True, return_indices=True)
    return here, there
