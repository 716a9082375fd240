"""All inputs of a tick at once, for rooms that take them so. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tickwire.schemas.inputs import InputColumns
from tickwire.server.replication.table import Table

if TYPE_CHECKING:
    from tickwire.server.rooms.room import Player


class InputBatch:
    """The newest input of every player that has sent one since the last tick.

        rows, wishes = inputs.of(self.ships)
        self.ships.thrust[rows] = wishes["thrust"]

    Args:
        players: whose they are.
        wishes: (players,) of each field, in the game's units.
    """

    def __init__(self, players: list[Player], wishes: InputColumns) -> None:
        self.players = players
        self.wishes = wishes

    def of(self, table: Table) -> tuple[NDArray[np.int64], InputColumns]:
        """The rows of the players' entities, and what those want; players without one in the table are left out."""
        found = [entity.row_in(table) if (entity := player._entity) is not None else None for player in self.players]
        if None not in found:
            return np.array(found, np.int64), self.wishes
        at = [place for place, row in enumerate(found) if row is not None]
        rows = np.array([found[place] for place in at], np.int64)
        return rows, {name: values[at] for name, values in self.wishes.items()}
