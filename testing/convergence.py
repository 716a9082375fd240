"""Compares the world of a client with the server's tables, as far as the client may see them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from tickwire.client.world import TableView, World
from tickwire.schemas.columns import Columns
from tickwire.schemas.fields import Field
from tickwire.server.replication.table import Table
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat


class Difference(NamedTuple):
    """The first difference between the world of a client and that of the server.

    Args:
        tick: the tick of the server's tables.
        client: the name of the client.
        table: the name of the table; empty: the client is not in the room.
        entity: the id of the entity.
        field: the name of the field; empty: only one of the worlds has the entity.
        server_value, client_value: the values in the game's units; for a missing entity whether the world has it.
    """

    tick: int
    client: str
    table: str = ""
    entity: int = 0
    field: str = ""
    server_value: Any = None
    client_value: Any = None

    def __str__(self) -> str:
        where = f"tick {self.tick}, client {self.client!r}"
        if not self.table:
            return f"{where}: {self.client_value}"
        where = f"{where}: {self.table}[{self.entity}]"
        if not self.field:
            place = "only on the server" if self.server_value else "only at the client"
            return f"{where} exists {place}"
        return f"{where}.{self.field} is {self.server_value!r} on the server and {self.client_value!r} at the client"


class NotConverged(AssertionError):
    """The world of a client differs from the server's.

    Args:
        difference: the first difference.
    """

    def __init__(self, difference: Difference) -> None:
        super().__init__(str(difference))
        self.difference = difference


def find_difference(runtime: RoomRuntime, seat: Seat, name: str, world: World) -> Difference | None:
    """Return the first difference between a client's world and the rows that its seat may see; None: they are equal.

    Args:
        runtime: the room, between two ticks.
        seat: the client's seat.
        name: the name of the client.
        world: the client's world, after it has received everything.
    """
    room = runtime.room
    numbers = sorted(seat.interest.numbers)
    for table_name, by_channel in zip(room.tables, runtime.replicator.rows_by_channel(), strict=True):
        visible = [by_channel[number] for number in numbers if number in by_channel]
        found = _compare(getattr(room, table_name), visible, world.table(table_name))
        if found is not None:
            return found._replace(tick=room.tick, client=name, table=table_name)
    return None


def _compare(table: Table, visible: list[Columns], mirrored: TableView) -> Difference | None:
    """Return the first difference of one table: first in the ids, then by entity and field."""
    ids = np.concatenate([rows.ids for rows in visible]) if visible else mirrored.ids[:0]
    order = np.argsort(ids)
    ids = ids[order]
    differing = np.setxor1d(ids, mirrored.ids)
    if differing.size:
        id = int(differing[0])
        return Difference(0, "", entity=id, server_value=id in ids, client_value=id in mirrored)
    first: tuple[int, Field, Any, Any] | None = None
    for field, server in _columns(table, visible, order):
        client = mirrored.quantised(field.name)
        rows = np.flatnonzero(server != client)
        if rows.size and (first is None or rows[0] < first[0]):
            row = int(rows[0])
            first = row, field, server[row : row + 1], client[row : row + 1]
    if first is None:
        return None
    row, field, server, client = first
    values = [field.dequantise(value).tolist()[0] for value in (server, client)]
    return Difference(0, "", "", int(ids[row]), field.name, *values)


def _columns(table: Table, visible: list[Columns], order: Any) -> Iterator[tuple[Field, Any]]:
    """Yield the fields of a table with their quantised values, by ascending id, in the order of declaration."""
    if not visible:
        return
    values = np.concatenate([rows.values for rows in visible], axis=1)[:, order]
    texts = np.concatenate([rows.texts for rows in visible], axis=1)[:, order] if table.textual else values[:0]
    rows = dict(zip((field.name for field in (*table.numeric, *table.textual)), (*values, *texts), strict=True))
    for field in table.fields:
        yield field, rows[field.name]
