"""The delta codec: the differences between two snapshots of a channel, in integers and as few bytes as possible.

A snapshot of a table has its entities' ids in ascending order, one int64 column per field, and its texts. A delta has
the entities that left, those that entered, and the columns of those that stayed (schemas/residuals.py). It has one
section for each table that has changed, in this order (varint is LEB128):

    varint   (1 + the table's index in the description) * 8 + 1 if entities left + 2 if entities entered
             + 4 if texts follow; 0 ends the sections
    varint   if entities left: their number, then their positions in the baseline, each as the difference from the one
             before
    varint   if entities entered: their number, then their ids, each as the difference from the one before
    bits     if entities entered, one column per field: width in 6 bits, then their values, zigzag;
             then one more column per field: the change of each value since the tick before
             if entities stayed, one column per field: see schemas/residuals.py
             then zeros up to a whole byte
    texts    see schemas/texts.py

A checksum may follow the sections: see schemas/columns.py.

Pure; imports numpy and schemas only. Both ends run this code, or code that agrees with schemas/golden/.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tickwire.schemas import kernel
from tickwire.schemas.bit_packing import BitReader, ByteReader, bit_lengths, pack_codes, varint, zigzag
from tickwire.schemas.columns import (
    CHECKSUM_BYTES,
    NO_TEXTS,
    Columns,
    Ids,
    Matrix,
    Texts,
    checksum,
    empty_columns,
    empty_texts,
    find_common,
    has_same_entities,
    successor,
)
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.fields import Field
from tickwire.schemas.residuals import Residuals
from tickwire.schemas.texts import NO_CHANGED_TEXTS, decode_texts, encode_texts

ENTITIES_MAX = 1 << 16
"""The most entities of one table in a channel."""
HAS_LEFT, HAS_ENTERED, HAS_TEXTS = 1, 2, 4
NO_SECTIONS = b"\0"
"""The end of the sections: by itself, the packed part of a channel without changes."""
WIDTH_BITS = 6
ENTERED_COLUMNS = 2
"""The columns per field of entities that enter: their values, and how these have changed."""


class TableCodec:
    """Encodes and decodes one table's sections.

    Args:
        fields: the table's replicated fields, in order.
        index: the table's index in the description.

    Attributes:
        columns: the numeric fields.
        texts: the text fields.
        empty: the table without entities.
    """

    def __init__(self, fields: tuple[Field, ...], index: int = 0) -> None:
        self.fields = fields
        self.columns = tuple(field for field in fields if not field.is_text)
        self.texts = tuple(field for field in fields if field.is_text)
        self.empty = empty_columns(len(self.columns), len(self.texts))
        self.residuals = Residuals(self.columns)
        self._tag = (1 + index) * 8
        self._tags = tuple(varint(self._tag + bits) for bits in range(8))
        self._lows = np.array([field.range[0] for field in self.columns], np.int64).reshape(-1, 1)
        self._highs = np.array([field.range[1] for field in self.columns], np.int64).reshape(-1, 1)
        self._bounds = np.concatenate([self._lows, self._highs], axis=1).T
        self._wrap_bits = bytes(field.bits if field.wraps else 0 for field in self.columns)

    def successor(self, base: Columns, ids: Ids, values: Matrix, texts: Texts = NO_TEXTS) -> Columns:
        """Return the snapshot that follows `base`, with `before` filled in from it."""
        return successor(base, ids, values, texts)

    # -- writing --------------------------------------------------------------------------------------------

    def encode(self, base: Columns, now: Columns) -> bytes:
        """Return the section from `base` to `now`; empty if nothing has changed."""
        if kernel.is_native:
            return self._encode_native(base, now)
        if has_same_entities(base, now):
            if np.array_equal(base.values, now.values):
                texts = encode_texts(base, now, None, None) if self.texts else NO_CHANGED_TEXTS
                if texts == NO_CHANGED_TEXTS:
                    return b""
                return self._tags[HAS_TEXTS] + self._unchanged_columns(now.ids.size) + texts
            codes, bits = self.residuals.to_codes(base.values, base.before, now.values)
            texts = encode_texts(base, now, None, None) if self.texts else NO_CHANGED_TEXTS
            return self._section(b"", pack_codes(codes, bits), texts, 0)
        return self._encode_with_changes(base, now)

    def encode_many(self, pairs: Sequence[tuple[Columns, Columns]]) -> list[bytes]:
        """Return the sections of many channels, equal to those of `encode`.

        Channels without entering or leaving entities are encoded together.

        Args:
            pairs: `base` and `now` of each channel.
        """
        if kernel.is_native:
            return self._encode_many_native(pairs)
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

    def _encode_many_native(self, pairs: Sequence[tuple[Columns, Columns]]) -> list[bytes]:
        if self.texts:
            return [self._encode_native(base, now) for base, now in pairs]
        encode, tag, wrap_bits = kernel.encode_section, self._tag, self._wrap_bits
        return [
            encode(tag, wrap_bits, None, None, base.values, base.before, now.values, now.before)
            if base.ids is now.ids
            else encode(tag, wrap_bits, base.ids, now.ids, base.values, base.before, now.values, now.before)
            for base, now in pairs
        ]

    def _encode_native(self, base: Columns, now: Columns) -> bytes:
        texts = NO_CHANGED_TEXTS
        if self.texts:
            is_same = has_same_entities(base, now)
            here, there = (None, None) if is_same else find_common(now.ids, base.ids)
            texts = encode_texts(base, now, here, there)
        tag = self._tag if texts == NO_CHANGED_TEXTS else self._tag | HAS_TEXTS
        base_ids, ids = (None, None) if base.ids is now.ids else (base.ids, now.ids)
        section = kernel.encode_section(
            tag, self._wrap_bits, base_ids, ids, base.values, base.before, now.values, now.before
        )
        return section if tag == self._tag else section + texts

    def _encode_with_changes(self, base: Columns, now: Columns) -> bytes:
        here, there = find_common(now.ids, base.ids)
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
            plain = np.concatenate([zigzag(entered), self.residuals.differences(before, entered)])
            widths = bit_lengths(np.bitwise_or.reduce(plain, axis=1))
            codes.append(np.concatenate([widths[:, None], plain], axis=1).ravel())
            bits.append(_plain_widths(widths, plain.shape[1]))
        if here.size:
            stayed = self.residuals.to_codes(base.values[:, there], base.before[:, there], now.values[:, here])
            codes.append(stayed[0])
            bits.append(stayed[1])
        stream = pack_codes(np.concatenate(codes), np.concatenate(bits)) if codes else b""
        texts = encode_texts(base, now, here, there) if self.texts else NO_CHANGED_TEXTS
        return self._section(lists, stream, texts, flags)

    def _section(self, lists: bytes, stream: bytes, texts: bytes, flags: int) -> bytes:
        if texts == NO_CHANGED_TEXTS:
            return self._tags[flags] + lists + stream
        return self._tags[flags | HAS_TEXTS] + lists + stream + texts

    def _unchanged_columns(self, entities: int) -> bytes:
        return bytes((len(self.columns) + 7) // 8) if entities else b""

    # -- reading --------------------------------------------------------------------------------------------

    def decode(self, source: ByteReader, base: Columns, flags: int) -> Columns:
        """Read one section, after its tag.

        Args:
            source: the packed part.
            base: the client's table, to which the section is relative.
            flags: HAS_LEFT, HAS_ENTERED and HAS_TEXTS, from the tag.

        Returns:
            The client's table after the section.

        Raises:
            MalformedMessage: the section does not fit `base`, or a value is out of its field's range.
        """
        if kernel.is_native:
            return self._decode_native(source, base, flags)
        if not flags & (HAS_LEFT | HAS_ENTERED):
            values, texts = self._decode_stayed(source, base.values, base.before), base.texts
            if flags & HAS_TEXTS:
                texts = decode_texts(source, self.texts, texts.copy())
            return self._check_ranges(Columns(base.ids, values, base.values, texts))
        left = source.ascending(base.ids.size) if flags & HAS_LEFT else _NO_IDS
        entered = source.ascending(1 << 32) if flags & HAS_ENTERED else _NO_IDS
        stays = np.ones(base.ids.size, np.bool_)
        stays[left] = False
        ids = self._merge_entered(base.ids[stays], entered)
        order = np.argsort(ids, kind="stable")
        stream = BitReader(source)
        fresh = np.empty((ENTERED_COLUMNS, len(self.columns), entered.size), np.int64)
        if entered.size:
            for column in fresh.reshape(-1, entered.size):
                column[:] = stream.zigzag(entered.size, stream.number(WIDTH_BITS))
        last = base.values[:, stays]
        values = self.residuals.decode(stream, last, base.before[:, stays])
        stream.finish()
        texts = np.concatenate([base.texts[:, stays], empty_texts(len(self.texts), entered.size)], axis=1)[:, order] \
            if self.texts else NO_TEXTS  # fmt: skip
        if flags & HAS_TEXTS:
            texts = decode_texts(source, self.texts, texts)
        return self._check_ranges(
            Columns(
                ids[order],
                np.concatenate([values, fresh[0]], axis=1)[:, order],
                np.concatenate([last, fresh[0] - fresh[1]], axis=1)[:, order],
                texts,
            )
        )

    def _decode_native(self, source: ByteReader, base: Columns, flags: int) -> Columns:
        end, id_bytes, value_bytes, before_bytes = kernel.decode_section(
            source.data, source.position, flags, self._wrap_bits, self._bounds, base.ids, base.values, base.before
        )
        source.advance_to(end)
        ids, before, texts = base.ids, base.values, base.texts
        if id_bytes is not None and before_bytes is not None:
            ids = np.frombuffer(id_bytes, np.uint32)
            before = np.frombuffer(before_bytes, np.int64).reshape(len(self.columns), ids.size)
            if self.texts:
                texts = self._carry_texts(base, ids)
        values = np.frombuffer(value_bytes, np.int64).reshape(len(self.columns), ids.size)
        now = Columns(ids, values, before, texts)
        if not flags & HAS_TEXTS:
            return now
        texts = decode_texts(source, self.texts, texts.copy() if ids is base.ids else texts)
        return self._check_ranges(Columns(ids, values, before, texts))

    def _carry_texts(self, base: Columns, ids: Ids) -> Texts:
        """Return the texts of `base` at the places of `ids`; empty ones for entities that are not in `base`."""
        texts = empty_texts(len(self.texts), ids.size)
        here, there = find_common(ids, base.ids)
        texts[:, here] = base.texts[:, there]
        return texts

    def _decode_stayed(self, source: ByteReader, last: Matrix, before: Matrix) -> Matrix:
        stream = BitReader(source)
        values = self.residuals.decode(stream, last, before)
        stream.finish()
        return values

    def _merge_entered(self, stayed: Ids, entered: NDArray[np.int64]) -> Ids:
        if entered.size and entered[0] == 0:
            raise MalformedMessage("entity 0 entered: ids begin with 1")
        if stayed.size + entered.size > ENTITIES_MAX:
            raise MalformedMessage(f"a channel may have at most {ENTITIES_MAX} entities of a table")
        if np.isin(entered, stayed).any():
            raise MalformedMessage("an entity entered that the channel already has")
        return np.concatenate([stayed, entered.astype(np.uint32)])

    def _check_ranges(self, columns: Columns) -> Columns:
        if ((columns.values < self._lows) | (columns.values > self._highs)).any():
            raise MalformedMessage("a value is out of its field's range")
        return columns


_NO_IDS = np.empty(0, np.int64)


def create_codecs(tables: Sequence[tuple[Field, ...]]) -> tuple[TableCodec, ...]:
    """Create the codecs of a description's tables from their fields."""
    return tuple(TableCodec(fields, index) for index, fields in enumerate(tables))


# -- a channel: several tables ------------------------------------------------------------------------------


def encode_channel(codecs: tuple[TableCodec, ...], base: tuple[Columns, ...], now: tuple[Columns, ...]) -> bytes:
    """Return the packed part of a channel: the sections of all tables, without a checksum."""
    return b"".join(map(TableCodec.encode, codecs, base, now)) + NO_SECTIONS


def decode_channel(
    codecs: tuple[TableCodec, ...], base: tuple[Columns, ...], packed: bytes, *, has_checksum: bool
) -> tuple[tuple[Columns, ...], bool]:
    """Apply a packed part to a client's tables.

    Args:
        codecs: the codecs of the description's tables.
        base: the client's tables, to which the part is relative.
        packed: the part.
        has_checksum: whether the part ends with a checksum.

    Returns:
        The tables after it, and whether the checksum agrees; True for a part without one.

    Raises:
        MalformedMessage: the bytes do not fit the baseline.
    """
    source = ByteReader(packed)
    tables: list[Columns | None] = [None] * len(base)
    seen = 0
    while tag := source.varint():
        number, flags = divmod(tag, 8)
        if not seen < number <= len(codecs):
            raise MalformedMessage(f"section for table {number - 1}: out of order, or no such table")
        seen = number
        tables[number - 1] = codecs[number - 1].decode(source, base[number - 1], flags)
    now = tuple(
        table if table is not None else Columns(known.ids, known.values, known.values, known.texts)
        for table, known in zip(tables, base, strict=True)
    )
    agrees = not has_checksum or source.read(CHECKSUM_BYTES) == checksum(now)
    source.finish()
    return now, agrees


def _plain_widths(widths: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the widths of entering entities' codes: for each column WIDTH_BITS, then `count` times its width."""
    bits = np.repeat(widths[:, None], 1 + count, axis=1)
    bits[:, 0] = WIDTH_BITS
    return bits.ravel()


def encode_ascending(numbers: NDArray[np.integer]) -> bytes:
    """Return the number of `numbers`, then each as the difference from the one before, all as varints."""
    steps = np.diff(numbers.astype(np.int64), prepend=0).tolist()
    return varint(len(steps)) + b"".join(map(varint, steps))
