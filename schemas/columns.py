"""One table at one tick, as both ends hold it: ids, integers, texts. Pure; imports numpy only."""

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
        ids: (entities,), ascending.
        values: (fields, entities), quantised.
        before: (fields, entities): the values one snapshot earlier, for LINEAR and RICE; of an entity that has just
            entered, those it had a tick earlier elsewhere, or its own. Of an angle, up to whole turns.
        texts: (text fields, entities) of bytes; NO_TEXTS where there are no text fields.
    """

    ids: Ids
    values: Matrix
    before: Matrix
    texts: Texts = NO_TEXTS

    @property
    def settled(self) -> Columns:
        """The same for who forgot where it came from."""
        return Columns(self.ids, self.values, self.values, self.texts)


def empty_columns(field_count: int, text_count: int = 0) -> Columns:
    """A table with nobody in it."""
    nothing = np.empty((field_count, 0), np.int64)
    return Columns(np.empty(0, np.uint32), nothing, nothing, no_texts(text_count, 0))


def no_texts(text_count: int, entities: int) -> Texts:
    """Empty texts of some entities."""
    return np.full((text_count, entities), b"", np.object_) if text_count else NO_TEXTS


def has_same_entities(a: Columns, b: Columns) -> bool:
    """Whether two tables hold the same entities."""
    return a.ids is b.ids or (a.ids.size == b.ids.size and bool((a.ids == b.ids).all()))


def shared(now: Ids, then: Ids) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where the ids that stand in both stand in each; both are ascending."""
    if not then.size:
        return _NOWHERE, _NOWHERE
    at = np.minimum(np.searchsorted(then, now), then.size - 1)
    is_shared = then[at] == now
    return np.flatnonzero(is_shared), at[is_shared]


_NOWHERE = np.empty(0, np.intp)


def successor(base: Columns, ids: Ids, values: Matrix, texts: Texts = NO_TEXTS) -> Columns:
    """The snapshot that follows `base` for whoever stands on it: `before` filled in."""
    if base.ids is ids or (base.ids.size == ids.size and bool((base.ids == ids).all())):
        return Columns(ids, values, base.values, texts)
    before = values.copy()
    stayed_now, stayed_then = shared(ids, base.ids)
    before[:, stayed_now] = base.values[:, stayed_then]
    return Columns(ids, values, before, texts)


def checksum(tables: tuple[Columns, ...]) -> bytes:
    """CRC-32 (zlib) over each table's ids (u32), columns (i64) and texts (length u32, bytes): four bytes.

    Everything little-endian; texts field by field, only of tables that have text fields.
    """
    crc = 0
    for table in tables:
        crc = zlib.crc32(table.ids.astype("<u4", copy=False).tobytes(), crc)
        crc = zlib.crc32(table.values.astype("<i8", copy=False).tobytes(), crc)
        for text in _each(table.texts):
            crc = zlib.crc32(len(text).to_bytes(4, "little") + text, crc)
    return crc.to_bytes(CHECKSUM_BYTES, "little")


def _each(texts: Texts) -> list[Any]:
    return texts.ravel().tolist() if texts.size else []
