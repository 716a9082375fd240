"""What a packed part's bits were spent on: read off the bytes themselves, so that encoding need not count.

Pure; imports schemas only.
"""

from __future__ import annotations

from tickwire.schemas.bit_packing import BitReader, Source
from tickwire.schemas.columns import Columns
from tickwire.schemas.delta import ENTERED_COLUMNS, HAS_ENTERED, HAS_LEFT, HAS_TEXTS, WIDTH_BITS, TableCodec
from tickwire.schemas.residuals import skip_column

IDS = ""
"""What is spent on who left and who entered, and on saying which table it is, stands under this name."""


def weigh(codecs: tuple[TableCodec, ...], base: tuple[Columns, ...], packed: bytes) -> dict[tuple[int, str], int]:
    """Bits by table's place and field's name.

    Args:
        base: the tables that the part is a delta from; of a keyframe, empty ones.
        packed: the part without its checksum, as our own encoder made it.
    """
    bits: dict[tuple[int, str], int] = {}
    source = Source(packed)
    start = source.left
    while tag := source.varint():
        place, flags = divmod(tag, 8)
        codec, known = codecs[place - 1], base[place - 1].ids.size
        left = source.ascending(known).size if flags & HAS_LEFT else 0
        entered = source.ascending(1 << 32).size if flags & HAS_ENTERED else 0
        bits[place - 1, IDS] = 8 * (start - source.left)
        _weigh_columns(codec, place - 1, source, known - left, entered, bits)
        if flags & HAS_TEXTS:
            _weigh_texts(codec, place - 1, source, bits)
        start = source.left
    return bits


def _weigh_columns(
    codec: TableCodec, place: int, source: Source, stayed: int, entered: int, bits: dict[tuple[int, str], int]
) -> None:
    stream = BitReader(source)
    if entered:
        for number in range(ENTERED_COLUMNS * len(codec.columns)):
            name = codec.columns[number % len(codec.columns)].name
            width = stream.number(WIDTH_BITS)
            stream.bits(entered * width)
            bits[place, name] = bits.get((place, name), 0) + WIDTH_BITS + entered * width
    if stayed:
        for field in codec.columns:
            at = stream.at
            skip_column(stream, stayed)
            bits[place, field.name] = bits.get((place, field.name), 0) + stream.at - at
    stream.finish()


def _weigh_texts(codec: TableCodec, place: int, source: Source, bits: dict[tuple[int, str], int]) -> None:
    at, start = 0, source.left
    count = source.varint()
    bits[place, IDS] += 8 * (start - source.left)
    for _ in range(count):
        start = source.left
        at += source.varint()
        source.take(source.varint())
        name = codec.texts[at % len(codec.texts)].name
        bits[place, name] = bits.get((place, name), 0) + 8 * (start - source.left)


def columns_seen(columns: Columns) -> list[tuple[int, int]]:
    """The least and the greatest value of each column; of an empty table, none."""
    if not columns.ids.size:
        return []
    return list(zip(columns.values.min(axis=1).tolist(), columns.values.max(axis=1).tolist(), strict=True))
