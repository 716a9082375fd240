"""Columns of tables as they are in memory, encoded: for a room that moves, and for recordings. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

DTYPES = frozenset(
    ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64"]
)


class RawColumn(msgspec.Struct, frozen=True, array_like=True):
    """A column: the name of its type, and its numbers."""

    dtype: str
    data: bytes


def encode_columns(columns: Mapping[str, NDArray[Any]]) -> dict[str, RawColumn]:
    """Return the columns of one table, encoded."""
    return {
        name: RawColumn(column.dtype.name, np.ascontiguousarray(column).tobytes()) for name, column in columns.items()
    }


def decode_columns(columns: Mapping[str, RawColumn], count: int) -> dict[str, NDArray[Any]]:
    """Return the columns of one table, without those of unknown types and of other sizes.

    Args:
        columns: the encoded columns.
        count: the number of rows. A column of a multiple of it has several numbers for each row.

    Raises:
        ValueError: the data of a column ends within a number.
    """
    read: dict[str, NDArray[Any]] = {}
    for name, column in columns.items():
        if column.dtype in DTYPES:
            array = np.frombuffer(column.data, np.dtype(column.dtype))
            if array.size == count:
                read[name] = array
            elif count and array.size % count == 0:  # a quaternion: some numbers for each row
                read[name] = array.reshape(count, -1)
    return read
