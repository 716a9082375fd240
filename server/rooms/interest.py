"""Which channels a room's players watch: those the game gave them, and on a map those around their focus.

A player whose focus is gone keeps looking at the cell in which it was last, also after a resume, a save or a move.
One whom the game has given no focus looks at none. Looked at anew only for players whose channels or focus the game
has changed, or whose focus has come into another cell. Pure.
"""

from __future__ import annotations

from tickwire.server.replication.grid import GridIndex
from tickwire.server.replication.replicator import Replicator
from tickwire.server.replication.table import Table
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.seat import Seat


class InterestTracker:
    """One room's.

    Args:
        room: whose grid it is.
        replication: told of who watches what.
    """

    def __init__(self, room: Room, replication: Replicator) -> None:
        self._replication = replication
        self._on_grid: list[Table] = []
        self._cells: GridIndex | None = None
        if room.grid is not None:
            self._on_grid = [getattr(room, name) for name in room.grid.tables]
            self._cells = GridIndex(room.grid, [type(table) for table in self._on_grid])
        self._changed: set[Seat] = set()
        self._by_focus: dict[int, list[Seat]] | None = None

    @property
    def is_settled(self) -> bool:
        """Whether everybody watches what it is to watch."""
        return not self._changed

    def came(self, seat: Seat) -> None:
        """A seat has a connection, for the first time or again."""
        seat.interest = self._replication.subscribe(seat.interest)
        self.changed(seat)

    def went(self, seat: Seat) -> None:
        """A seat has no connection any more."""
        self._replication.unsubscribe(seat.interest)

    def changed(self, seat: Seat) -> None:
        """What a player watches, or where it looks, was changed by the game."""
        self._changed.add(seat)
        self._by_focus = None

    def forget(self, seat: Seat) -> None:
        """The seat is given up."""
        self._changed.discard(seat)
        self._by_focus = None

    def refresh(self, seats: list[Seat]) -> None:
        """Puts entities into their cells, and sees to it that players watch what they are to watch. Once a tick."""
        moved: set[int] = set()
        if self._cells is not None:
            for table in self._on_grid:
                moved.update(self._cells.assign(table).tolist())
        if moved:
            if self._by_focus is None:
                self._by_focus = _by_focus(seats)
            for id in moved & self._by_focus.keys():
                self._changed.update(self._by_focus[id])
        changed, self._changed = self._changed, set()
        for seat in changed:
            self._refresh(seat)

    def _refresh(self, seat: Seat) -> None:
        numbers = seat.player.watched
        if self._cells is not None:
            seat.cell = self._cell_of(seat)
            if seat.cell is not None:
                numbers |= self._cells.visible_cells(seat.cell)
        if numbers == seat.interest.numbers or not seat.is_open:
            return
        interest = self._replication.get_interest(numbers)
        if seat.player.is_connected:
            interest = self._replication.subscribe(interest)
            self._replication.unsubscribe(seat.interest)
        seat.interest = interest

    def _cell_of(self, seat: Seat) -> int | None:
        """The cell that a player looks at: the one in which its focus is, or was last when it is gone."""
        focus = seat.player.own_focus
        if focus is None:
            return None
        if not focus.exists:
            return seat.cell
        return focus.channel if any(focus.row_in(table) is not None for table in self._on_grid) else None


def _by_focus(seats: list[Seat]) -> dict[int, list[Seat]]:
    """Who looks at the map from which entity."""
    by_focus: dict[int, list[Seat]] = {}
    for seat in seats:
        if (focus := seat.player.focus) is not None:
            by_focus.setdefault(focus.id, []).append(seat)
    return by_focus
