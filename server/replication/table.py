"""Entity tables: a structure of arrays in numpy, one row an entity, ids ascending.

Rows stay where they are during a tick: a despawned entity is taken out by `compact`, which the room calls after
`on_tick`. A spawn may grow the arrays, so a view taken before it may be stale: take columns anew after spawning.
Ids are given in ascending order and never used twice, which keeps every snapshot sorted for free. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.delta import ENTITIES_MAX, Ids, Matrix
from schemas.fields import Field
from schemas.messages import TableDescription
from server.replication.columns import Column

ROWS_MIN = 16


class EntityIds:
    """Gives a room's entities their ids: from 1 up, over all of its tables, none twice."""

    def __init__(self, next_id: int = 1) -> None:
        self.next_id = next_id

    def take(self) -> int:
        """The next id."""
        if self.next_id >= 1 << 32:
            raise OverflowError("the room has used up all entity ids")
        self.next_id += 1
        return self.next_id - 1


class TableState(msgspec.Struct, frozen=True):
    """A table as it is saved: what clients see of it, in quantised integers."""

    fields: tuple[Field, ...]
    ids: Ids
    values: Matrix


class Row:
    """One entity of a table: its columns as attributes. Holds no memory of its own; stale once despawned."""

    __slots__ = ("_table", "id")

    _table: Table
    id: int

    def __init__(self, table: Table, id: int) -> None:
        object.__setattr__(self, "_table", table)
        object.__setattr__(self, "id", id)

    def __getattr__(self, name: str) -> Any:
        return self._table.view(name)[self._table.row_of(self.id)].item()

    def __setattr__(self, name: str, value: Any) -> None:
        self._table.view(name)[self._table.row_of(self.id)] = value

    def __repr__(self) -> str:
        return f"<{type(self._table).__name__} {self.id}>"


class Table:
    """A kind of entity. Subclass it and declare columns; the room makes one instance.

    Args:
        ids: where new entities get their ids from.
    """

    columns: Mapping[str, Column] = {}
    fields: tuple[Field, ...] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = {name: value for name, value in vars(cls).items() if isinstance(value, Column)}
        cls.columns = {**cls.columns, **own}
        cls.fields = tuple(column.field(name) for name, column in cls.columns.items() if column.is_replicated)

    def __init__(self, ids: EntityIds | None = None) -> None:
        self._entity_ids = ids or EntityIds()
        self._count = 0
        self._ids = np.zeros(ROWS_MIN, np.uint32)
        self._arrays = {name: np.zeros(ROWS_MIN, column.dtype()) for name, column in self.columns.items()}
        self._views: dict[str, NDArray[Any]] = {}
        self._rows: dict[int, int] = {}
        self._gone: set[int] = set()
        self._resize_views()

    # -- entities -------------------------------------------------------------------------------------------

    def spawn(self, **values: Any) -> Row:
        """Adds an entity; columns that are not given are zero.

        Raises:
            ValueError: a name is not a column, or the table holds ENTITIES_MAX.
        """
        unknown = values.keys() - self.columns.keys()
        if unknown:
            raise ValueError(f"{type(self).__name__} has no column {', '.join(sorted(unknown))}")
        if self._count == ENTITIES_MAX:
            raise ValueError(f"{type(self).__name__} is full: {ENTITIES_MAX} entities")
        if self._count == self._ids.size:
            self._grow()
        row, id = self._count, self._entity_ids.take()
        self._ids[row] = id
        for name, array in self._arrays.items():
            array[row] = values.get(name, 0)
        self._rows[id] = row
        self._count += 1
        self._resize_views()
        return Row(self, id)

    def despawn(self, id: int) -> None:
        """Takes an entity out at the end of this tick. Idempotent; unknown ids are ignored."""
        if id in self:
            self._gone.add(id)

    def compact(self) -> None:
        """Closes the gaps that this tick's despawned entities leave; the order of the others is kept."""
        if not self._gone:
            return
        stays = ~np.isin(self.ids, np.fromiter(self._gone, np.uint32, len(self._gone)))
        count = int(stays.sum())
        self._ids[:count] = self.ids[stays]
        for name, array in self._arrays.items():
            array[:count] = self._views[name][stays]
        self._count = count
        self._settle()

    def row_of(self, id: int) -> int:
        """The row of an entity, this tick.

        Raises:
            KeyError: there is no such entity.
        """
        try:
            return self._rows[id]
        except KeyError:
            raise KeyError(f"{type(self).__name__} has no entity {id}") from None

    @property
    def ids(self) -> Ids:
        """(entities,) uint32, ascending: a view."""
        return self._ids[: self._count]

    def view(self, name: str) -> NDArray[Any]:
        """(entities,) of a column: a view of the live rows, good until the next spawn or the end of the tick."""
        return self._views[name]

    def __len__(self) -> int:
        return self._count

    def __contains__(self, id: int) -> bool:
        return id in self._rows and id not in self._gone

    def __getitem__(self, id: int) -> Row:
        self.row_of(id)
        return Row(self, id)

    def __iter__(self) -> Iterator[Row]:
        return (Row(self, int(id)) for id in self.ids.tolist() if id not in self._gone)

    # -- snapshots ------------------------------------------------------------------------------------------

    def quantise(self) -> Matrix:
        """(fields, entities): what clients are told, in integers, freshly allocated.

        Raises:
            schemas.fields.NotANumber: a column holds NaN; names the field and the row.
        """
        values = np.empty((len(self.fields), self._count), np.int64)
        for row, field in enumerate(self.fields):
            values[row] = field.quantise(self._views[field.name])
        return values

    def state(self) -> TableState:
        """This table as it is saved."""
        return TableState(self.fields, self.ids.copy(), self.quantise())

    def restore(self, state: TableState) -> None:
        """Replaces all rows by saved ones, by field name; fields that were not saved are zero."""
        self._count = state.ids.size
        capacity = max(ROWS_MIN, self._count)
        self._ids = np.zeros(capacity, np.uint32)
        self._ids[: self._count] = state.ids
        self._arrays = {name: np.zeros(capacity, column.dtype()) for name, column in self.columns.items()}
        for field, values in zip(state.fields, state.values, strict=True):
            if field.name in self._arrays:
                self._arrays[field.name][: self._count] = field.dequantise(values)
        self._settle()

    @classmethod
    def describe(cls, name: str) -> TableDescription:
        """This table as Joined tells it."""
        return TableDescription(name, tuple(field.describe() for field in cls.fields))

    def _grow(self) -> None:
        self._ids = np.concatenate([self._ids, np.zeros_like(self._ids)])
        self._arrays = {name: np.concatenate([a, np.zeros_like(a)]) for name, a in self._arrays.items()}

    def _settle(self) -> None:
        self._gone.clear()
        self._rows = {id: row for row, id in enumerate(self.ids.tolist())}
        self._resize_views()

    def _resize_views(self) -> None:
        self._views = {name: array[: self._count] for name, array in self._arrays.items()}
