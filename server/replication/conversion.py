"""Reads a stored column as the field that this build declares, or says why it cannot.

A field may have changed between two builds. A change is understood where every stored value keeps its meaning:

    numbers    BOOL, UINT, INT and REAL among each other, by value, where the new range holds all of them
    ANGLE      in other steps
    ENUM       by label, in any order, where every label in use is still there
    TEXT, BLOB one as the other and in other lengths, where the bytes fit and are UTF-8
    ENTITY     as it is

Everything else is refused, so that the stored world stays as it is. Pure.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tickwire.schemas.fields import Field
from tickwire.schemas.messages import FieldKind

_NUMBERS = frozenset((FieldKind.BOOL, FieldKind.UINT, FieldKind.INT, FieldKind.REAL))


class ShapeChanged(ValueError):
    """A stored field cannot be read as it is declared now; the sentence says which field, and why."""


def convert_column(stored: Field, declared: Field, values: NDArray[Any]) -> NDArray[Any]:
    """Return stored values in the units and the type of the declared field.

    Args:
        values: quantised integers, or bytes of a text or blob, as `stored` describes them.

    Raises:
        ShapeChanged: a value would lose its meaning.
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
        raise ShapeChanged(f"holds values from {found}; {_name(declared)} takes {low:g} to {high:g}")
    if is_exact:
        return numbers.astype(np.float32)
    whole = np.rint(numbers).astype(np.int64) if is_real else values.astype(np.int64)
    if not np.array_equal(whole, numbers):
        raise ShapeChanged(f"holds fractions, which {_name(declared)} cannot hold")
    return whole.astype(declared.dtype)


def _labels(stored: Field, declared: Field, values: NDArray[Any]) -> NDArray[Any]:
    places = {label: place for place, label in enumerate(declared.labels)}
    used = [stored.labels[place] for place in np.unique(values)]
    gone = [label for label in used if label not in places]
    if gone:
        raise ShapeChanged(f"holds {', '.join(map(repr, gone))}, which is no label any more")
    table = np.array([places.get(label, 0) for label in stored.labels], np.int64)
    labels: NDArray[Any] = table[values].astype(declared.dtype)
    return labels


def _bytes(declared: Field, values: NDArray[Any]) -> NDArray[Any]:
    longest = max((len(value) for value in values), default=0)
    if longest > declared.bytes_max:
        raise ShapeChanged(f"holds {longest} bytes; {_name(declared)} takes {declared.bytes_max}")
    try:
        return declared.dequantise(values)
    except UnicodeDecodeError as error:
        raise ShapeChanged("holds bytes that are no UTF-8 text") from error


def _name(field: Field) -> str:
    return field.kind.name.lower()
