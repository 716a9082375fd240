"""How a game declares a table's columns and a room's inputs.

    class Ships(Table):
        x = real(-500, 500, step=1 / 32)    # replicated: quantised, sent, saved
        speed = local(np.float32)           # simulated only

A column read on a table is a numpy view of its live rows. Pure; imports schemas only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tickwire.schemas import fields
from tickwire.schemas.fields import Field

if TYPE_CHECKING:
    from tickwire.server.replication.table import Table


class Column:
    """One declared column; a descriptor of `Table`.

    Args:
        make_field: gives the replicated field for a name; None for a local column.
        dtype: the numpy type of a local column.
    """

    def __init__(self, make_field: Callable[[str], Field] | None, dtype: DTypeLike | None = None) -> None:
        self._make_field = make_field
        self._dtype = dtype
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def field(self, name: str) -> Field:
        """The replicated field under this name."""
        if self._make_field is None:
            raise TypeError(f"{name!r} is local: it has no field")
        return self._make_field(name)

    @property
    def is_replicated(self) -> bool:
        """Whether clients see it and stores keep it."""
        return self._make_field is not None

    def dtype(self) -> np.dtype[Any]:
        """The numpy type that the game sees."""
        return np.dtype(self._dtype if self._make_field is None else self._make_field(self.name).dtype)

    @overload
    def __get__(self, table: None, owner: type) -> Self: ...
    @overload
    def __get__(self, table: Table, owner: type) -> NDArray[Any]: ...
    def __get__(self, table: Table | None, owner: type) -> Self | NDArray[Any]:
        return self if table is None else table.view(self.name)

    def __set__(self, table: Table, values: Any) -> None:
        # `table.x += 1` reads the view, changes it in place and assigns it back: then there is nothing to copy.
        view = table.view(self.name)
        if values is not view:
            view[:] = values


def real(low: float, high: float, *, step: float) -> Column:
    """A real number from `low` to `high` in world units, sent rounded to `step`."""
    return Column(lambda name: fields.real(name, low, high, step))


def angle(*, bits: int) -> Column:
    """An angle in radians, sent in 2^bits steps a turn."""
    return Column(lambda name: fields.angle(name, bits))


def uint(*, bits: int) -> Column:
    """An unsigned integer."""
    return Column(lambda name: fields.uint(name, bits))


def sint(*, bits: int) -> Column:
    """A signed integer."""
    return Column(lambda name: fields.sint(name, bits))


def boolean() -> Column:
    """True or false."""
    return Column(fields.boolean)


def enumeration(*labels: str) -> Column:
    """One of a closed set of labels; the column holds the label's place."""
    return Column(lambda name: fields.enumeration(name, labels))


def entity() -> Column:
    """A reference to an entity by its id; 0 is nobody."""
    return Column(fields.entity)


def text(*, bytes_max: int = 64) -> Column:
    """A short text, sent when it changes; above `bytes_max` bytes of UTF-8 it is cut at a whole character."""
    return Column(lambda name: fields.text(name, bytes_max))


def blob(*, bytes_max: int) -> Column:
    """Bytes that only the game understands, sent when they change."""
    return Column(lambda name: fields.blob(name, bytes_max))


def local(dtype: DTypeLike) -> Column:
    """A column that the game simulates with: never sent, never saved."""
    return Column(None, dtype)
