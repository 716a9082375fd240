"""Quantises all columns of a table at once: `Field.quantise` for many fields in a few calls of numpy.

Values out of range are clamped and counted, angles wrap, and NaN is an error that names the field and the entity.
Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tickwire.schemas import kernel
from tickwire.schemas.columns import Ids, Matrix
from tickwire.schemas.fields import Field, NotANumber
from tickwire.schemas.messages import FieldKind

_ANGLE_LIMIT = 2.0**52
"""Steps beyond which a double has no fraction of a turn left; larger angles are clamped to it before wrapping."""


class Quantiser:
    """Quantises one table.

    Args:
        fields: the table's numeric fields, in order.

    Attributes:
        scaled: the REAL and ANGLE fields; their columns are passed as one block, in this order.
        clamped: the numbers of values that were out of range so far, by field.
    """

    def __init__(self, fields: tuple[Field, ...]) -> None:
        self.scaled = tuple(field for field in fields if field.kind in _SCALED)
        self.clamped: dict[str, int] = {}
        self._count = len(fields)
        self._scaled_rows = _rows([row for row, field in enumerate(fields) if field.kind in _SCALED])
        self._whole = [(row, field, field.range) for row, field in enumerate(fields) if field.kind not in _SCALED]
        self._lows = _stack([field.low for field in self.scaled])
        self._scales = _stack([_scale(field) for field in self.scaled])
        self._least = _stack([-_ANGLE_LIMIT if field.wraps else 0.0 for field in self.scaled])
        self._most = _stack([_ANGLE_LIMIT if field.wraps else float(field.range[1]) for field in self.scaled])
        masks = [field.range[1] if field.wraps else -1 for field in self.scaled]
        self._masks = np.array(masks, np.int64).reshape(-1, 1) if any(f.wraps for f in self.scaled) else None
        self._parameters = np.concatenate([self._lows, self._scales, self._least, self._most], axis=1)
        scaled_rows = [row for row, field in enumerate(fields) if field.kind in _SCALED]
        self._places = np.array([scaled_rows, masks], np.int64).T

    def quantise(self, ids: Ids, block: NDArray[np.float32], views: Mapping[str, NDArray[Any]]) -> Matrix:
        """Return the quantised values, (fields, entities) int64, in a new array.

        Args:
            ids: (entities,) uint32: the ids of the rows, for errors.
            block: (scaled fields, entities) float32, in the game's units.
            views: the columns of all other fields, by name.

        Raises:
            NotANumber: a column has NaN or infinity.
        """
        values = np.empty((self._count, ids.size), np.int64)
        # The kernel stops at a value out of range; the code below then counts all of them, and raises for NaN.
        is_done = kernel.is_native and kernel.quantise(block, values, self._parameters, self._places)
        if self.scaled and not is_done:
            values[self._scaled_rows] = self._quantise_scaled(ids, block)
        for row, field, (low, high) in self._whole:
            if kernel.is_native and kernel.widen(views[field.name], values, row, low, high):
                continue
            values[row] = views[field.name]
            if field.kind is not FieldKind.BOOL:
                self._clamp(field, values[row])
        return values

    def _quantise_scaled(self, ids: Ids, block: NDArray[np.float32]) -> Matrix:
        scaled = np.subtract(block, self._lows, dtype=np.float64)
        scaled *= self._scales
        np.rint(scaled, out=scaled)
        clipped = np.minimum(np.maximum(scaled, self._least), self._most)
        # One comparison finds values out of range and NaN, which is not equal to itself.
        if not (clipped == scaled).all():
            self._handle_invalid(ids, block, clipped != scaled)
        whole = clipped.astype(np.int64)
        if self._masks is not None:
            whole &= self._masks
        return whole

    def _handle_invalid(self, ids: Ids, block: NDArray[np.float32], differs: NDArray[np.bool_]) -> None:
        for field, column, is_off in zip(self.scaled, block, differs, strict=True):
            bad = np.flatnonzero(~np.isfinite(column))
            if bad.size:
                raise NotANumber(field.name, int(bad[0]), entity=int(ids[bad[0]]))
            self._count_clamped(field, int(np.count_nonzero(is_off)))

    def _clamp(self, field: Field, column: NDArray[np.int64]) -> None:
        low, high = field.range
        is_off = (column < low) | (column > high)
        if is_off.any():
            self._count_clamped(field, int(np.count_nonzero(is_off)))
            np.clip(column, low, high, out=column)

    def _count_clamped(self, field: Field, count: int) -> None:
        if count:
            self.clamped[field.name] = self.clamped.get(field.name, 0) + count


_SCALED = (FieldKind.REAL, FieldKind.ANGLE)


def _scale(field: Field) -> float:
    return (1 << field.bits) / math.tau if field.wraps else 1.0 / field.step


def _stack(numbers: list[float]) -> NDArray[np.float64]:
    return np.array(numbers, np.float64).reshape(-1, 1)


def _rows(rows: list[int]) -> slice | list[int]:
    """Return adjacent rows as a slice, which numpy indexes faster than a list."""
    if rows and rows == list(range(rows[0], rows[-1] + 1)):
        return slice(rows[0], rows[-1] + 1)
    return rows
