"""Grid interest: a map of square cells, each a channel; a player receives all cells within view of its focus.

An entity keeps its cell until it is `slack` beyond the cell's border, so that an entity on a border does not change
cells in each tick. The set of visible cells depends only on the cell of the focus, so that players in one cell share
their frames. It contains every entity within `view` of the focus, whatever the slack. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tickwire.schemas.messages import FieldKind, GroupKind
from tickwire.server.replication.table import EVERYONE, Table

FIRST_CELL = 1
"""The channel of the first cell; the channels that games open count down from the top."""
CELLS_MAX = 1 << 15
SLACK_SHARE = 0.125


class Grid:
    """The grid that a room declares: `grid = Grid("walkers", cell=150, view=150)`.

    Args:
        tables: the names of the room's tables whose entities have a position on the map.
        cell: the side of a cell, world units. A cell about as large as `view` takes the least time, one of two thirds
            of it the fewest bytes.
        view: the distance within which a player receives entities, world units.
        slack: how far an entity may be beyond its cell's border, world units; an eighth of a cell by default.
        position: the name of the tables' vector with the position, whose first two components are on the map; or
            the names of the two columns. A part of a vector is a column: `("position_x", "position_z")`.

    Raises:
        TypeError: a table is not named by its attribute in the room, or a size is not a number.
        ValueError: a table is named twice, `cell` or `view` is not above 0, `slack` is negative, or a size is not
            finite.
    """

    def __init__(
        self,
        *tables: str,
        cell: float,
        view: float,
        slack: float | None = None,
        position: str | tuple[str, str] = ("x", "y"),
    ) -> None:
        for table in tables:
            if not isinstance(table, str):
                raise TypeError(f"grid: name a table by the attribute of the room, as a string, not {table!r}")
            if tables.count(table) > 1:
                raise ValueError(f"grid: the table {table!r} is named twice")
        slack = SLACK_SHARE * _check_size("cell", cell) if slack is None else slack
        self.tables = tables
        self.cell = _check_size("cell", cell)
        self.view = _check_size("view", view)
        self.slack = _check_size("slack", slack, is_zero_allowed=True)
        self.x, self.y = (f"{position}_x", f"{position}_y") if isinstance(position, str) else position


class GridIndex:
    """A grid over a room's tables: assigns entities to cells and lists the cells in view.

    Args:
        grid: the room's declaration.
        tables: the tables' classes; the ranges of their position columns define the map.

    Attributes:
        across: the number of cells per row of the map.
        down: the number of rows.
        cells: the channels of all cells.

    Raises:
        ValueError: a position column is not real, or the map has more than CELLS_MAX cells.
    """

    def __init__(self, grid: Grid, tables: Sequence[type[Table]]) -> None:
        self._grid = grid
        self._left, self.across = _axis(grid.x, grid.cell, tables)
        self._top, self.down = _axis(grid.y, grid.cell, tables)
        if self.across * self.down > CELLS_MAX:
            raise ValueError(f"a grid may have at most {CELLS_MAX} cells, not {self.across} x {self.down}")
        self.cells = range(FIRST_CELL, FIRST_CELL + self.across * self.down)
        self._views: dict[int, frozenset[int]] = {}
        reach = grid.view + 2 * grid.slack
        far = math.ceil(reach / grid.cell) + 1
        columns, rows = (range(-min(far, cells - 1), min(far, cells - 1) + 1) for cells in (self.across, self.down))
        self._in_view = [(i, j) for i in columns for j in rows if math.hypot(_gap(i), _gap(j)) * grid.cell <= reach]

    def assign(self, table: Table) -> NDArray[np.uint32]:
        """Set every row's channel to its cell, except for rows in channels that the game has opened.

        Returns:
            The ids of the entities that have changed cells.
        """
        grid, channels = self._grid, table.channel
        x, y = table.view(grid.x).astype(np.float64), table.view(grid.y).astype(np.float64)
        cell = channels.astype(np.int64) - FIRST_CELL
        limit = grid.cell / 2 + grid.slack
        off_x = np.abs(x - self._left - (cell % self.across + 0.5) * grid.cell)
        off_y = np.abs(y - self._top - (cell // self.across + 0.5) * grid.cell)
        is_inside = (off_x <= limit) & (off_y <= limit) & (cell >= 0)
        moved = np.flatnonzero(~is_inside & (cell < self.across * self.down))
        if moved.size:
            now = self.cells_at(x[moved], y[moved])
            moved, now = moved[now != channels[moved]], now[now != channels[moved]]
            channels[moved] = now
        ids: NDArray[np.uint32] = table.ids[moved]
        return ids

    def cells_at(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the channels of the cells at these positions; one off the map belongs to the nearest cell."""
        # NaN is an error of the game, which `capture` reports with the field and the entity.
        column = np.clip(np.nan_to_num((x - self._left) // self._grid.cell), 0, self.across - 1)
        row = np.clip(np.nan_to_num((y - self._top) // self._grid.cell), 0, self.down - 1)
        return (FIRST_CELL + row * self.across + column).astype(np.int64)

    def cell_at(self, x: float, y: float) -> int:
        """Return the channel of the cell at a position; one off the map belongs to the nearest cell."""
        return int(self.cells_at(np.array([x], np.float64), np.array([y], np.float64))[0])

    def next_cell(self, channel: int, x: float, y: float) -> int:
        """Return the cell into which `assign` puts an entity of a cell, or of no cell yet, at this position."""
        row, column = divmod(channel - FIRST_CELL, self.across)
        grid = self._grid
        off_x = abs(x - self._left - (column + 0.5) * grid.cell)
        off_y = abs(y - self._top - (row + 0.5) * grid.cell)
        if channel >= FIRST_CELL and max(off_x, off_y) <= grid.cell / 2 + grid.slack:
            return channel
        return self.cell_at(x, y)

    def visible_cells(self, channel: int) -> frozenset[int]:
        """Return the channels of all cells within view of a cell; an empty set for a channel that is not a cell."""
        view = self._views.get(channel)
        if view is None:
            if channel not in self.cells:
                return frozenset()
            row, column = divmod(channel - FIRST_CELL, self.across)
            view = self._views[channel] = frozenset(
                FIRST_CELL + (row + j) * self.across + column + i
                for i, j in self._in_view
                if 0 <= column + i < self.across and 0 <= row + j < self.down
            )
        return view


def _check_size(name: str, size: float, *, is_zero_allowed: bool = False) -> float:
    """Return a size of a grid unchanged if it is valid."""
    if not isinstance(size, int | float) or isinstance(size, bool):
        raise TypeError(f"grid: {name} must be a number, not {size!r}")
    if not (size > 0 or (is_zero_allowed and size == 0)) or size == math.inf:
        low = "at least" if is_zero_allowed else "above"
        raise ValueError(f"grid: {name} must be finite and {low} 0, not {size}")
    return size


def _gap(steps: int) -> int:
    """Return the number of whole cells between two cells that are `steps` apart."""
    return max(0, abs(steps) - 1)


def _axis(name: str, cell: float, tables: Sequence[type[Table]]) -> tuple[float, int]:
    """Return the lower bound of the map on one axis, and its number of cells."""
    if not tables:
        raise ValueError("a grid must contain at least one table")
    fields = []
    for table in tables:
        found = [field for field in table.fields if field.name == name and field.kind is FieldKind.REAL]
        if not found:
            vectors = [group for group in table.groups if table.groups[group].kind is GroupKind.VECTOR]
            hint = f"; write `position={vectors[0]!r}` for its vector" if vectors else ""
            raise ValueError(f"the table {table.__name__} of a grid must have a column {name!r} of kind real{hint}")
        fields += found
    low, high = min(field.low for field in fields), max(field.high for field in fields)
    return low, max(1, math.ceil((high - low) / cell))


assert FIRST_CELL > EVERYONE
