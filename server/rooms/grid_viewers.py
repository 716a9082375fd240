"""The players that look at each cell of a room's grid: the receivers of an event about an entity or a position.

A cell is visible from the cells that are visible from it, so the players that see a cell are those whose focus is in
one of these: a few look-ups, whatever the number of players. A player is listed under the cell of its focus as of the
last tick, from its first tick on. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tickwire.server.replication.grid import Grid, GridIndex
from tickwire.server.replication.table import EVERYONE, Row, Table
from tickwire.server.rooms.player import Player


class GridViewers:
    """The players of one room, by the cells that they look at.

    Args:
        grid: the grid of the room; None without one.
        tables: the tables of the room, by name.

    Attributes:
        index: the cells of the grid; None without a grid.
        tables: the tables on the grid.
    """

    def __init__(self, grid: Grid | None, tables: Mapping[str, Table]) -> None:
        self._grid = grid
        self.tables: Sequence[Table] = [tables[name] for name in grid.tables] if grid is not None else ()
        self.index = GridIndex(grid, [type(table) for table in self.tables]) if grid is not None else None
        self._players: dict[int, dict[Player, None]] = {}
        self._cells: dict[Player, int] = {}
        self._watched: dict[Player, frozenset[int]] = {}  # only cells: few games subscribe players to single cells

    def update(self, player: Player, cell: int | None) -> None:
        """Note the cell that a player looks at, and the other cells that it is subscribed to."""
        if self._cells.get(player) != cell:
            self._remove_cell(player)
            if cell is not None:
                self._cells[player] = cell
                self._players.setdefault(cell, {})[player] = None
        watched = frozenset(channel for channel in player.watched if self._is_cell(channel))
        if watched:
            self._watched[player] = watched
        else:
            self._watched.pop(player, None)

    def discard(self, player: Player) -> None:
        """Remove a player that has left."""
        self._remove_cell(player)
        self._watched.pop(player, None)

    def _remove_cell(self, player: Player) -> None:
        cell = self._cells.pop(player, None)
        if cell is not None:
            players = self._players[cell]
            del players[player]
            if not players:
                del self._players[cell]

    def _is_cell(self, channel: int) -> bool:
        return self.index is not None and channel in self.index.cells

    def find_players(self, cell: int) -> list[Player] | None:
        """Return the players that receive the entities of a cell, as of the last tick; None if it is not a cell."""
        if self.index is None or not self._is_cell(cell):
            return None
        seen_from = self._players.keys() & self.index.visible_cells(cell)
        found = [player for viewed in sorted(seen_from) for player in self._players[viewed]]
        if self._watched:
            known = set(found)
            found += [player for player, cells in self._watched.items() if cell in cells and player not in known]
        return found

    def find_channel(self, row: Row) -> int:
        """Return the channel in which clients find an entity at the end of this tick.

        Raises:
            KeyError: the entity was despawned, and the tick in which that happened is over.
        """
        channel = row.channel
        if (
            self._grid is None
            or self.index is None
            or not any(row.row_in(table) is not None for table in self.tables)
        ):
            return channel
        if channel != EVERYONE and not self._is_cell(channel):
            return channel  # the game has moved the entity to a channel of its own
        return self.index.next_cell(channel, getattr(row, self._grid.x), getattr(row, self._grid.y))
