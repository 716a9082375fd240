"""Presents the tables of a room to the page. Pure.

Local columns are included: they are a part of the state that clients do not see, and often the cause of a bug.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tickwire.schemas.messages import FieldKind, GroupKind
from tickwire.server.replication.columns import Column
from tickwire.server.replication.table import Table
from tickwire.server.rooms.room import Room
from tickwire.server.viewer.views import ColumnLayout, TableLayout, TableRows, TickState

DIGITS = 6
"""The decimal places of a number; a float32 has seven significant digits."""


def describe_tables(room: Room) -> list[TableLayout]:
    """Return the layout of the tables of a room."""
    return [_describe(name, type(getattr(room, name))) for name in room.tables]


def read_state(room: Room, rows_max: int) -> TickState:
    """Return the tables of a room, with at most `rows_max` rows each."""
    return TickState(room.tick, [_read(name, getattr(room, name), rows_max) for name in room.tables])


def _describe(name: str, table: type[Table]) -> TableLayout:
    shown = _shown_columns(table)
    columns = [_describe_column(column_name, column) for column_name, column in shown.items()]
    heading = next((column.name for column in columns if column.kind == "angle"), "")
    return TableLayout(name, columns, _position(table, columns), heading)


def _shown_columns(table: type[Table]) -> dict[str, Column]:
    """Return the columns of a table, with each quaternion in place of its parts."""
    rotations = {name: group for name, group in table.groups.items() if group.kind is GroupKind.QUATERNION}
    parts = {part: name for name, group in rotations.items() for part in group.parts}
    shown: dict[str, Column] = {}
    for name, column in table.columns.items():
        if name in parts:
            shown[parts[name]] = rotations[parts[name]]
        else:
            shown[name] = column
    return shown


def _describe_column(name: str, column: Column) -> ColumnLayout:
    if isinstance(getattr(column, "kind", None), GroupKind):
        return ColumnLayout(name, "quaternion")
    if not column.is_replicated:
        return ColumnLayout(name, "local")
    field = column.field(name)
    return ColumnLayout(name, FieldKind(field.kind).name.lower(), field.low, field.high, field.labels)


def _position(table: type[Table], columns: list[ColumnLayout]) -> tuple[str, ...]:
    """Return the columns of the first vector, or the real columns x and y; empty if the table has neither."""
    for group in table.groups.values():
        if group.kind is GroupKind.VECTOR:
            return tuple(group.parts)
    reals = {column.name for column in columns if column.kind == "real"}
    return ("x", "y") if {"x", "y"} <= reals else ()


def _read(name: str, table: Table, rows_max: int) -> TableRows:
    columns = {column: _to_plain(table.view(column)[:rows_max]) for column in _shown_columns(type(table))}
    return TableRows(name, len(table), table.ids[:rows_max].tolist(), columns)


def _to_plain(values: NDArray[Any]) -> list[Any]:
    if values.dtype == np.object_:
        return [value.hex() if isinstance(value, bytes) else str(value) for value in values]
    if np.issubdtype(values.dtype, np.floating):
        plain: list[Any] = np.round(values.astype(np.float64), DIGITS).tolist()
        return plain
    listed: list[Any] = values.tolist()
    return listed
