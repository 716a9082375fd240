"""Counts the bits of a packed part by table and field, from the bytes themselves, so that encoding need not count.

Pure; imports schemas only.
"""

from __future__ import annotations

from tickwire.schemas.bit_packing import BitReader, ByteReader
from tickwire.schemas.columns import Columns
from tickwire.schemas.delta import ENTERED_COLUMNS, HAS_ENTERED, HAS_LEFT, HAS_TEXTS, WIDTH_BITS, TableCodec
from tickwire.schemas.residuals import skip_column

IDS = ""
"""The name under which the lists of ids, and the tags of tables, are counted."""


def profile_bits(
    codecs: tuple[TableCodec, ...], base: tuple[Columns, ...], packed: bytes
) -> dict[tuple[int, str], int]:
    """Return the bits of a packed part by table index and field name.

    Args:
        codecs: the codecs of the room's tables.
        base: the tables that the part is relative to; empty ones for a keyframe.
        packed: the part without its checksum, from this module's own encoder: not a peer's.
    """
    bits: dict[tuple[int, str], int] = {}
    source = ByteReader(packed)
    start = source.bytes_left
    while tag := source.varint():
        number, flags = divmod(tag, 8)
        index = number - 1
        codec, known = codecs[index], base[index].ids.size
        left = source.ascending(known).size if flags & HAS_LEFT else 0
        entered = source.ascending(1 << 32).size if flags & HAS_ENTERED else 0
        by_field = {IDS: 8 * (start - source.bytes_left)}
        _profile_columns(codec, source, known - left, entered, by_field)
        if flags & HAS_TEXTS:
            _profile_texts(codec, source, by_field)
        bits.update({(index, name): count for name, count in by_field.items()})
        start = source.bytes_left
    return bits


def _profile_columns(codec: TableCodec, source: ByteReader, stayed: int, entered: int, bits: dict[str, int]) -> None:
    stream = BitReader(source)
    if entered:
        for number in range(ENTERED_COLUMNS * len(codec.columns)):
            name = codec.columns[number % len(codec.columns)].name
            width = stream.number(WIDTH_BITS)
            stream.bits(entered * width)
            bits[name] = bits.get(name, 0) + WIDTH_BITS + entered * width
    if stayed:
        for field in codec.columns:
            start = stream.position
            skip_column(stream, stayed)
            bits[field.name] = bits.get(field.name, 0) + stream.position - start
    stream.finish()


def _profile_texts(codec: TableCodec, source: ByteReader, bits: dict[str, int]) -> None:
    position, start = 0, source.bytes_left
    count = source.varint()
    bits[IDS] += 8 * (start - source.bytes_left)
    for _ in range(count):
        start = source.bytes_left
        position += source.varint()
        source.read(source.varint())
        name = codec.texts[position % len(codec.texts)].name
        bits[name] = bits.get(name, 0) + 8 * (start - source.bytes_left)


def column_ranges(columns: Columns) -> list[tuple[int, int]]:
    """Return the least and the greatest value of each column; an empty list for an empty table."""
    if not columns.ids.size:
        return []
    return list(zip(columns.values.min(axis=1).tolist(), columns.values.max(axis=1).tolist(), strict=True))
