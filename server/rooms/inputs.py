"""All inputs of a tick as one value, for rooms that handle them together. Pure."""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from tickwire.server.replication.table import Table
from tickwire.server.rooms.input_types import Input
from tickwire.server.rooms.player import Player

InputType = TypeVar("InputType", bound=Input)


class InputBatch(Generic[InputType]):
    """The newest input of every player that has sent one since the last tick.

        rows, ship_inputs = inputs.of(self.ships)
        self.ships.thrust[rows] = ship_inputs.thrust

    Args:
        players: the players whose inputs these are.
        values: the inputs: each field is a column, (players,).
    """

    __slots__ = ("players", "values")

    def __init__(self, players: list[Player], values: InputType) -> None:
        self.players = players
        self.values = values

    def __repr__(self) -> str:
        return f"<InputBatch of {len(self.players)} players>"

    def of(self, table: Table) -> tuple[NDArray[np.int64], InputType]:
        """Return the rows of the players' entities in a table, and the inputs of those players.

        Players without an entity in the table are left out.
        """
        found = [entity.row_in(table) if (entity := player._entity) is not None else None for player in self.players]
        if None not in found:
            return np.array(found, np.int64), self.values
        indices = np.array([index for index, row in enumerate(found) if row is not None], np.int64)
        rows = np.array([found[index] for index in indices], np.int64)
        return rows, self.values.select(indices)
