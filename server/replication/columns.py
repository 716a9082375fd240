"""Declarations of a table's columns and of a room's inputs.

    class Ships(Table):
        x = real(-500, 500, step=1 / 32)    # replicated: quantised, sent and saved
        speed = local(np.float32)           # for the simulation only

Reading a column of a table returns a numpy view of its live rows. Pure; imports schemas only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, Self, overload

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tickwire.schemas import fields
from tickwire.schemas.fields import Field


class ColumnOwner(Protocol):
    """A holder of columns; implemented by `Table`."""

    def view(self, name: str) -> NDArray[Any]:
        """Return the live rows of a column."""


class Column:
    """One declared column; a descriptor of `Table`.

    Args:
        make_field: creates the replicated field from its name; None for a local column.
        dtype: the numpy type of a local column.
        shape: the shape of a local column's value in one row; () for a single value.
    """

    def __init__(
        self, make_field: Callable[[str], Field] | None, dtype: DTypeLike | None = None, shape: tuple[int, ...] = ()
    ) -> None:
        self._make_field = make_field
        self._dtype = dtype
        self.shape = shape
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def field(self, name: str) -> Field:
        """Return the replicated field with this name.

        Raises:
            TypeError: the column is local.
        """
        if self._make_field is None:
            raise TypeError(f"column {name!r} is local and has no replicated field")
        return self._make_field(name)

    @property
    def is_replicated(self) -> bool:
        """Whether the column is sent to clients and saved."""
        return self._make_field is not None

    def dtype(self) -> np.dtype[Any]:
        """Return the numpy type of the column's array."""
        return np.dtype(self._dtype if self._make_field is None else self._make_field(self.name).dtype)

    @overload
    def __get__(self, table: None, owner: type) -> Self: ...
    @overload
    def __get__(self, table: ColumnOwner, owner: type) -> NDArray[Any]: ...
    @overload
    def __get__(self, table: object, owner: type) -> Any: ...  # an input, whose values replace the declarations
    def __get__(self, table: Any, owner: type) -> Self | NDArray[Any] | Any:
        return self if table is None else table.view(self.name)

    def __set__(self, table: ColumnOwner, values: Any) -> None:
        # `table.x += 1` reads the view, changes it in place and assigns it back: then there is nothing to copy.
        view = table.view(self.name)
        if values is not view:
            view[:] = values


def real(low: float, high: float, *, step: float) -> Column:
    """Declare a real number from `low` to `high`, in world units, that is sent rounded to `step`."""
    return Column(lambda name: fields.real(name, low, high, step))


def angle(*, bits: int) -> Column:
    """Declare an angle in radians that is sent in 2^bits steps per turn."""
    return Column(lambda name: fields.angle(name, bits))


def uint(*, bits: int) -> Column:
    """Declare an unsigned integer of up to 53 bits."""
    return Column(lambda name: fields.uint(name, bits))


def sint(*, bits: int) -> Column:
    """Declare a signed integer of up to 53 bits."""
    return Column(lambda name: fields.sint(name, bits))


def boolean() -> Column:
    """Declare a boolean."""
    return Column(fields.boolean)


def enumeration(*labels: str) -> Column:
    """Declare one of a closed set of labels; the column holds the label's index."""
    return Column(lambda name: fields.enumeration(name, labels))


def entity() -> Column:
    """Declare a reference to an entity by its id; 0 means no entity."""
    return Column(fields.entity)


def text(*, bytes_max: int = 64) -> Column:
    """Declare a short text that is sent when it changes; it is truncated to `bytes_max` bytes of UTF-8."""
    return Column(lambda name: fields.text(name, bytes_max))


def blob(*, bytes_max: int) -> Column:
    """Declare opaque bytes of the game, at most `bytes_max`, that are sent when they change."""
    return Column(lambda name: fields.blob(name, bytes_max))


def local(dtype: DTypeLike, *, size: int | None = None) -> Column:
    """Declare a column for the simulation only, which is neither sent nor saved.

    Args:
        dtype: the numpy type.
        size: the number of components of a vector; the column is then (entities, size). None: a single value.
    """
    if size is not None and size < 1:
        raise ValueError(f"a local vector must have at least 1 component, not {size}")
    return Column(None, dtype, () if size is None else (size,))
