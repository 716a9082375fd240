"""What game developers use: Room and its fields; and the loop that ticks it."""

from server.replication.columns import angle, blob, boolean, entity, enumeration, local, real, sint, text, uint
from server.replication.grid import Grid
from server.replication.table import EVERYONE, NOBODY, Row, Table, TableFull
from server.rooms.containment import CommandRefused
from server.rooms.deals import Deal, Move, grant, spend, trade, transfer
from server.rooms.inputs import Inputs
from server.rooms.room import Player, Room
from server.rooms.schema_changes import SchemaChanges
from server.rooms.state import Saved
from server.rooms.tuning import Tuning

__all__ = [
    "EVERYONE",
    "NOBODY",
    "CommandRefused",
    "Deal",
    "Grid",
    "Inputs",
    "Move",
    "Player",
    "Room",
    "Row",
    "Saved",
    "SchemaChanges",
    "Table",
    "TableFull",
    "Tuning",
    "angle",
    "blob",
    "boolean",
    "entity",
    "enumeration",
    "grant",
    "local",
    "real",
    "sint",
    "spend",
    "text",
    "trade",
    "transfer",
    "uint",
]
