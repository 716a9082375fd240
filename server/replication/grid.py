"""Grid interest: a map in square cells, each a channel; who stands in one is told of all cells within sight.

An entity keeps its cell until it is `slack` beyond its border, so that one that stands on a border does not change
cells each tick. What a player is told of depends on the cell of its focus alone, so that all in a cell share what is
written to them; every entity within `view` of the focus is in it, whatever the slack. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tickwire.schemas.messages import FieldKind
from tickwire.server.replication.table import EVERYONE, Table

FIRST = 1
"""The number of the first cell's channel: those that games open count down from the top."""
CELLS_MAX = 1 << 15
SLACK_SHARE = 0.125


class Grid:
    """What a room declares: `grid = Grid("walkers", cell=150, view=150)`.

    Args:
        tables: the names of the room's tables that have a place on the map.
        cell: a cell's side, world units: about `view` costs the least time, two thirds of it the fewest bytes.
        view: how far a player sees, world units.
        slack: how far beyond its cell's border an entity may go; an eighth of a cell if not given.
        x, y: the names of the tables' columns.

    Raises:
        ValueError: a size is not above 0.
    """

    def __init__(
        self, *tables: str, cell: float, view: float, slack: float | None = None, x: str = "x", y: str = "y"
    ) -> None:
        if not (cell > 0 and view > 0 and (slack is None or slack >= 0)):
            raise ValueError("a grid wants cell > 0, view > 0 and slack >= 0")
        self.tables = tables
        self.cell = cell
        self.view = view
        self.slack = SLACK_SHARE * cell if slack is None else slack
        self.x, self.y = x, y


class GridIndex:
    """A grid over a room's tables.

    Args:
        grid: what the room declares.
        tables: the tables' classes; their columns' ranges are the map.

    Raises:
        ValueError: a column is not real, or the map has more than CELLS_MAX cells.
    """

    def __init__(self, grid: Grid, tables: Sequence[type[Table]]) -> None:
        self._grid = grid
        self._left, self.across = _axis(grid.x, grid.cell, tables)
        self._top, self.down = _axis(grid.y, grid.cell, tables)
        if self.across * self.down > CELLS_MAX:
            raise ValueError(f"a grid of {self.across} x {self.down} cells; at most {CELLS_MAX} are possible")
        self._views: dict[int, frozenset[int]] = {}
        reach = grid.view + 2 * grid.slack
        far = math.ceil(reach / grid.cell) + 1
        steps = range(-far, far + 1)
        self._in_view = [(i, j) for i in steps for j in steps if math.hypot(_gap(i), _gap(j)) * grid.cell <= reach]

    def place(self, table: Table) -> NDArray[np.uint32]:
        """Puts every row into its cell, but for those that the game keeps in channels of its own.

        Returns:
            The ids of those that have changed their cells.
        """
        grid, channels = self._grid, table.channel
        x, y = table.view(grid.x).astype(np.float64), table.view(grid.y).astype(np.float64)
        cell = channels.astype(np.int64) - FIRST
        limit = grid.cell / 2 + grid.slack
        off_x = np.abs(x - self._left - (cell % self.across + 0.5) * grid.cell)
        off_y = np.abs(y - self._top - (cell // self.across + 0.5) * grid.cell)
        is_inside = (off_x <= limit) & (off_y <= limit) & (cell >= 0)
        moved = np.flatnonzero(~is_inside & (cell < self.across * self.down))
        if moved.size:
            now = self.cell_of(x[moved], y[moved])
            moved, now = moved[now != channels[moved]], now[now != channels[moved]]
            channels[moved] = now
        ids: NDArray[np.uint32] = table.ids[moved]
        return ids

    def cell_of(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.int64]:
        """The channels of the cells that places lie in; places off the map lie in the cells at its border."""
        # A column that holds NaN is an error, which the snapshot finds and names.
        column = np.clip(np.nan_to_num((x - self._left) // self._grid.cell), 0, self.across - 1)
        row = np.clip(np.nan_to_num((y - self._top) // self._grid.cell), 0, self.down - 1)
        return (FIRST + row * self.across + column).astype(np.int64)

    def view_of(self, channel: int) -> frozenset[int]:
        """The cells that are within sight of any place in a cell; none from a channel that is no cell."""
        view = self._views.get(channel)
        if view is None:
            if not FIRST <= channel < FIRST + self.across * self.down:
                return frozenset()
            row, column = divmod(channel - FIRST, self.across)
            view = self._views[channel] = frozenset(
                FIRST + (row + j) * self.across + column + i
                for i, j in self._in_view
                if 0 <= column + i < self.across and 0 <= row + j < self.down
            )
        return view


def _gap(steps: int) -> int:
    """How many whole cells lie between two that are so many steps apart."""
    return max(0, abs(steps) - 1)


def _axis(name: str, cell: float, tables: Sequence[type[Table]]) -> tuple[float, int]:
    """Where the map begins on an axis, and how many cells it has there."""
    fields = [field for table in tables for field in table.fields if field.name == name]
    if len(fields) != len(tables) or any(field.kind is not FieldKind.REAL for field in fields):
        raise ValueError(f"every table of a grid wants a real column {name!r}")
    low, high = min(field.low for field in fields), max(field.high for field in fields)
    return low, max(1, math.ceil((high - low) / cell))


assert FIRST > EVERYONE
