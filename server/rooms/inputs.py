"""All inputs of a tick as one value, for rooms that handle them together. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tickwire.schemas.inputs import InputColumns
from tickwire.server.replication.table import Table
from tickwire.server.rooms.player import Player


class InputBatch:
    """The newest input of every player that has sent one since the last tick.

        rows, values = inputs.of(self.ships)
        self.ships.thrust[rows] = values["thrust"]

    Args:
        players: the players whose inputs these are.
        wishes: the values of each field by name, (players,) each, in the game's units.
    """

    def __init__(self, players: list[Player], wishes: InputColumns) -> None:
        self.players = players
        self.wishes = wishes

    def of(self, table: Table) -> tuple[NDArray[np.int64], InputColumns]:
        """Return the rows of the players' entities in a table, and the inputs of those players.

        Players without an entity in the table are left out.
        """
        found = [entity.row_in(table) if (entity := player._entity) is not None else None for player in self.players]
        if None not in found:
            return np.array(found, np.int64), self.wishes
        indices = [index for index, row in enumerate(found) if row is not None]
        rows = np.array([found[index] for index in indices], np.int64)
        return rows, {name: values[indices] for name, values in self.wishes.items()}
