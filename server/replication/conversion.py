"""Converts a stored column to the field that this build declares.

A field may have changed between two builds. A column is converted if every stored value keeps its meaning:

    numbers    BOOL, UINT, INT and REAL to each other, by value, if the new range holds all values
    ANGLE      to another number of steps
    ENUM       by label, in any order, if every label in use still exists
    TEXT, BLOB to each other and to another length, if the bytes fit and are UTF-8
    ENTITY     without change

Any other change is an error, so that the stored world stays unchanged. Pure.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tickwire.schemas.fields import Field
from tickwire.schemas.messages import FieldKind

_NUMBERS = frozenset((FieldKind.BOOL, FieldKind.UINT, FieldKind.INT, FieldKind.REAL))


class ShapeChanged(ValueError):
    """A stored field cannot be converted to its current declaration; the message names the field and the reason."""


def convert_column(stored: Field, declared: Field, values: NDArray[Any]) -> NDArray[Any]:
    """Return stored values in the units and the type of the declared field.

    Args:
        stored: the field as it was when the values were saved.
        declared: the field as this build declares it.
        values: quantised integers, or bytes of a text or blob, of the stored field.

    Raises:
        ShapeChanged: a value would change its meaning.
    """
    if stored == declared:
        return stored.dequantise(values)
    kinds = {stored.kind, declared.kind}
    if kinds <= _NUMBERS:
        return _number(stored, declared, values)
    if kinds == {FieldKind.ENUM}:
        return _labels(stored, declared, values)
    if kinds <= {FieldKind.TEXT, FieldKind.BLOB}:
        return _bytes(declared, values)
    if kinds in ({FieldKind.ANGLE}, {FieldKind.ENTITY}):
        return stored.dequantise(values).astype(declared.dtype)
    raise ShapeChanged(f"is stored as {_name(stored)} and declared as {_name(declared)}")


def _number(stored: Field, declared: Field, values: NDArray[Any]) -> NDArray[Any]:
    is_real = stored.kind is FieldKind.REAL
    numbers = stored.low + values * stored.step if is_real else values.astype(np.float64)
    is_exact = declared.kind is FieldKind.REAL
    low, high = (declared.low, declared.high) if is_exact else declared.range
    tolerance = max(declared.step, stored.step) / 2 if is_exact else 0.0
    if values.size and not (low - tolerance <= numbers.min() and numbers.max() <= high + tolerance):
        found = f"{numbers.min():g} to {numbers.max():g}"
        raise ShapeChanged(f"holds values from {found}; {_name(declared)} allows {low:g} to {high:g}")
    if is_exact:
        return numbers.astype(np.float32)
    whole = np.rint(numbers).astype(np.int64) if is_real else values.astype(np.int64)
    if not np.array_equal(whole, numbers):
        raise ShapeChanged(f"holds fractions, which {_name(declared)} cannot hold")
    return whole.astype(declared.dtype)


def _labels(stored: Field, declared: Field, values: NDArray[Any]) -> NDArray[Any]:
    indices = {label: index for index, label in enumerate(declared.labels)}
    used = [stored.labels[index] for index in np.unique(values)]
    missing = [label for label in used if label not in indices]
    if missing:
        raise ShapeChanged(f"holds {', '.join(map(repr, missing))}, which the declaration no longer has")
    table = np.array([indices.get(label, 0) for label in stored.labels], np.int64)
    labels: NDArray[Any] = table[values].astype(declared.dtype)
    return labels


def _bytes(declared: Field, values: NDArray[Any]) -> NDArray[Any]:
    longest = max((len(value) for value in values), default=0)
    if longest > declared.bytes_max:
        raise ShapeChanged(f"holds {longest} bytes; {_name(declared)} allows {declared.bytes_max}")
    try:
        return declared.dequantise(values)
    except UnicodeDecodeError as error:
        raise ShapeChanged("holds bytes that are not UTF-8") from error


def _name(field: Field) -> str:
    return field.kind.name.lower()
