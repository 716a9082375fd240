"""Groups: adjacent fields of a table that are one value for a game, for example the vector of a position.

On the wire and in a saved room the fields of a group are fields like all others; a group adds a name and a meaning.
A client that does not know groups reads the fields.

    VECTOR       `size` REAL fields: the components, x first
    QUATERNION   a UINT field, the form, and three REAL fields, a, b and c: see schemas/quaternions.py

Pure; imports numpy and schemas only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickwire.schemas import quaternions
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.fields import Field
from tickwire.schemas.messages import FieldKind, GroupDescription, GroupKind, TableDescription

VECTOR_SIZE_MAX = 4


class Group(msgspec.Struct, frozen=True):
    """One group.

    Args:
        name: the name in the game's declaration.
        kind: the meaning of the fields.
        parts: the names of the fields, in order.
    """

    name: str
    kind: GroupKind
    parts: tuple[str, ...]

    def describe(self, fields: Sequence[Field]) -> GroupDescription:
        """Return the group's description, as `Joined` sends it.

        Args:
            fields: the fields of the table.
        """
        first = [field.name for field in fields].index(self.parts[0])
        return GroupDescription(self.name, self.kind.value, first, len(self.parts))

    def join(self, columns: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Return the values, (entities, components) float32, of the columns of all parts in the game's units."""
        if self.kind is GroupKind.QUATERNION:
            return quaternions.unpack(columns[0], np.array(columns[1:])).astype(np.float32)
        return np.array(columns, np.float32).T


def from_description(table: TableDescription, fields: Sequence[Field]) -> tuple[Group, ...]:
    """Return the groups of a table. Descriptions come from a peer, and every value is checked.

    Args:
        table: the table's description. Groups of an unknown kind, of a newer server, are left out.
        fields: the fields of the table.

    Raises:
        MalformedMessage: a group's fields do not exist, or are not of its kind.
    """
    return tuple(_create_group(one, fields) for one in table.groups if one.kind in _KINDS)


_KINDS = frozenset(kind.value for kind in GroupKind)


def _create_group(description: GroupDescription, fields: Sequence[Field]) -> Group:
    first, size, kind = description.first, description.size, GroupKind(description.kind)
    parts = fields[first : first + size]
    kinds = [field.kind for field in parts]
    if kind is GroupKind.QUATERNION:
        is_valid = kinds == [FieldKind.UINT, *3 * [FieldKind.REAL]] and parts[0].bits == quaternions.FORM_BITS
    else:
        is_valid = 2 <= size <= VECTOR_SIZE_MAX and kinds == size * [FieldKind.REAL]
    if not is_valid or any(field.name == description.name for field in fields):
        raise MalformedMessage(f"the group {description.name!r} of fields {first} to {first + size - 1} is invalid")
    return Group(description.name, kind, tuple(field.name for field in parts))
