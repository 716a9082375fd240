"""Columns that are one value together: `vec2`, `vec3` and `quaternion`.

    class Bodies(Table):
        position = vec3(-64, 64, step=0.01)   # columns position_x, position_y and position_z
        rotation = quaternion(bits=10)

A group is declared once and replicated as ordinary columns, its parts. Reading a group of a table returns a numpy
view, (entities, components). The view of a vector is the memory of its parts; a quaternion has its own memory, and
its parts are computed when the table is quantised. Pure; imports schemas only.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tickwire.schemas import fields, quaternions
from tickwire.schemas.groups import Group
from tickwire.schemas.messages import GroupKind
from tickwire.server.replication.columns import Column


class ColumnGroup(Column):
    """A declared group; a descriptor of `Table`, as a column is.

    Args:
        kind: the meaning of the parts.
        parts: the columns of the parts, by the ending of their names.
    """

    def __init__(self, kind: GroupKind, parts: Mapping[str, Column]) -> None:
        super().__init__(None, np.float32)
        self.kind = kind
        self._parts = parts

    def __set_name__(self, owner: type, name: str) -> None:
        super().__set_name__(owner, name)
        for part, column in self.parts.items():
            column.name = part

    @property
    def parts(self) -> dict[str, Column]:
        """The columns of the parts by name, in order."""
        return {f"{self.name}_{ending}": column for ending, column in self._parts.items()}

    @property
    def group(self) -> Group:
        """The group as clients see it."""
        return Group(self.name, self.kind, tuple(self.parts))

    def field(self, name: str) -> fields.Field:
        """Raise TypeError: a group is several fields, for example of an input."""
        raise TypeError(f"{name!r} is a {self.kind.name.lower()}, which only a table can have; declare its parts")


def vec2(low: float, high: float, *, step: float) -> ColumnGroup:
    """Declare a vector (x, y), each from `low` to `high`, in world units, that is sent rounded to `step`."""
    return _vector("xy", low, high, step)


def vec3(low: float, high: float, *, step: float) -> ColumnGroup:
    """Declare a vector (x, y, z), each from `low` to `high`, in world units, that is sent rounded to `step`."""
    return _vector("xyz", low, high, step)


def quaternion(*, bits: int = 10) -> ColumnGroup:
    """Declare a rotation as a quaternion (x, y, z, w), of any length, that is sent as three numbers of `bits` each.

    A client reads a unit quaternion. With step = 2 * LIMIT / (2^bits - 2), its rotation differs from the game's by at
    most step * sqrt(3 + 9 * KEEP_RATIO^2) * (1 + 2 * step) + 2e-6 radians, LIMIT and KEEP_RATIO being those of
    tickwire.schemas.quaternions: 0.3 degrees for 10 bits, and half as much for each bit more.

    A new entity has the rotation (0, 0, 0, 1), which turns nothing. A quaternion that is zero or not finite is sent
    as that one, and counted as out of range.
    """
    least, most = quaternions.BITS_MIN, quaternions.BITS_MAX
    if not least <= bits <= most:
        raise ValueError(f"a quaternion must have {least} to {most} bits for each number, not {bits}")
    form = Column(lambda name: fields.uint(name, quaternions.FORM_BITS))
    limit, step = quaternions.LIMIT, quaternions.step(bits)
    numbers = {name: Column(partial(fields.real, low=-limit, high=limit, step=step)) for name in "abc"}
    return ColumnGroup(GroupKind.QUATERNION, {"form": form, **numbers})


def _vector(components: str, low: float, high: float, step: float) -> ColumnGroup:
    parts = {name: Column(partial(fields.real, low=low, high=high, step=step)) for name in components}
    return ColumnGroup(GroupKind.VECTOR, parts)


def expand_columns(
    owner: str, inherited: Mapping[str, Column], groups: Mapping[str, ColumnGroup], own: Mapping[str, Column]
) -> tuple[dict[str, ColumnGroup], dict[str, Column]]:
    """Return the groups and the columns of a table, each group replaced by its parts.

    Args:
        owner: the name of the table's class, for errors.
        inherited: the columns of its bases.
        groups: the groups of its bases.
        own: the columns and groups that the class declares.

    Raises:
        TypeError: a part has the name of another column.
    """
    kept = {name: group for name, group in groups.items() if name not in own}
    replaced = {part for name, group in groups.items() if name in own for part in group.parts}
    columns = {name: column for name, column in inherited.items() if name not in replaced}
    for name, column in own.items():
        if not isinstance(column, ColumnGroup):
            columns[name] = column
            continue
        kept[name] = column
        columns.pop(name, None)
        for part in column.parts.keys() & (columns.keys() | own.keys()):
            raise TypeError(f"{owner}.{part}: the parts of {owner}.{name} have this name; rename the column")
        columns |= column.parts
    for name, group in kept.items():
        for part in group.parts.keys() & own.keys():
            raise TypeError(f"{owner}.{part}: the parts of {owner}.{name} have this name; rename the column")
    return kept, columns


def split_values(table: str, groups: Mapping[str, ColumnGroup], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a new row with the components of vectors as values of their parts.

    Raises:
        ValueError: a vector has another number of components, or a part has a value too.
    """
    split = dict(values)
    for name, group in groups.items():
        if name not in values:
            continue
        size = 4 if group.kind is GroupKind.QUATERNION else len(group.parts)
        if np.shape(values[name]) != (size,):
            raise ValueError(f"{table}.{name} must have {size} numbers, not {values[name]!r}")
        if group.kind is GroupKind.VECTOR:
            if twice := values.keys() & group.parts.keys():
                raise ValueError(f"{table}.{min(twice)} is a part of {name}, which has a value too")
            split |= zip(group.parts, split.pop(name), strict=True)
    return split


class QuaternionPacker:
    """Keeps the parts of one quaternion column of a table.

    Args:
        name: the name of the column.
        parts: the names of its parts.
    """

    def __init__(self, name: str, parts: tuple[str, ...]) -> None:
        self.name = name
        self.parts = parts

    def pack(self, views: Mapping[str, NDArray[Any]]) -> int:
        """Compute the parts of all rows, and return the number of values that cannot be normalised.

        Args:
            views: the columns of the table by name, that of the quaternion included.
        """
        values = views[self.name]
        form, *numbers = (views[part] for part in self.parts)
        form[:], packed = quaternions.pack(values, form)
        for column, number in zip(numbers, packed, strict=True):
            column[:] = number
        return int(values.shape[0] - np.count_nonzero(quaternions.is_rotation(values)))

    def unpack(self, views: Mapping[str, NDArray[Any]], rows: NDArray[np.intp] | slice) -> None:
        """Compute the quaternion of these rows from the parts."""
        form, *numbers = (views[part][rows] for part in self.parts)
        views[self.name][rows] = quaternions.unpack(form, np.array(numbers))
