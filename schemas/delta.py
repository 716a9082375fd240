"""The delta codec: what changed between two snapshots of a channel, in the fewest bytes, in integers.

A snapshot of a table is its entities' ids in ascending order, one int64 column a field, and its texts. A delta says
who left, who entered, and what the columns of the others are, as schemas/residuals.py has it. One section a table
that has something to say, in this order (varint is LEB128):

    varint   (1 + the table's place in the description) * 8 + 1 if some left + 2 if some entered + 4 if texts follow;
             0 ends the sections
    varint   if some left: how many, then their places in the baseline, each varint less the one before
    varint   if some entered: how many, then their ids, each varint less the one before
    bits     if some entered, a column a field: 6 bits width, then their values, zigzag;
             then again a column a field: how these have changed since the tick before
             if some stayed, a column a field: see schemas/residuals.py
             then zeros up to a whole byte
    texts    see schemas/texts.py

After the sections a checksum may follow: see schemas/columns.py.

Pure; imports numpy and schemas only. Both ends run this code, or code that agrees with schemas/golden/.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tickwire.schemas.bit_packing import BitReader, Source, bit_lengths, pack_codes, varint, zigzag
from tickwire.schemas.columns import (
    CHECKSUM_BYTES,
    NO_TEXTS,
    Columns,
    Ids,
    Matrix,
    Texts,
    checksum,
    empty_columns,
    has_same_entities,
    no_texts,
    shared,
    successor,
)
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.fields import Field
from tickwire.schemas.residuals import Residuals
from tickwire.schemas.texts import decode_texts, encode_texts

ENTITIES_MAX = 1 << 16
"""The most entities of one table in a channel."""
HAS_LEFT, HAS_ENTERED, HAS_TEXTS = 1, 2, 4
NOTHING = b"\0"
"""A channel's packed part when there is nothing to say."""
WIDTH_BITS = 6
ENTERED_COLUMNS = 2
"""Who enters is told with two columns a field: its value, and how that has changed."""


class TableCodec:
    """Encodes and decodes one table's sections.

    Args:
        fields: the table's replicated fields, in order.
        place: the table's place in the description.
    """

    def __init__(self, fields: tuple[Field, ...], place: int = 0) -> None:
        self.fields = fields
        self.columns = tuple(field for field in fields if not field.is_text)
        self.texts = tuple(field for field in fields if field.is_text)
        self.nothing = empty_columns(len(self.columns), len(self.texts))
        self.residuals = Residuals(self.columns)
        self._tag = (1 + place) * 8
        self._tags = tuple(varint(self._tag + bits) for bits in range(8))
        self._lows = np.array([field.range[0] for field in self.columns], np.int64).reshape(-1, 1)
        self._highs = np.array([field.range[1] for field in self.columns], np.int64).reshape(-1, 1)

    def successor(self, base: Columns, ids: Ids, values: Matrix, texts: Texts = NO_TEXTS) -> Columns:
        """The snapshot that follows `base` for whoever stands on it: `before` filled in."""
        return successor(base, ids, values, texts)

    # -- writing --------------------------------------------------------------------------------------------

    def encode(self, base: Columns, now: Columns) -> bytes:
        """The section from `base` to `now`; empty when nothing changed."""
        if has_same_entities(base, now):
            if np.array_equal(base.values, now.values):
                texts = encode_texts(base, now, None, None) if self.texts else NOTHING
                if texts == NOTHING:
                    return b""
                return self._tags[HAS_TEXTS] + self._nothing_changed(now.ids.size) + texts
            codes, bits = self.residuals.codes(base.values, base.before, now.values)
            texts = encode_texts(base, now, None, None) if self.texts else NOTHING
            return self._section(b"", pack_codes(codes, bits), texts, 0)
        return self._encode_with_changes(base, now)

    def encode_many(self, pairs: Sequence[tuple[Columns, Columns]]) -> list[bytes]:
        """The sections of many channels, each as `encode` gives it; those that nobody left or entered all at once."""
        sections = [b""] * len(pairs)
        steady: list[int] = []
        for number, (base, now) in enumerate(pairs):
            if base.ids is now.ids and now.ids.size and not self.texts:
                steady.append(number)
            else:
                sections[number] = self.encode(base, now)
        if len(steady) < 2:
            for number in steady:
                sections[number] = self.encode(*pairs[number])
            return sections
        streams = self.residuals.encode_many(
            np.concatenate([pairs[number][0].values for number in steady], axis=1),
            np.concatenate([pairs[number][0].before for number in steady], axis=1),
            np.concatenate([pairs[number][1].values for number in steady], axis=1),
            np.array([pairs[number][1].ids.size for number in steady]),
        )
        tag, idle = self._tags[0], bytes((len(self.columns) + 7) // 8)
        for number, stream in zip(steady, streams, strict=True):
            if stream != idle:
                sections[number] = tag + stream
        return sections

    def _encode_with_changes(self, base: Columns, now: Columns) -> bytes:
        here, there = shared(now.ids, base.ids)
        has_left = np.ones(base.ids.size, np.bool_)
        has_left[there] = False
        left = np.flatnonzero(has_left)
        is_new: NDArray[np.bool_] | slice = slice(None)
        if here.size:
            is_new = np.ones(now.ids.size, np.bool_)
            is_new[here] = False
        flags, lists = 0, b""
        codes: list[Matrix] = []
        bits: list[NDArray[np.integer]] = []
        if left.size:
            flags |= HAS_LEFT
            lists = encode_ascending(left)
        if here.size < now.ids.size:
            flags |= HAS_ENTERED
            lists += encode_ascending(now.ids[is_new])
            entered, before = now.values[:, is_new], now.before[:, is_new]
            plain = np.concatenate([zigzag(entered), self.residuals.against(before, entered)])
            widths = bit_lengths(np.bitwise_or.reduce(plain, axis=1))
            codes.append(np.concatenate([widths[:, None], plain], axis=1).ravel())
            bits.append(_plain_widths(widths, plain.shape[1]))
        if here.size:
            stayed = self.residuals.codes(base.values[:, there], base.before[:, there], now.values[:, here])
            codes.append(stayed[0])
            bits.append(stayed[1])
        stream = pack_codes(np.concatenate(codes), np.concatenate(bits)) if codes else b""
        texts = encode_texts(base, now, here, there) if self.texts else NOTHING
        return self._section(lists, stream, texts, flags)

    def _section(self, lists: bytes, stream: bytes, texts: bytes, flags: int) -> bytes:
        if texts == NOTHING:
            return self._tags[flags] + lists + stream
        return self._tags[flags | HAS_TEXTS] + lists + stream + texts

    def _nothing_changed(self, entities: int) -> bytes:
        return bytes((len(self.columns) + 7) // 8) if entities else b""

    # -- reading --------------------------------------------------------------------------------------------

    def decode(self, source: Source, base: Columns, flags: int) -> Columns:
        """Reads one section and gives what stands after it.

        Raises:
            MalformedMessage: the section does not fit `base`, or a value is out of its field's range.
        """
        if not flags & (HAS_LEFT | HAS_ENTERED):
            values, texts = self._decode_stayed(source, base.values, base.before), base.texts
            if flags & HAS_TEXTS:
                texts = decode_texts(source, self.texts, texts.copy())
            return self._checked(Columns(base.ids, values, base.values, texts))
        left = source.ascending(base.ids.size) if flags & HAS_LEFT else _NOBODY
        entered = source.ascending(1 << 32) if flags & HAS_ENTERED else _NOBODY
        stays = np.ones(base.ids.size, np.bool_)
        stays[left] = False
        ids = self._entered(base.ids[stays], entered)
        order = np.argsort(ids, kind="stable")
        stream = BitReader(source)
        fresh = np.empty((ENTERED_COLUMNS, len(self.columns), entered.size), np.int64)
        if entered.size:
            for column in fresh.reshape(-1, entered.size):
                column[:] = stream.zigzag(entered.size, stream.number(WIDTH_BITS))
        last = base.values[:, stays]
        values = self.residuals.decode(stream, last, base.before[:, stays])
        stream.finish()
        texts = np.concatenate([base.texts[:, stays], no_texts(len(self.texts), entered.size)], axis=1)[:, order] \
            if self.texts else NO_TEXTS  # fmt: skip
        if flags & HAS_TEXTS:
            texts = decode_texts(source, self.texts, texts)
        return self._checked(
            Columns(
                ids[order],
                np.concatenate([values, fresh[0]], axis=1)[:, order],
                np.concatenate([last, fresh[0] - fresh[1]], axis=1)[:, order],
                texts,
            )
        )

    def _decode_stayed(self, source: Source, last: Matrix, before: Matrix) -> Matrix:
        stream = BitReader(source)
        values = self.residuals.decode(stream, last, before)
        stream.finish()
        return values

    def _entered(self, stayed: Ids, entered: NDArray[np.int64]) -> Ids:
        if entered.size and entered[0] == 0:
            raise MalformedMessage("entity 0 is nobody")
        if stayed.size + entered.size > ENTITIES_MAX:
            raise MalformedMessage(f"a channel holds at most {ENTITIES_MAX} entities of a table")
        if np.isin(entered, stayed).any():
            raise MalformedMessage("an entity entered that is there already")
        return np.concatenate([stayed, entered.astype(np.uint32)])

    def _checked(self, columns: Columns) -> Columns:
        if ((columns.values < self._lows) | (columns.values > self._highs)).any():
            raise MalformedMessage("a value is out of its field's range")
        return columns


_NOBODY = np.empty(0, np.int64)


def codecs_for(tables: Sequence[tuple[Field, ...]]) -> tuple[TableCodec, ...]:
    """The codecs of a description's tables, from their fields."""
    return tuple(TableCodec(fields, place) for place, fields in enumerate(tables))


# -- a channel: several tables ------------------------------------------------------------------------------


def encode_channel(codecs: tuple[TableCodec, ...], base: tuple[Columns, ...], now: tuple[Columns, ...]) -> bytes:
    """The packed part of a state frame: all tables' sections, without a checksum."""
    return b"".join(map(TableCodec.encode, codecs, base, now)) + NOTHING


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
    tables = [successor(table, table.ids, table.values, table.texts) for table in base]
    seen = 0
    while tag := source.varint():
        place, flags = divmod(tag, 8)
        if not seen < place <= len(codecs):
            raise MalformedMessage(f"section for table {place - 1}, out of order or unknown")
        seen = place
        tables[place - 1] = codecs[place - 1].decode(source, base[place - 1], flags)
    now = tuple(tables)
    agrees = not has_checksum or source.take(CHECKSUM_BYTES) == checksum(now)
    source.finish()
    return now, agrees


def _plain_widths(widths: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Each column's width once for itself, in WIDTH_BITS, then for each of its values."""
    bits = np.repeat(widths[:, None], 1 + count, axis=1)
    bits[:, 0] = WIDTH_BITS
    return bits.ravel()


def encode_ascending(numbers: NDArray[np.integer]) -> bytes:
    """How many, then each less the one before; varints."""
    steps = np.diff(numbers.astype(np.int64), prepend=0).tolist()
    return varint(len(steps)) + b"".join(map(varint, steps))
