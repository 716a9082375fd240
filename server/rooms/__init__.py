"""What game developers use: Room and its fields; and the loop that ticks it."""

from server.replication.columns import angle, boolean, entity, enumeration, local, real, sint, uint
from server.replication.table import Row, Table
from server.rooms.room import CommandRefused, Player, Room

__all__ = [
    "CommandRefused",
    "Player",
    "Room",
    "Row",
    "Table",
    "angle",
    "boolean",
    "entity",
    "enumeration",
    "local",
    "real",
    "sint",
    "uint",
]
