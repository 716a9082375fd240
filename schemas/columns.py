"""One table at one tick, in the form that server and client share: ids, integers, texts.

Pure; imports numpy only.
"""

from __future__ import annotations

import zlib
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.uint32]
Matrix = NDArray[np.int64]
Texts = NDArray[np.object_]
CHECKSUM_BYTES = 4
NO_TEXTS: Texts = np.empty((0, 0), np.object_)
"""The texts of a table that has no text fields."""


class Columns(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One table at one tick.

    Args:
        ids: (entities,) uint32, ascending.
        values: (fields, entities) int64, quantised.
        before: (fields, entities) int64: the values one snapshot earlier, for LINEAR and RICE. An entity that has
            just entered has the values of one tick earlier in another channel, or else its own. Angles are equal
            modulo a turn only.
        texts: (text fields, entities) of bytes; NO_TEXTS for a table without text fields.
    """

    ids: Ids
    values: Matrix
    before: Matrix
    texts: Texts = NO_TEXTS

    @property
    def without_history(self) -> Columns:
        """The table of a client that does not know the values before these: `before` is `values`."""
        return Columns(self.ids, self.values, self.values, self.texts)


def empty_columns(field_count: int, text_count: int = 0) -> Columns:
    """Return a table without entities."""
    values = np.empty((field_count, 0), np.int64)
    return Columns(np.empty(0, np.uint32), values, values, empty_texts(text_count, 0))


def empty_texts(text_count: int, entities: int) -> Texts:
    """Return empty texts for a number of entities."""
    return np.full((text_count, entities), b"", np.object_) if text_count else NO_TEXTS


def has_same_entities(a: Columns, b: Columns) -> bool:
    """Return whether two tables have the same entities."""
    return a.ids is b.ids or (a.ids.size == b.ids.size and bool((a.ids == b.ids).all()))


def find_common(now: Ids, then: Ids) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the positions in `now` and in `then` of the ids that are in both.

    Args:
        now: ids, ascending.
        then: ids, ascending.
    """
    if not then.size:
        return _NO_POSITIONS, _NO_POSITIONS
    at = np.minimum(np.searchsorted(then, now), then.size - 1)
    is_common = then[at] == now
    return np.flatnonzero(is_common), at[is_common]


_NO_POSITIONS = np.empty(0, np.intp)


def successor(base: Columns, ids: Ids, values: Matrix, texts: Texts = NO_TEXTS) -> Columns:
    """Return the snapshot that follows `base`, with `before` filled in from it."""
    if base.ids is ids or (base.ids.size == ids.size and bool((base.ids == ids).all())):
        return Columns(ids, values, base.values, texts)
    before = values.copy()
    stayed_now, stayed_then = find_common(ids, base.ids)
    before[:, stayed_now] = base.values[:, stayed_then]
    return Columns(ids, values, before, texts)


def checksum(tables: tuple[Columns, ...]) -> bytes:
    """Return the CRC-32 (zlib) of the tables, in four bytes.

    It covers each table's ids (u32), columns (i64) and texts (length u32, bytes), all little-endian. Texts come
    field by field, and only for tables with text fields.
    """
    crc = 0
    for table in tables:
        crc = zlib.crc32(table.ids.astype("<u4", copy=False).tobytes(), crc)
        crc = zlib.crc32(table.values.astype("<i8", copy=False).tobytes(), crc)
        for text in _flatten(table.texts):
            crc = zlib.crc32(len(text).to_bytes(4, "little") + text, crc)
    return crc.to_bytes(CHECKSUM_BYTES, "little")


def _flatten(texts: Texts) -> list[Any]:
    return texts.ravel().tolist() if texts.size else []
