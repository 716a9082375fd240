"""Tracks the channels of each player: those that the game has set, and the grid cells around the player's focus.

A player whose focus is despawned keeps looking at the last cell of its focus, also after a resume, a save or a move.
A player without a focus looks at no cell. Interest is recomputed only for players whose channels or focus the game
has changed, or whose focus has moved to another cell. Pure.
"""

from __future__ import annotations

from tickwire.server.replication.replicator import Replicator
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.seat import Seat


class InterestTracker:
    """Keeps the interest set of each seat of a room current.

    Args:
        room: the room, with its grid.
        replicator: receives the subscriptions of connected seats.
    """

    def __init__(self, room: Room, replicator: Replicator) -> None:
        self._replicator = replicator
        self._viewers = room.grid_viewers
        self._on_grid = room.grid_viewers.tables
        self._grid_index = room.grid_viewers.index
        self._changed: set[Seat] = set()
        self._by_focus: dict[int, list[Seat]] | None = None

    def subscribe(self, seat: Seat) -> None:
        """Subscribe a seat that has got a connection."""
        seat.interest = self._replicator.subscribe(seat.interest)
        self.mark_changed(seat)

    def unsubscribe(self, seat: Seat) -> None:
        """Unsubscribe a seat that has lost its connection."""
        self._replicator.unsubscribe(seat.interest)

    def mark_changed(self, seat: Seat) -> None:
        """Recompute a seat's interest with the next `refresh`: the game has changed its channels or its focus."""
        self._changed.add(seat)
        self._by_focus = None

    def restore(self, seat: Seat) -> None:
        """Note the cell that the player of a restored room looks at: events may precede the first tick."""
        self._viewers.update(seat.player, self._find_cell(seat))

    def discard(self, seat: Seat) -> None:
        """Stop tracking a seat that was given up."""
        self._viewers.discard(seat.player)
        self._changed.discard(seat)
        self._by_focus = None

    def refresh(self, seats: list[Seat]) -> None:
        """Put entities into their grid cells and update the interest sets. Called once a tick."""
        moved: set[int] = set()
        if self._grid_index is not None:
            for table in self._on_grid:
                moved.update(self._grid_index.assign(table).tolist())
        if moved:
            if self._by_focus is None:
                self._by_focus = _group_by_focus(seats)
            for id in moved & self._by_focus.keys():
                self._changed.update(self._by_focus[id])
        changed, self._changed = self._changed, set()
        for seat in changed:
            self._refresh(seat)

    def _refresh(self, seat: Seat) -> None:
        numbers = seat.player.watched
        if self._grid_index is not None:
            seat.cell = self._find_cell(seat)
            if seat.is_open:
                self._viewers.update(seat.player, seat.cell)
            if seat.cell is not None:
                numbers |= self._grid_index.visible_cells(seat.cell)
        if numbers == seat.interest.numbers or not seat.is_open:
            return
        interest = self._replicator.get_interest(numbers)
        if seat.player.is_connected:
            interest = self._replicator.subscribe(interest)
            self._replicator.unsubscribe(seat.interest)
        seat.interest = interest

    def _find_cell(self, seat: Seat) -> int | None:
        """Return the cell of a player's focus, or its last cell if the focus is despawned."""
        focus = seat.player.own_focus
        if focus is None:
            return None
        if not focus.exists:
            return seat.cell
        return focus.channel if any(focus.row_in(table) is not None for table in self._on_grid) else None


def _group_by_focus(seats: list[Seat]) -> dict[int, list[Seat]]:
    """Return the seats that look at the grid from each entity, by entity id."""
    by_focus: dict[int, list[Seat]] = {}
    for seat in seats:
        if (focus := seat.player.focus) is not None:
            by_focus.setdefault(focus.id, []).append(seat)
    return by_focus
