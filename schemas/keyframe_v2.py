"""Keyframes as clients of schema version 2 read them: they know no newer deltas, but a keyframe says it all.

A section a table with anybody in it: varint 1 + place; 0 (nobody left); the ids that entered; a column a field: a
byte for the width, then zigzag values packed into whole bytes; 0 (no texts). Goes when version 2 does. Pure.
"""

from __future__ import annotations

import numpy as np

from tickwire.schemas.bit_packing import bit_lengths, pack_codes, varint, zigzag
from tickwire.schemas.columns import Columns
from tickwire.schemas.delta import NOTHING, encode_ascending


def encode_keyframe_2(tables: tuple[Columns, ...]) -> bytes:
    """The packed part of a keyframe of version 2, without a checksum."""
    out = bytearray()
    for place, table in enumerate(tables):
        if not table.ids.size:
            continue
        out += varint(1 + place) + NOTHING + encode_ascending(table.ids)
        values = zigzag(table.values)
        for row, width in zip(values, bit_lengths(np.bitwise_or.reduce(values, axis=1)).tolist(), strict=True):
            out.append(width)
            out += pack_codes(np.ascontiguousarray(row), np.full(row.size, width))
        out += NOTHING
    return bytes(out) + NOTHING
