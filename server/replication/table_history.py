"""The past columns of one table, and the table as it was at a tick.

    ids      (ticks, capacity)  uint32, ascending in each tick
    column   (ticks, capacity)  one ring for each named column; (ticks, capacity, components) for a vector

The rings are allocated once, and again with twice the capacity when the table has outgrown them. A tick costs one
copy for each column. The id of a despawned entity is not used again for QUARANTINE_TICKS, which are more ticks than a
ring has: an id means the same entity in all of them. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tickwire.schemas.columns import Ids
from tickwire.schemas.messages import FieldKind, GroupKind
from tickwire.schemas.quaternions import normalise, slerp
from tickwire.server.replication.table import ROWS_MIN, Row, Table

Arrays = dict[str, NDArray[Any]]


def _interpolate_numbers(earlier: NDArray[Any], later: NDArray[Any], fraction: float) -> NDArray[Any]:
    between: NDArray[Any] = earlier + (later - earlier) * fraction
    return between


def _interpolate_angles(earlier: NDArray[Any], later: NDArray[Any], fraction: float) -> NDArray[Any]:
    difference = later - earlier
    between: NDArray[Any] = earlier + (difference - np.rint(difference / math.tau) * math.tau) * fraction
    return between


def _interpolate_rotations(earlier: NDArray[Any], later: NDArray[Any], fraction: float) -> NDArray[Any]:
    return slerp(normalise(earlier), normalise(later), fraction)


_INTERPOLATED: dict[FieldKind | GroupKind | None, Callable[..., NDArray[Any]]] = {
    FieldKind.REAL: _interpolate_numbers,
    FieldKind.ANGLE: _interpolate_angles,
    GroupKind.VECTOR: _interpolate_numbers,
    GroupKind.QUATERNION: _interpolate_rotations,
}
"""The kinds that clients interpolate; see client/interpolation.py."""


class SnapshotExpired(LookupError):
    """The history no longer has the tick of a snapshot: it was kept after the tick in which it was made."""


class TableSnapshot:
    """Some columns of a table at a tick, for reading only. Columns are attributes, as in the table.

    Args:
        table: the name of the table's class, for errors.
        ids: (entities,) ascending.
        columns: by name, (entities,) each.

    Attributes:
        ids: (entities,) uint32, ascending.
    """

    __slots__ = ("_columns", "_table", "ids")

    def __init__(self, table: str, ids: Ids, columns: Arrays) -> None:
        self._table = table
        self._columns = columns
        self.ids = ids
        for array in (ids, *columns.values()):
            array.flags.writeable = False

    def __getattr__(self, name: str) -> NDArray[Any]:
        if name in TableSnapshot.__slots__:
            raise AttributeError(name)  # of an object that `copy` has just created
        try:
            return self._columns[name]
        except KeyError:
            known = ", ".join(self._columns)
            raise AttributeError(f"the history has no column {name!r} of {self._table}, only {known}") from None

    def __len__(self) -> int:
        return self.ids.size

    def __contains__(self, entity: Row | int) -> bool:
        return self._find(entity) is not None

    def row_of(self, entity: Row | int) -> int:
        """Return the index of an entity in the columns of this snapshot.

        Raises:
            KeyError: the entity did not exist then.
        """
        row = self._find(entity)
        if row is None:
            raise KeyError(f"{self._table} had no entity {_id_of(entity)} then")
        return row

    def _find(self, entity: Row | int) -> int | None:
        id = _id_of(entity)
        row = int(np.searchsorted(self.ids, id))
        return row if row < self.ids.size and self.ids[row] == id else None


class TableHistory:
    """The last ticks of one table.

    Args:
        table: the table.
        names: the columns to keep.
        ticks: the number of ticks.
    """

    __slots__ = ("_columns", "_counts", "_ids", "_interpolated", "_layouts", "_table", "_ticks")

    def __init__(self, table: Table, names: Sequence[str], ticks: int) -> None:
        self._table = table
        self._ticks = [-1] * ticks
        self._counts = [0] * ticks
        self._layouts = [0] * ticks  # two ticks with the same `Table.layout_version` have the same ids
        self._ids = np.zeros((ticks, ROWS_MIN), np.uint32)
        views = {name: table.view(name) for name in names}
        self._columns = {
            name: np.zeros((ticks, ROWS_MIN, *view.shape[1:]), view.dtype) for name, view in views.items()
        }
        kinds: dict[str, FieldKind | GroupKind] = {field.name: field.kind for field in table.fields}
        kinds.update((name, group.kind) for name, group in table.groups.items())
        self._interpolated = {name: _INTERPOLATED[kinds[name]] for name in names if kinds.get(name) in _INTERPOLATED}

    @property
    def size(self) -> int:
        """The allocated memory in bytes."""
        return self._ids.nbytes + sum(ring.nbytes for ring in self._columns.values())

    def capture(self, tick: int) -> None:
        """Copy the columns as those of a tick. Call it after `Table.compact`."""
        table, count = self._table, len(self._table)
        if count > self._ids.shape[1]:
            self._grow(count)
        slot = tick % len(self._ticks)
        self._ticks[slot], self._counts[slot], self._layouts[slot] = tick, count, table.layout_version
        self._ids[slot, :count] = table.ids
        for name, ring in self._columns.items():
            ring[slot, :count] = table.view(name)

    def ticks(self) -> list[tuple[int, Ids, Arrays]]:
        """Return the ticks that the history has, the oldest first, each with its ids and columns: views."""
        slots = sorted((tick, slot) for slot, tick in enumerate(self._ticks) if tick >= 0)
        counts = self._counts
        return [
            (
                tick,
                self._ids[slot, : counts[slot]],
                {n: ring[slot, : counts[slot]] for n, ring in self._columns.items()},
            )
            for tick, slot in slots
        ]

    def restore(self, tick: int, ids: Ids, columns: Arrays) -> None:
        """Fill in the columns of an earlier tick, of a room that is restored with its history.

        Args:
            tick: the tick.
            ids: (entities,) ascending.
            columns: by name, (entities,) each; a column that is missing keeps zeros.
        """
        if ids.size > self._ids.shape[1]:
            self._grow(ids.size)
        slot = tick % len(self._ticks)
        self._ticks[slot], self._counts[slot] = tick, ids.size
        self._layouts[slot] = -1 - tick  # no other tick has it: rows are matched by their ids
        self._ids[slot, : ids.size] = ids
        for name in columns.keys() & self._columns.keys():
            self._columns[name][slot, : ids.size] = columns[name]

    def sample(self, tick: float) -> TableSnapshot:
        """Return the table at a tick, interpolated as clients do it. It is valid until the next `capture`.

        Between two ticks, positions are interpolated linearly and angles in the shorter direction; other values are
        those of the earlier tick, and so are all values of an entity that does not exist in the later one. An entity
        that exists only in the later tick is left out.

        Raises:
            SnapshotExpired: the history does not have the tick.
        """
        earlier = math.floor(tick)
        slot, fraction = self._find_slot(earlier), tick - earlier
        count = self._counts[slot]
        columns = {name: ring[slot, :count] for name, ring in self._columns.items()}
        if fraction and self._interpolated:
            self._interpolate(columns, slot, self._find_slot(earlier + 1), fraction)
        return TableSnapshot(type(self._table).__name__, self._ids[slot, :count], columns)

    def _interpolate(self, columns: Arrays, slot: int, later_slot: int, fraction: float) -> None:
        """Replace the interpolated columns of the snapshot in a slot by new arrays."""
        later_count = self._counts[later_slot]
        here: Any = slice(None)
        there: Any = slice(None)
        if self._layouts[slot] != self._layouts[later_slot]:
            here, there = _match(self._ids[slot, : self._counts[slot]], self._ids[later_slot, :later_count])
        for name, interpolate in self._interpolated.items():
            column = columns[name] = columns[name].copy()
            later = self._columns[name][later_slot, :later_count]
            column[here] = interpolate(column[here], later[there], fraction)

    def _find_slot(self, tick: int) -> int:
        slot = tick % len(self._ticks)
        if self._ticks[slot] != tick:
            raise SnapshotExpired(f"the history does not have tick {tick}: read a snapshot in the tick that made it")
        return slot

    def _grow(self, count: int) -> None:
        capacity = max(count, 2 * self._ids.shape[1])
        self._ids = _widen(self._ids, capacity)
        self._columns = {name: _widen(ring, capacity) for name, ring in self._columns.items()}


def snapshot_table(table: Table, names: Sequence[str]) -> TableSnapshot:
    """Return the table as it is now, without despawned entities."""
    rows = np.array([table.row_of(int(id)) for id in np.sort(table.ids) if int(id) in table], np.int64)
    return TableSnapshot(type(table).__name__, table.ids[rows], {name: table.view(name)[rows] for name in names})


def _match(ids: Ids, later_ids: Ids) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the indices of the ids that both arrays have, in each of them; both are ascending."""
    places = np.searchsorted(later_ids, ids)
    places[places == later_ids.size] = 0
    here = np.flatnonzero(later_ids[places] == ids) if later_ids.size else places[:0]
    return here, places[here]


def _widen(ring: NDArray[Any], capacity: int) -> NDArray[Any]:
    wider = np.zeros((ring.shape[0], capacity, *ring.shape[2:]), ring.dtype)
    wider[:, : ring.shape[1]] = ring
    return wider


def _id_of(entity: Row | int) -> int:
    return entity.id if isinstance(entity, Row) else int(entity)
