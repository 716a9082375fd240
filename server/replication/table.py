"""Entity tables: a structure of arrays in numpy, one row per entity, ids ascending.

Rows keep their positions during a tick: `compact` removes despawned entities, and the room calls it after `on_tick`.
A spawn may replace the arrays by larger ones, so views taken before it may be stale: read the columns again after
spawning. Each row is in one channel: EVERYONE unless the game sets another. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tickwire.schemas import quaternions
from tickwire.schemas.columns import Ids, Matrix, Texts
from tickwire.schemas.delta import ENTITIES_MAX
from tickwire.schemas.fields import Field
from tickwire.schemas.messages import FieldKind, GroupKind, TableDescription
from tickwire.server.replication.column_groups import ColumnGroup, QuaternionPacker, expand_columns, split_values
from tickwire.server.replication.columns import Column
from tickwire.server.replication.conversion import ShapeChanged, convert_column
from tickwire.server.replication.entity_ids import EntityIds
from tickwire.server.replication.quantiser import Quantiser
from tickwire.server.replication.table_state import TableState
from tickwire.server.replication.text_encoder import TextEncoder

ROWS_MIN = 16
EVERYONE = 0
"""The room-wide channel: every player subscribes to it unless the game unsubscribes the player."""
NOBODY = 0xFFFF
"""The channel that is sent to no player."""


class TableFull(ValueError):
    """The table has ENTITIES_MAX entities, the most that a frame can hold."""


class Row:
    """One entity of a table, with its columns as attributes. The data stays in the table.

    A row belongs to one entity. When the entity has been despawned and the tick is over, the row is dead and stays
    so, even if another entity gets the id: `id` is 0, and reading or writing a column raises KeyError.
    """

    __slots__ = ("_generation", "_id", "_table")

    _generation: int
    _id: int
    _table: Table

    def __init__(self, table: Table, id: int) -> None:
        object.__setattr__(self, "_table", table)
        object.__setattr__(self, "_id", id)
        object.__setattr__(self, "_generation", table._generations.get(id, 0))

    @property
    def id(self) -> int:
        """The entity's id; 0 once the row is dead."""
        return self._id if self.exists else 0

    @property
    def exists(self) -> bool:
        """Whether the entity exists. A despawned entity exists until the end of the tick."""
        return self._table._generations.get(self._id, 0) == self._generation

    def _at(self) -> int:
        table = self._table
        if table._generations.get(self._id, 0) != self._generation:
            raise KeyError(f"entity {self._id} of {type(table).__name__} was despawned")
        return table.row_of(self._id)

    def __getattr__(self, name: str) -> Any:
        value = self._table.view(name)[self._at()]
        return value.item() if isinstance(value, np.generic) else value

    def __setattr__(self, name: str, value: Any) -> None:
        # view() also notes that the game uses "channel".
        table = self._table
        view, row = table.view(name), self._at()
        try:
            view[row] = value
        except (TypeError, ValueError) as error:
            raise table._refuse_value(name, value, error) from error

    def despawn(self) -> None:
        """Remove the entity at the end of this tick. Idempotent."""
        self._table.despawn(self)

    def row_in(self, table: Table) -> int | None:
        """Return the entity's row index in a table; None if it is not an existing entity of that table."""
        if self._table is not table or table._generations.get(self._id, 0) != self._generation:
            return None
        return table._rows.get(self._id)

    @property
    def channel(self) -> int:
        """The channel that the entity is in: its subscribers receive the entity."""
        return int(self._table.channels[self._at()])

    @channel.setter
    def channel(self, channel: int) -> None:
        self._table.channel[self._at()] = channel

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Row) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[int, int, int]:
        return id(self._table), self._id, self._generation

    def __repr__(self) -> str:
        return f"<{type(self._table).__name__} {self._id}{'' if self.exists else ', despawned'}>"


class Table:
    """A kind of entity. A game subclasses it and declares columns; the room creates one instance.

    Args:
        ids: allocates the ids of new entities.

    Attributes:
        columns: the declared columns by name; of a vector or a quaternion, its parts.
        groups: the declared vectors and quaternions by name.
        fields: the replicated fields.
        numeric, textual: the replicated fields that are numbers, and those that are texts or blobs.
        defaults: each column's value in a new row.
        layout_version: increases whenever rows are added, removed or reordered.
        has_channels: whether a row may be in another channel than EVERYONE.
    """

    columns: Mapping[str, Column] = {}
    groups: Mapping[str, ColumnGroup] = {}
    fields: tuple[Field, ...] = ()
    numeric: tuple[Field, ...] = ()
    textual: tuple[Field, ...] = ()
    _reference_names: tuple[str, ...] = ()
    _spawnable: frozenset[str] = frozenset()
    defaults: Mapping[str, Any] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = {name: value for name, value in vars(cls).items() if isinstance(value, Column)}
        for name in own.keys() & {*dir(Table), *vars(Table()), *dir(Row)}:
            owner = "Row" if hasattr(Row, name) and not hasattr(Table, name) else "Table"
            raise TypeError(f"{cls.__name__}.{name}: {owner} has an attribute of this name; rename the column")
        cls.groups, cls.columns = expand_columns(cls.__name__, cls.columns, cls.groups, own)
        for group in cls.groups.values():
            if group.kind is GroupKind.VECTOR:
                for name, column in group.parts.items():
                    setattr(cls, name, column)
        cls.fields = tuple(column.field(name) for name, column in cls.columns.items() if column.is_replicated)
        cls.numeric = tuple(field for field in cls.fields if not field.is_text)
        cls.textual = tuple(field for field in cls.fields if field.is_text)
        cls._reference_names = tuple(field.name for field in cls.fields if field.kind is FieldKind.ENTITY)
        cls.defaults = dict.fromkeys(cls.columns, 0) | {
            field.name: "" if field.kind is FieldKind.TEXT else b"" for field in cls.textual
        }
        rotations = {name: group for name, group in cls.groups.items() if group.kind is GroupKind.QUATERNION}
        cls.defaults |= dict.fromkeys(rotations, quaternions.IDENTITY)
        computed = {part for group in rotations.values() for part in group.parts}
        cls._spawnable = frozenset(cls.columns.keys() - computed | rotations.keys())

    def __init__(self, ids: EntityIds | None = None) -> None:
        self._entity_ids = ids or EntityIds()
        self._generations = self._entity_ids.generations
        self._quantiser = Quantiser(self.numeric)
        self._texts = TextEncoder(self.textual)
        self._packers = [
            QuaternionPacker(name, tuple(group.parts))
            for name, group in self.groups.items()
            if group.kind is GroupKind.QUATERNION
        ]
        self._bad_rotations: dict[str, int] = {}
        self._count = 0
        self._ids: Ids
        self._channels: NDArray[np.uint16]
        self._arrays: dict[str, NDArray[Any]]
        self._views: dict[str, NDArray[Any]] = {}
        self._rows: dict[int, int] = {}
        self._despawned: set[int] = set()
        self._is_ordered = True
        self.layout_version = 0
        self.has_channels = False
        self._allocate(ROWS_MIN)

    # -- entities -------------------------------------------------------------------------------------------

    def spawn(self, *, channel: int = EVERYONE, **values: Any) -> Row:
        """Add an entity.

        Args:
            channel: the channel of the entity.
            values: the values of columns, vectors and quaternions; other columns are 0, texts empty.

        Returns:
            The entity's row.

        Raises:
            TableFull: the table has ENTITIES_MAX entities, including those despawned in this tick.
            ValueError: a name is not a column, or a vector has another number of components.
        """
        if self.groups:
            values = split_values(type(self).__name__, self.groups, values)
        unknown = values.keys() - self._spawnable
        if unknown:
            raise ValueError(f"{type(self).__name__} has no column {', '.join(sorted(unknown))}")
        if self._count == ENTITIES_MAX:
            raise TableFull(f"{type(self).__name__} is full: a table can have at most {ENTITIES_MAX:,} entities")
        if self._count == self._ids.size:
            self._grow()
        row, id = self._count, self._entity_ids.allocate()
        self._is_ordered = self._is_ordered and (row == 0 or id > self._ids[row - 1])
        self._ids[row] = id
        self._channels[row] = channel
        self.has_channels = self.has_channels or channel != EVERYONE
        try:
            for name, array in self._arrays.items():
                array[row] = values.get(name, self.defaults[name])
        except (TypeError, ValueError) as error:
            self._entity_ids.release(id)
            raise self._refuse_value(name, values[name], error) from error
        self._rows[id] = row
        self._count += 1
        self._resize_views()
        return Row(self, id)

    def despawn(self, entity: Row | int) -> None:
        """Remove an entity at the end of this tick. Idempotent; unknown ids and dead rows are ignored."""
        id = entity.id if isinstance(entity, Row) else int(entity)
        if id in self:
            self._despawned.add(id)

    def despawn_from(self, count: int) -> None:
        """Despawn every entity that was spawned, in this tick, after the table had `count` rows."""
        self._despawned.update(self.ids[count:].tolist())

    def compact(self) -> None:
        """Remove despawned entities, and sort the rows by id if ids have been reused."""
        if not self._despawned and self._is_ordered:
            return
        despawned = np.fromiter(self._despawned, np.uint32, len(self._despawned))
        rows = np.flatnonzero(~np.isin(self.ids, despawned))
        if not self._is_ordered:
            rows = rows[np.argsort(self.ids[rows], kind="stable")]
        arrays: list[NDArray[Any]] = [self._ids, self._channels, *self._arrays.values()]
        for array in arrays:
            array[: rows.size] = array[rows]
        for id in sorted(self._despawned):
            self._entity_ids.release(id)
        self._count = rows.size
        self._rebuild_index()

    def clear_references(self, ids: list[int]) -> None:
        """Set each entity field that has one of these ids to 0, no entity."""
        if not ids:
            return
        for name in self._reference_names:
            view = self._views[name]
            view[np.isin(view, ids)] = 0

    def row_of(self, id: int) -> int:
        """Return the row index of an entity in this tick.

        Raises:
            KeyError: the table has no entity with this id.
        """
        try:
            return self._rows[id]
        except KeyError:
            raise KeyError(f"{type(self).__name__} has no entity {id}") from None

    def rows_of(self, ids: Ids | list[int]) -> NDArray[np.int64]:
        """Return the row indices of many entities in this tick.

        Raises:
            KeyError: the table has no entity with one of these ids.
        """
        return np.fromiter(map(self.row_of, ids), np.int64, len(ids))

    @property
    def ids(self) -> Ids:
        """The ids of all rows, (entities,) uint32: a view. Ascending, except for entities spawned in this tick."""
        return self._ids[: self._count]

    @property
    def channel(self) -> NDArray[np.uint16]:
        """Each row's channel, (entities,) uint16: a view that the game may write."""
        return self.view("channel")

    @channel.setter
    def channel(self, values: Any) -> None:
        view = self.view("channel")
        if values is not view:
            view[:] = values

    @property
    def channels(self) -> NDArray[np.uint16]:
        """Each row's channel, for reading only: does not set `has_channels`."""
        return self._views["channel"]

    @property
    def clamped(self) -> dict[str, int]:
        """The numbers of values so far that were out of their field's range, by field or quaternion."""
        return {**self._quantiser.clamped, **self._texts.clamped, **self._bad_rotations}

    def view(self, name: str) -> NDArray[Any]:
        """Return a column's live rows: a view, valid until the next spawn or the end of the tick.

        Its shape is (entities,), of a vector or a quaternion (entities, components).
        """
        if name == "channel":
            self.has_channels = True
        try:
            return self._views[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no column {name!r}") from None

    def _refuse_value(self, name: str, value: object, error: Exception) -> ValueError:
        """Return the error about a value that numpy cannot store in a column."""
        column = f"{type(self).__name__}.{name}"
        labels = next((field.labels for field in self.numeric if field.name == name), ())
        if isinstance(value, str) and value in labels:
            return ValueError(f"{column} has the index of a label; write {labels.index(value)} for {value!r}")
        return ValueError(f"{column} cannot be {repr(value)[:80]}: {error}")

    def __len__(self) -> int:
        return self._count

    def __contains__(self, id: int) -> bool:
        return id in self._rows and id not in self._despawned

    def __getitem__(self, id: int) -> Row:
        self.row_of(id)
        return Row(self, id)

    def __iter__(self) -> Iterator[Row]:
        return (Row(self, int(id)) for id in self.ids.tolist() if id not in self._despawned)

    # -- snapshots ------------------------------------------------------------------------------------------

    def quantise(self) -> Matrix:
        """Return the quantised numeric fields, (fields, entities) int64, in a new array.

        Raises:
            tickwire.schemas.fields.NotANumber: a column has NaN or infinity; names the field and the entity.
        """
        for packer in self._packers:
            if bad := packer.pack(self._views):
                self._bad_rotations[packer.name] = self._bad_rotations.get(packer.name, 0) + bad
        return self._quantiser.quantise(self.ids, self._block[:, : self._count], self._views)

    def texts(self) -> Texts:
        """Return the encoded text fields, (text fields, entities) of bytes; the same object while unchanged.

        Raises:
            tickwire.server.replication.text_encoder.InvalidText: a value has another type, or a blob is too long.
        """
        return self._texts.encode(self.ids, [self._views[field.name] for field in self.textual])

    def state(self) -> TableState:
        """Return the table in its saved form."""
        channels = self.channels.copy() if self.has_channels else None
        texts = self.texts().copy() if self.textual else None
        return TableState(self.numeric + self.textual, self.ids.copy(), self.quantise(), texts, channels)

    def raw_columns(self) -> dict[str, NDArray[Any]]:
        """Return copies of all numeric columns, local ones included, by name."""
        return {
            name: array[: self._count].copy() for name, array in self._arrays.items() if array.dtype != np.object_
        }

    def numeric_arrays(self) -> list[NDArray[Any]]:
        """Return the live rows of all numeric columns, local ones included, in order: views, for reading only."""
        return [array[: self._count] for array in self._arrays.values() if array.dtype != np.object_]

    def restore(self, state: TableState) -> dict[str, TableState]:
        """Replace all rows by saved ones, matching fields by name.

        Fields that were not saved get their defaults. `Row` objects of the entities before are dead.

        Returns:
            The saved fields that this table does not declare, by name, each as a table of one field.

        Raises:
            ShapeChanged: a field cannot be converted to its current declaration; do not use the table afterwards.
        """
        for id in self._rows:
            self._generations[id] = self._generations.get(id, 0) + 1
        self._allocate(max(ROWS_MIN, state.ids.size))
        self._count = state.ids.size
        self._ids[: self._count] = state.ids
        if state.channels is not None:
            self._channels[: self._count] = state.channels
            self.has_channels = True
        unknown: dict[str, TableState] = {}
        changed: set[str] = set()
        for one in state.split_fields():
            (field,) = one.fields
            if field.name not in self.columns:
                unknown[field.name] = one
                continue
            self._arrays[field.name][: self._count] = self._read(one)
            if self._declared_field(field.name) not in (field, None):
                changed.add(field.name)
        self._resize_views()
        for packer in self._packers:
            packer.unpack(self._views, slice(None))
        for name, column in (state.raw_columns or {}).items():
            array = self._arrays.get(name)
            if array is None or name in changed or array.dtype != column.dtype:
                continue
            live = array[: self._count]
            if live.size == column.size:
                live[:] = column.reshape(live.shape)
        self._rebuild_index()
        self._is_ordered = bool((np.diff(self.ids.astype(np.int64)) > 0).all())
        self.compact()
        return unknown

    def restore_field(self, one: TableState) -> None:
        """Fill one field of the existing rows from a table of one field; rows without a saved value are unchanged.

        Raises:
            ShapeChanged: the field cannot be converted to its current declaration.
        """
        (field,) = one.fields
        column = self._read(one)
        packers = [packer for packer in self._packers if field.name in packer.parts]
        for packer in packers:
            packer.pack(self._views)
        rows = []
        for id, value in zip(one.ids.tolist(), column, strict=True):
            row = self._rows.get(id)
            if row is not None:
                self._arrays[field.name][row] = value
                rows.append(row)
        for packer in packers:
            packer.unpack(self._views, np.array(rows, np.intp))

    def _read(self, one: TableState) -> NDArray[Any]:
        (field,) = one.fields
        values = one.values[0] if one.texts is None else one.texts[0]
        declared = self._declared_field(field.name)
        try:
            return field.dequantise(values) if declared is None else convert_column(field, declared, values)
        except ShapeChanged as error:
            raise ShapeChanged(f"field {field.name!r} {error}") from error

    def _declared_field(self, name: str) -> Field | None:
        """Return the declared field with this name; None for a local column."""
        column = self.columns[name]
        return column.field(name) if column.is_replicated else None

    @classmethod
    def describe(cls, name: str) -> TableDescription:
        """Return the table's description, as `Joined` sends it."""
        groups = tuple(group.group.describe(cls.fields) for group in cls.groups.values())
        return TableDescription(name, tuple(field.describe() for field in cls.fields), groups)

    # -- memory ---------------------------------------------------------------------------------------------

    def _allocate(self, capacity: int) -> None:
        self._count = 0
        self._ids = np.zeros(capacity, np.uint32)
        self._channels = np.zeros(capacity, np.uint16)
        # The scaled columns share one block, so that they are quantised together.
        self._block = np.zeros((len(self._quantiser.scaled), capacity), np.float32)
        in_block = {field.name: self._block[row] for row, field in enumerate(self._quantiser.scaled)}
        self._arrays = {
            name: in_block[name]
            if name in in_block
            else np.full((capacity, *column.shape), self.defaults[name], column.dtype())
            for name, column in self.columns.items()
        }
        for packer in self._packers:
            self._arrays[packer.name] = np.tile(np.array(quaternions.IDENTITY, np.float32), (capacity, 1))
        self._vectors = [
            (name, self._rows_of_vector(group))
            for name, group in self.groups.items()
            if group.kind is GroupKind.VECTOR
        ]
        self._resize_views()

    def _rows_of_vector(self, group: ColumnGroup) -> NDArray[np.float32]:
        """Return the rows of the block that are the parts of a vector: adjacent, as its fields are."""
        first = [field.name for field in self._quantiser.scaled].index(next(iter(group.parts)))
        return self._block[first : first + len(group.parts)]

    def _grow(self) -> None:
        ids, channels, arrays, count = self._ids, self._channels, self._arrays, self._count
        self._allocate(2 * ids.size)
        self._count = count
        self._ids[:count], self._channels[:count] = ids[:count], channels[:count]
        for name, array in arrays.items():
            self._arrays[name][:count] = array[:count]
        self._resize_views()

    def _rebuild_index(self) -> None:
        self._despawned.clear()
        self._is_ordered = True
        self._rows = {id: row for row, id in enumerate(self.ids.tolist())}
        self._resize_views()

    def _resize_views(self) -> None:
        self.layout_version += 1
        self._views = {name: array[: self._count] for name, array in self._arrays.items()}
        for name, rows in self._vectors:
            self._views[name] = rows[:, : self._count].T
        self._views["channel"] = self._channels[: self._count]


def create_dead_row() -> Row:
    """Return a dead row."""
    row = Row(Table(), 0)
    object.__setattr__(row, "_generation", -1)
    return row
