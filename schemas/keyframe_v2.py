"""Keyframes for clients of schema version 2, which cannot read the deltas of version 3.

One section for each table with entities: varint 1 + index; 0 (no entity left); the ids that entered; one column per
field, as a byte for the width and zigzag values packed into whole bytes; 0 (no texts). To be removed with support for
version 2. Pure.
"""

from __future__ import annotations

import numpy as np

from tickwire.schemas.bit_packing import bit_lengths, pack_codes, varint, zigzag
from tickwire.schemas.columns import Columns
from tickwire.schemas.delta import NO_SECTIONS, encode_ascending
from tickwire.schemas.texts import NO_CHANGED_TEXTS

_NO_ENTITIES = varint(0)


def encode_keyframe_v2(tables: tuple[Columns, ...]) -> bytes:
    """Return the packed part of a version 2 keyframe, without a checksum."""
    out = bytearray()
    for index, table in enumerate(tables):
        if not table.ids.size:
            continue
        out += varint(1 + index) + _NO_ENTITIES + encode_ascending(table.ids)
        values = zigzag(table.values)
        for row, width in zip(values, bit_lengths(np.bitwise_or.reduce(values, axis=1)).tolist(), strict=True):
            out.append(width)
            out += pack_codes(np.ascontiguousarray(row), np.full(row.size, width))
        out += NO_CHANGED_TEXTS
    return bytes(out) + NO_SECTIONS
