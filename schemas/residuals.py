"""Residuals: a column's differences from a prediction, in as few bits as possible.

Each column is predicted in one of four ways; the encoder chooses the smallest in each frame:

    LAST      the value that the client has
    LINEAR    that value plus its last difference: steady motion takes nearly no bits
    CHANGED   LAST, for only the entities whose bit is set
    RICE      LINEAR, with short codes for small residuals and long codes for large ones: a few entities that turn do
              not widen the whole column

In the bit stream (lowest bit first) a column of `n` entities that stayed is:

    1 bit    0: no value has changed, and nothing follows
    2 bits   predictor
    6 bits   width; with RICE: k
    LAST, LINEAR   n residuals of `width` bits
    CHANGED        n bits, then the residuals of those whose bit is set
    RICE           n times: q zeros and a one; then n times: the k lowest bits. The residual is q * 2^k plus these
                   bits. If q is ESCAPE, RAW_BITS bits follow instead, and are the residual

Residuals are zigzag. Those of angles are modulo 2^bits, in the shorter direction. RICE follows Rice, "Some practical
universal noiseless coding techniques", 1979. The format does not prescribe the choice: a decoder reads any predictor.
Pure; imports numpy and schemas only.
"""

from __future__ import annotations

import enum
from math import frexp
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickwire.schemas.bit_packing import BitReader, bit_lengths, pack_codes, unzigzag, zigzag_in_place
from tickwire.schemas.columns import Matrix
from tickwire.schemas.fields import Field

ESCAPE = 24
RAW_BITS = 60
_CHANGED_HEADER_BITS = 9
_MEAN_CAP = 255
"""The limit of a residual when k is chosen: a few large ones must not lengthen the codes of all others."""


class Predictor(enum.IntEnum):
    """The prediction of a column, and the encoding of its residuals."""

    LAST = 0
    LINEAR = 1
    CHANGED = 2
    RICE = 3


class _Layout(NamedTuple):
    """The columns of many groups of entities: their residuals, and the predictor that each group has for each column.

    Attributes:
        counts: (groups,): the number of entities of each group.
        starts: (groups,): the index of each group's first entity.
        group: (entities,): the group of each entity.
        residuals: (2, fields, entities): the zigzag residuals of LAST and of LINEAR.
        is_set: (fields, entities): whether a value has changed.
        quotients: (fields, entities): the unary parts of RICE.
        escapes: (fields, entities): whether a residual is written in RAW_BITS with RICE.
        predictor: (fields, groups).
        parameter: (fields, groups): the width, or `k` of RICE.
        is_idle: (fields, groups): whether no value of a column has changed.
    """

    counts: NDArray[np.int64]
    starts: NDArray[np.int64]
    group: NDArray[np.int64]
    residuals: Matrix
    is_set: NDArray[np.bool_]
    quotients: Matrix
    escapes: NDArray[np.bool_]
    predictor: Matrix
    parameter: Matrix
    is_idle: NDArray[np.bool_]


class Residuals:
    """Writes and reads the columns of the entities that stayed, for one table.

    Args:
        fields: the table's numeric fields, in order.
    """

    def __init__(self, fields: tuple[Field, ...]) -> None:
        self._count = len(fields)
        self._wrapping = [(row, 1 << field.bits) for row, field in enumerate(fields) if field.wraps]
        # The type is explicit: numpy makes an empty list, of a table with texts only, an array of floats.
        halves = [1 << field.bits >> 1 if field.wraps else 0 for field in fields]
        masks = [(1 << field.bits) - 1 if field.wraps else -1 for field in fields]
        self._halves = np.array(halves, np.int64).reshape(-1, 1)
        self._masks = np.array(masks, np.int64).reshape(-1, 1)

    # -- writing --------------------------------------------------------------------------------------------

    def to_codes(self, last: Matrix, before: Matrix, now: Matrix) -> tuple[Matrix, NDArray[np.uint8]]:
        """Encode one table's columns.

        Args:
            last: (fields, entities): the client's values.
            before: (fields, entities): the client's values one snapshot earlier.
            now: (fields, entities): the new values.

        Returns:
            The bit stream, as codes and their widths in bits.
        """
        count = now.shape[1]
        residuals = self._residuals(last, before, now)
        line = residuals[1]
        widths = [[octets.bit_length() for octets in row] for row in np.bitwise_or.reduce(residuals, axis=2).tolist()]
        is_set = residuals[0] != 0
        changed = np.add.reduce(is_set, axis=1, dtype=np.int64).tolist()
        means = np.minimum(line, _MEAN_CAP).sum(axis=1).tolist()
        ks = [max(0, frexp(mean / count)[1] - 1) for mean in means]
        quotients = np.minimum(line >> np.array(ks, np.int64).reshape(-1, 1), ESCAPE)
        escapes = quotients == ESCAPE
        zeros = quotients.sum(axis=1).tolist()
        escaped = np.add.reduce(escapes, axis=1, dtype=np.int64).tolist()
        codes = np.zeros(self._count * (2 * count + 1), np.int64)
        bits = np.zeros(codes.size, np.uint8)
        end = 0
        for row, k in enumerate(ks):
            width, line_width, some = widths[0][row], widths[1][row], changed[row]
            if not width:
                bits[end] = 1
                end += 1
                continue
            rice = zeros[row] + count * (1 + k) + escaped[row] * (RAW_BITS - k)
            costs = (width * count, line_width * count, count + some * width, rice)
            least = costs.index(min(costs))
            parameter = (width, line_width, width, k)[least]
            codes[end], bits[end] = 1 | least << 1 | parameter << 3, _CHANGED_HEADER_BITS
            first, middle, end = end + 1, end + 1 + count, end + 1 + 2 * count
            if least == Predictor.RICE:
                codes[first:middle] = 1 << quotients[row]
                bits[first:middle] = quotients[row] + 1
                codes[middle:end] = line[row]  # cut to its k lowest bits by the width
                bits[middle:end] = np.where(escapes[row], RAW_BITS, k) if escaped[row] else k
            elif least == Predictor.CHANGED:
                codes[first:middle], bits[first:middle] = is_set[row], 1
                end = middle + some
                codes[middle:end], bits[middle:end] = residuals[0, row][is_set[row]], width
            else:
                end = middle
                codes[first:end], bits[first:end] = residuals[least, row], parameter
        return codes[:end], bits[:end]

    def encode_many(self, last: Matrix, before: Matrix, now: Matrix, counts: NDArray[np.int64]) -> list[bytes]:
        """Encode the columns of many groups of entities at once.

        Args:
            last: (fields, entities): the clients' values, group after group.
            before: the values one snapshot earlier.
            now: the new values.
            counts: (groups,): the number of entities of each group, at least one.

        Returns:
            A bit stream per group, padded to a whole byte: equal to `to_codes`, packed group by group.
        """
        starts = np.cumsum(counts) - counts
        group = np.repeat(np.arange(counts.size), counts)
        residuals = self._residuals(last, before, now)
        line = residuals[1]
        # A column is as wide as its widest residual; the bitwise or of all has the same highest bit.
        width = bit_lengths(np.bitwise_or.reduceat(residuals, starts, axis=2))
        is_set = residuals[0] != 0
        changed = np.add.reduceat(is_set, starts, axis=1, dtype=np.int64)
        means = np.add.reduceat(np.minimum(line, _MEAN_CAP), starts, axis=1) / counts
        k = np.maximum(np.frexp(means)[1] - 1, 0).astype(np.int64)
        quotients = np.minimum(line >> k[:, group], ESCAPE)
        escapes = quotients == ESCAPE
        escaped = np.add.reduceat(escapes, starts, axis=1, dtype=np.int64)
        rice = np.add.reduceat(quotients, starts, axis=1) + counts * (1 + k) + escaped * (RAW_BITS - k)
        costs = np.stack([width[0] * counts, width[1] * counts, counts + changed * width[0], rice])
        least = costs.argmin(axis=0)
        parameter = np.choose(least, (width[0], width[1], width[0], k))
        is_idle = width[0] == 0
        return self._lay_out(
            _Layout(counts, starts, group, residuals, is_set, quotients, escapes, least, parameter, is_idle)
        )

    def _lay_out(self, layout: _Layout) -> list[bytes]:
        """Lay out headers, first halves (bits or unary codes) and second halves (values) of all columns.

        Every column of every group has 1 + 2n codes, used or not (a code of 0 bits writes nothing); every group has
        one more code, which pads its last byte.
        """
        counts, starts, group, residuals, is_set, quotients, escapes, predictor, parameter, is_idle = layout
        chosen = predictor[:, group]
        size = 1 + 2 * counts
        group_start = self._count * (2 * starts + np.arange(counts.size)) + np.arange(counts.size)
        column_start = group_start + np.arange(self._count)[:, None] * size
        first = column_start[:, group] + 1 + np.arange(group.size) - starts[group]
        second = first + counts[group]
        total = int(group_start[-1] + self._count * size[-1] + 1)
        codes, bits = np.zeros(total, np.int64), np.zeros(total, np.int64)
        codes[column_start] = np.where(is_idle, 0, 1 | predictor << 1 | parameter << 3)
        bits[column_start] = np.where(is_idle, 1, _CHANGED_HEADER_BITS)
        is_rice, is_masked = chosen == Predictor.RICE, chosen == Predictor.CHANGED
        idle, wide = is_idle[:, group], parameter[:, group]
        codes[first] = np.where(is_rice, 1 << quotients, is_set)
        bits[first] = np.where(is_rice, quotients + 1, is_masked & ~idle)
        codes[second] = np.where((chosen == Predictor.LINEAR) | is_rice, residuals[1], residuals[0])
        wide = np.where(is_rice & escapes, RAW_BITS, wide)
        bits[second] = np.where(idle | (is_masked & ~is_set), 0, wide)
        ends = group_start + self._count * size
        group_bits = np.add.reduceat(bits, group_start)
        bits[ends] = -group_bits & 7
        octets = (group_bits + 7) >> 3
        packed = pack_codes(codes, bits)
        stops = np.cumsum(octets).tolist()
        return [packed[a:b] for a, b in zip([0, *stops], stops, strict=False)]

    def differences(self, last: Matrix, now: Matrix) -> Matrix:
        """Return the zigzag differences, (fields, entities); those of angles in the shorter direction."""
        difference = now - last
        if self._wrapping:
            difference = ((difference + self._halves) & self._masks) - self._halves
        return zigzag_in_place(difference)

    def _residuals(self, last: Matrix, before: Matrix, now: Matrix) -> NDArray[np.int64]:
        """Return the zigzag residuals of LAST and of LINEAR, (2, fields, entities)."""
        residuals = np.empty((2, *now.shape), np.int64)
        np.subtract(now, last, out=residuals[0])
        np.subtract(last, before, out=residuals[1])
        np.subtract(residuals[0], residuals[1], out=residuals[1])
        if self._wrapping:
            residuals += self._halves
            residuals &= self._masks
            residuals -= self._halves
        return zigzag_in_place(residuals)

    # -- reading --------------------------------------------------------------------------------------------

    def decode(self, stream: BitReader, last: Matrix, before: Matrix) -> Matrix:
        """Read the columns of the entities that stayed.

        Args:
            stream: the bit stream.
            last: (fields, entities): the client's values.
            before: (fields, entities): the client's values one snapshot earlier.

        Returns:
            The new values, (fields, entities).

        Raises:
            MalformedMessage: the stream ends too early.
        """
        values = last.copy()
        count = last.shape[1]
        if not count:
            return values
        for row in range(self._count):
            if not stream.number(1):
                continue
            predictor, parameter = stream.number(2), stream.number(6)
            if predictor == Predictor.CHANGED:
                is_set = stream.bits(count).astype(np.bool_)
                values[row, is_set] += stream.zigzag(int(is_set.sum()), parameter)
            elif predictor == Predictor.LAST:
                values[row] += stream.zigzag(count, parameter)
            else:
                read = _read_rice if predictor == Predictor.RICE else BitReader.zigzag
                values[row] += values[row] - before[row] + read(stream, count, parameter)
        for row, modulus in self._wrapping:
            values[row] &= modulus - 1
        return values


def _read_rice(stream: BitReader, count: int, k: int) -> Matrix:
    quotients = stream.unary(count, ESCAPE)
    escapes = quotients == ESCAPE
    if not escapes.any():
        return unzigzag((quotients << k) | stream.unsigned(count, k))
    low = stream.mixed(escapes, RAW_BITS, k)
    return unzigzag(np.where(escapes, low, (quotients << k) | low))


def skip_column(stream: BitReader, count: int) -> None:
    """Skip one column of the entities that stayed."""
    if not stream.number(1):
        return
    predictor, parameter = stream.number(2), stream.number(6)
    if predictor == Predictor.CHANGED:
        stream.bits(int(stream.bits(count).sum()) * parameter)
    elif predictor == Predictor.RICE:
        escaped = int(np.count_nonzero(stream.unary(count, ESCAPE) == ESCAPE))
        stream.bits(escaped * RAW_BITS + (count - escaped) * parameter)
    else:
        stream.bits(count * parameter)
