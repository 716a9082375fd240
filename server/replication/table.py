"""Entity tables: a structure of arrays in numpy, one row an entity, ids ascending.

Rows stay where they are during a tick: a despawned entity is taken out by `compact`, which the room calls after
`on_tick`. A spawn may grow the arrays, so a view taken before it may be stale: take columns anew after spawning.
Each row is in one channel: everybody's, unless the game says otherwise. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickwire.schemas.columns import Ids, Matrix, Texts
from tickwire.schemas.delta import ENTITIES_MAX
from tickwire.schemas.fields import Field
from tickwire.schemas.messages import FieldKind, TableDescription
from tickwire.server.replication.columns import Column
from tickwire.server.replication.conversion import ShapeChanged, convert_column
from tickwire.server.replication.quantiser import Quantiser
from tickwire.server.replication.text_encoder import TextEncoder

ROWS_MIN = 16
EVERYONE = 0
"""The channel that every player watches unless the game takes it away."""
NOBODY = 0xFFFF
"""The channel that is told to no one."""
QUARANTINE_TICKS = 4096
"""How long an id rests before another entity gets it: longer than any baseline lives, and than clients are away."""


class EntityIds:
    """Gives a room's entities their ids: from 1 up, over all of its tables; one that has rested is used again.

        taken --the entity is despawned--> resting for QUARANTINE_TICKS --recycled--> free --> taken

    Attributes:
        next_id: above every id that was given so far.
        tick: the room's tick.
        generations: how often each id was released; an id that is not here was never. A `Row` remembers it, so that
            it stays dead when another entity gets the id.
    """

    def __init__(self, next_id: int = 1) -> None:
        self.next_id = next_id
        self.tick = 0
        self.generations: dict[int, int] = {}
        self._resting: deque[tuple[int, int]] = deque()
        self._free: deque[int] = deque()

    def take(self) -> int:
        """An id that nobody has."""
        if self._free:
            return self._free.popleft()
        if self.next_id >= 1 << 32:
            raise OverflowError("the room has used up all entity ids")
        self.next_id += 1
        return self.next_id - 1

    def release(self, id: int) -> None:
        """Its entity is gone: every Row of it is dead, and the id rests from now on."""
        self.generations[id] = self.generations.get(id, 0) + 1
        self._resting.append((self.tick, id))

    @property
    def has_rested(self) -> bool:
        """Whether an id has rested for long enough."""
        return bool(self._resting) and self.tick - self._resting[0][0] >= QUARANTINE_TICKS

    def recycle(self, tables: Iterable[Table], *, known: Collection[int]) -> None:
        """Make the ids that have rested free, once no entity field of the room names them any more.

        Args:
            tables: all tables of the room.
            known: ids that clients take for their own entity; these rest on.
        """
        rested: list[int] = []
        while self.has_rested:
            _, id = self._resting.popleft()
            if id in known:
                self._resting.append((self.tick, id))
            else:
                rested.append(id)
        for table in tables:
            table.forget_references(rested)
        self._free.extend(rested)


class TableFull(ValueError):
    """The table holds ENTITIES_MAX entities, which is what a frame can tell of."""


class TableState(msgspec.Struct, frozen=True):
    """A table as it is saved: what clients see of it, in quantised integers and bytes.

    Args:
        fields: all of them; first come the columns of `values`, then those of `texts`.
        channels: (entities,): which channel each row is in; None: all in EVERYONE.
        exact: of a room that moves, as it is in memory: every column that holds numbers, also local ones, by name.
    """

    fields: tuple[Field, ...]
    ids: Ids
    values: Matrix
    texts: Texts | None = None
    channels: NDArray[np.uint16] | None = None
    exact: dict[str, NDArray[Any]] | None = None

    def single_fields(self) -> list[TableState]:
        """Return each field as a table of its own, with the ids of all rows."""
        numeric = [field for field in self.fields if not field.is_text]
        textual = [field for field in self.fields if field.is_text]
        texts = [] if self.texts is None else list(self.texts)
        return [
            TableState((field,), self.ids, row[np.newaxis]) for field, row in zip(numeric, self.values, strict=True)
        ] + [
            TableState((field,), self.ids, self.values[:0], row[np.newaxis])
            for field, row in zip(textual, texts, strict=True)
        ]

    def of_rows(self, ids: Collection[int]) -> TableState:
        """Return the table without the rows whose ids are not among these."""
        kept = np.isin(self.ids, np.fromiter(ids, np.uint32, len(ids)))
        if kept.all():
            return self
        return TableState(
            self.fields,
            self.ids[kept],
            self.values[:, kept],
            None if self.texts is None else self.texts[:, kept],
            None if self.channels is None else self.channels[kept],
        )

    def with_fields(self, fields: Sequence[TableState]) -> TableState:
        """Return this table with other fields, each given as a table of its own with the same rows."""
        numeric = [one for one in fields if one.texts is None]
        textual = [one for one in fields if one.texts is not None]
        count = self.ids.size
        return msgspec.structs.replace(
            self,
            fields=tuple(one.fields[0] for one in (*numeric, *textual)),
            values=np.array([one.values[0] for one in numeric], np.int64).reshape(len(numeric), count),
            texts=np.concatenate([one.texts for one in textual if one.texts is not None]) if textual else None,
        )

    def with_field(self, name: str) -> TableState:
        """Return a table of a single field, which gets another name."""
        (field,) = self.fields
        return msgspec.structs.replace(self, fields=(msgspec.structs.replace(field, name=name),))


class Row:
    """One entity of a table: its columns as attributes. Holds no memory of its own.

    A row stays with its entity. Once that is despawned, and the tick is over, the row is dead for ever, also when
    another entity gets the id: then `id` is 0, and its columns raise a KeyError.
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
        """The entity's id; 0 once it is gone."""
        return self._id if self.exists else 0

    @property
    def exists(self) -> bool:
        """Whether the entity is there. One that was despawned is, until the end of the tick."""
        return self._table._generations.get(self._id, 0) == self._generation

    def _at(self) -> int:
        table = self._table
        if table._generations.get(self._id, 0) != self._generation:
            raise KeyError(f"{type(table).__name__} has no entity {self._id} any more")
        return table.row_of(self._id)

    def __getattr__(self, name: str) -> Any:
        value = self._table.view(name)[self._at()]
        return value.item() if isinstance(value, np.generic) else value

    def __setattr__(self, name: str, value: Any) -> None:
        # view() marks "channel" as used by the game, which is what setting it means.
        self._table.view(name)[self._at()] = value

    def despawn(self) -> None:
        """Take the entity out at the end of this tick. Idempotent."""
        self._table.despawn(self)

    def row_in(self, table: Table) -> int | None:
        """Its row, if it is an entity of this table that is still there."""
        return self._table._rows.get(self._id) if self._table is table and self.exists else None

    @property
    def channel(self) -> int:
        """Who is told of it."""
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
    """A kind of entity. Subclass it and declare columns; the room makes one instance.

    Args:
        ids: where new entities get their ids from.

    Attributes:
        layout: grows whenever rows come, go or change their places.
        has_channels: whether some row may be in another channel than EVERYONE.
    """

    columns: Mapping[str, Column] = {}
    fields: tuple[Field, ...] = ()
    numeric: tuple[Field, ...] = ()
    textual: tuple[Field, ...] = ()
    _reference_names: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = {name: value for name, value in vars(cls).items() if isinstance(value, Column)}
        for name in own.keys() & {*dir(Table), *vars(Table()), *dir(Row)}:
            owner = "Row" if hasattr(Row, name) and not hasattr(Table, name) else "Table"
            raise TypeError(f"{cls.__name__}.{name}: a column cannot be called so; the name is {owner}'s own")
        cls.columns = {**cls.columns, **own}
        cls.fields = tuple(column.field(name) for name, column in cls.columns.items() if column.is_replicated)
        cls.numeric = tuple(field for field in cls.fields if not field.is_text)
        cls.textual = tuple(field for field in cls.fields if field.is_text)
        cls._reference_names = tuple(field.name for field in cls.fields if field.kind is FieldKind.ENTITY)
        cls.defaults = dict.fromkeys(cls.columns, 0) | {
            field.name: "" if field.kind is FieldKind.TEXT else b"" for field in cls.textual
        }

    def __init__(self, ids: EntityIds | None = None) -> None:
        self._entity_ids = ids or EntityIds()
        self._generations = self._entity_ids.generations
        self._quantiser = Quantiser(self.numeric)
        self._texts = TextEncoder(self.textual)
        self._count = 0
        self._ids: Ids
        self._channels: NDArray[np.uint16]
        self._arrays: dict[str, NDArray[Any]]
        self._views: dict[str, NDArray[Any]] = {}
        self._rows: dict[int, int] = {}
        self._gone: set[int] = set()
        self._is_ordered = True
        self.layout = 0
        self.has_channels = False
        self._allocate(ROWS_MIN)

    # -- entities -------------------------------------------------------------------------------------------

    def spawn(self, *, channel: int = EVERYONE, **values: Any) -> Row:
        """Adds an entity; columns that are not given are zero, texts empty.

        Args:
            channel: who is told of it.

        Raises:
            TableFull: the table holds ENTITIES_MAX entities, those despawned in this tick included.
            ValueError: a name is not a column.
        """
        unknown = values.keys() - self.columns.keys()
        if unknown:
            raise ValueError(f"{type(self).__name__} has no column {', '.join(sorted(unknown))}")
        if self._count == ENTITIES_MAX:
            raise TableFull(f"{type(self).__name__} is full: a table holds at most {ENTITIES_MAX:,} entities")
        if self._count == self._ids.size:
            self._grow()
        row, id = self._count, self._entity_ids.take()
        self._is_ordered = self._is_ordered and (row == 0 or id > self._ids[row - 1])
        self._ids[row] = id
        self._channels[row] = channel
        self.has_channels = self.has_channels or channel != EVERYONE
        for name, array in self._arrays.items():
            array[row] = values.get(name, self.defaults[name])
        self._rows[id] = row
        self._count += 1
        self._resize_views()
        return Row(self, id)

    def despawn(self, entity: Row | int) -> None:
        """Takes an entity out at the end of this tick. Idempotent; unknown ids and dead rows are ignored."""
        id = entity.id if isinstance(entity, Row) else int(entity)
        if id in self:
            self._gone.add(id)

    def despawn_from(self, count: int) -> None:
        """Take out every entity that was spawned since the table had `count` rows, within the same tick."""
        self._gone.update(self.ids[count:].tolist())

    def compact(self) -> None:
        """Closes the gaps that despawned entities leave, and puts an id that was used again in its place."""
        if not self._gone and self._is_ordered:
            return
        gone = np.fromiter(self._gone, np.uint32, len(self._gone))
        rows = np.flatnonzero(~np.isin(self.ids, gone))
        if not self._is_ordered:
            rows = rows[np.argsort(self.ids[rows], kind="stable")]
        arrays: list[NDArray[Any]] = [self._ids, self._channels, *self._arrays.values()]
        for array in arrays:
            array[: rows.size] = array[rows]
        for id in sorted(self._gone):
            self._entity_ids.release(id)
        self._count = rows.size
        self._settle()

    def forget_references(self, ids: list[int]) -> None:
        """Set entity fields that name one of these ids to 0, nobody."""
        if not ids:
            return
        for name in self._reference_names:
            view = self._views[name]
            view[np.isin(view, ids)] = 0

    def row_of(self, id: int) -> int:
        """The row of an entity, this tick.

        Raises:
            KeyError: there is no such entity.
        """
        try:
            return self._rows[id]
        except KeyError:
            raise KeyError(f"{type(self).__name__} has no entity {id}") from None

    def rows_of(self, ids: Ids | list[int]) -> NDArray[np.int64]:
        """The rows of many entities, this tick.

        Raises:
            KeyError: there is no such entity.
        """
        return np.fromiter(map(self.row_of, ids), np.int64, len(ids))

    @property
    def ids(self) -> Ids:
        """(entities,) uint32, ascending but for those spawned in this tick: a view."""
        return self._ids[: self._count]

    @property
    def channel(self) -> NDArray[np.uint16]:
        """(entities,): which channel each row is in; a view to read and to write."""
        return self.view("channel")

    @channel.setter
    def channel(self, values: Any) -> None:
        view = self.view("channel")
        if values is not view:
            view[:] = values

    @property
    def channels(self) -> NDArray[np.uint16]:
        """The same, to read only."""
        return self._views["channel"]

    @property
    def clamped(self) -> dict[str, int]:
        """How many values were out of their field's range so far, by field."""
        return {**self._quantiser.clamped, **self._texts.clamped}

    def view(self, name: str) -> NDArray[Any]:
        """(entities,) of a column: a view of the live rows, good until the next spawn or the end of the tick."""
        if name == "channel":
            self.has_channels = True
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
        """(fields that are columns, entities): what clients are told, in integers, freshly allocated.

        Raises:
            tickwire.schemas.fields.NotANumber: a column holds NaN; names the field and the entity.
        """
        return self._quantiser.quantise(self.ids, self._block[:, : self._count], self._views)

    def texts(self) -> Texts:
        """(fields that are texts, entities) of bytes; the same object while nothing changes.

        Raises:
            WrongText: a column holds something else.
        """
        return self._texts.encode(self.ids, [self._views[field.name] for field in self.textual])

    def state(self) -> TableState:
        """This table as it is saved."""
        channels = self.channels.copy() if self.has_channels else None
        texts = self.texts().copy() if self.textual else None
        return TableState(self.numeric + self.textual, self.ids.copy(), self.quantise(), texts, channels)

    def exact(self) -> dict[str, NDArray[Any]]:
        """All columns that hold numbers, as they are."""
        return {
            name: array[: self._count].copy() for name, array in self._arrays.items() if array.dtype != np.object_
        }

    def restore(self, state: TableState) -> dict[str, TableState]:
        """Replace all rows by saved ones, by field name. Fields that were not saved have their defaults, and rows of
        what was in the table before are dead.

        Returns:
            The saved fields that this table does not declare, by name, each as a table of its own.

        Raises:
            ShapeChanged: a field cannot be read as it is declared now; the table must not be used then.
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
        for one in state.single_fields():
            (field,) = one.fields
            if field.name not in self._arrays:
                unknown[field.name] = one
                continue
            self._arrays[field.name][: self._count] = self._read(one)
            if self._field_of(field.name) not in (field, None):
                changed.add(field.name)
        for name, column in (state.exact or {}).items():
            if name in self._arrays and name not in changed and self._arrays[name].dtype == column.dtype:
                self._arrays[name][: self._count] = column
        self._settle()
        self._is_ordered = bool((np.diff(self.ids.astype(np.int64)) > 0).all())
        self.compact()
        return unknown

    def restore_field(self, one: TableState) -> None:
        """Fill one field of the rows that are there from a field that was kept aside.

        Raises:
            ShapeChanged: it cannot be read as it is declared now.
        """
        (field,) = one.fields
        column = self._read(one)
        for id, value in zip(one.ids.tolist(), column, strict=True):
            row = self._rows.get(id)
            if row is not None:
                self._arrays[field.name][row] = value

    def _read(self, one: TableState) -> NDArray[Any]:
        (field,) = one.fields
        values = one.values[0] if one.texts is None else one.texts[0]
        declared = self._field_of(field.name)
        try:
            return field.dequantise(values) if declared is None else convert_column(field, declared, values)
        except ShapeChanged as error:
            raise ShapeChanged(f"field {field.name!r} {error}") from error

    def _field_of(self, name: str) -> Field | None:
        """The declared field of a name; None for a local column."""
        column = self.columns[name]
        return column.field(name) if column.is_replicated else None

    @classmethod
    def describe(cls, name: str) -> TableDescription:
        """This table as Joined tells it."""
        return TableDescription(name, tuple(field.describe() for field in cls.fields))

    # -- memory ---------------------------------------------------------------------------------------------

    def _allocate(self, capacity: int) -> None:
        self._count = 0
        self._ids = np.zeros(capacity, np.uint32)
        self._channels = np.zeros(capacity, np.uint16)
        # The columns that are scaled lie in one block, to be quantised together.
        self._block = np.zeros((len(self._quantiser.scaled), capacity), np.float32)
        in_block = {field.name: self._block[row] for row, field in enumerate(self._quantiser.scaled)}
        self._arrays = {
            name: in_block[name] if name in in_block else np.full(capacity, self.defaults[name], column.dtype())
            for name, column in self.columns.items()
        }
        self._resize_views()

    def _grow(self) -> None:
        ids, channels, arrays, count = self._ids, self._channels, self._arrays, self._count
        self._allocate(2 * ids.size)
        self._count = count
        self._ids[:count], self._channels[:count] = ids[:count], channels[:count]
        for name, array in arrays.items():
            self._arrays[name][:count] = array[:count]
        self._resize_views()

    def _settle(self) -> None:
        self._gone.clear()
        self._is_ordered = True
        self._rows = {id: row for row, id in enumerate(self.ids.tolist())}
        self._resize_views()

    def _resize_views(self) -> None:
        self.layout += 1
        self._views = {name: array[: self._count] for name, array in self._arrays.items()}
        self._views["channel"] = self._channels[: self._count]


def dead_row() -> Row:
    """Return a row of an entity that is gone."""
    row = Row(Table(), 0)
    object.__setattr__(row, "_generation", -1)
    return row
