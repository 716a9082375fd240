"""Copies the rows of a replayed table into the table of a room that shows it. Pure."""

from __future__ import annotations

import numpy as np

from tickwire.schemas.columns import Ids
from tickwire.schemas.messages import FieldKind
from tickwire.server.replication.table import EVERYONE, NOBODY, Table


class TableMirror:
    """A table that shows another one. Its entities have ids of their own.

    Args:
        table: the table, which has no other rows.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        parts = {part for group in table.groups.values() for part in group.parts}
        self._names = [name for name in table.columns if name not in parts] + list(table.groups)
        self._references = [field.name for field in table.numeric if field.kind is FieldKind.ENTITY]
        self.ids: dict[int, int] = {}
        """The ids in this table by those in the source."""

    def copy(self, source: Table, *, shows_private: bool) -> None:
        """Spawn and despawn rows until both tables have the same, and copy all columns.

        Call `map_references` once all tables of the room are copied.

        Args:
            source: the table to show, of the same class.
            shows_private: whether rows of other channels than EVERYONE are shown, too.
        """
        channels = source.channels
        is_shown = channels != NOBODY if shows_private else channels == EVERYONE
        shown: Ids = source.ids[is_shown]
        present = set(shown.tolist())
        for id in [id for id in self.ids if id not in present]:
            self._table.despawn(self.ids.pop(id))
        for id in shown.tolist():
            if id not in self.ids:
                self.ids[id] = self._table.spawn().id
        rows = self._table.rows_of([self.ids[id] for id in shown.tolist()])
        for name in self._names:
            self._table.view(name)[rows] = source.view(name)[is_shown]

    def map_references(self, ids: dict[int, int]) -> None:
        """Replace the source's ids in entity columns by those of the entities that are shown; 0 without one."""
        for name in self._references:
            view = self._table.view(name)
            view[:] = np.fromiter((ids.get(id, 0) for id in view.tolist()), view.dtype, view.size)
