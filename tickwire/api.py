"""The API for games, which `tickwire` re-exports: rooms and tables, fields, commands and transactions, tuning."""

from tickwire.server.recording.replay_room import ReplayRoom, ReplayStatus, replay_room
from tickwire.server.replication.column_groups import quaternion, vec2, vec3
from tickwire.server.replication.columns import (
    angle,
    blob,
    boolean,
    entity,
    enumeration,
    local,
    real,
    sint,
    text,
    uint,
)
from tickwire.server.replication.grid import Grid
from tickwire.server.replication.table import EVERYONE, NOBODY, Row, Table, TableFull
from tickwire.server.replication.table_history import TableSnapshot
from tickwire.server.rooms.checkpoint import SaveData
from tickwire.server.rooms.clock import TooManyTimers
from tickwire.server.rooms.command_methods import command
from tickwire.server.rooms.containment import CommandRefused
from tickwire.server.rooms.event_types import Event
from tickwire.server.rooms.input_types import Input
from tickwire.server.rooms.inputs import InputBatch
from tickwire.server.rooms.lag_compensation import RoomSnapshot
from tickwire.server.rooms.move_request import MoveOutcome, MoveRefused
from tickwire.server.rooms.player import NoEntity, Player
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.room_tasks import TaskCancelled, TaskRefused, TaskResult
from tickwire.server.rooms.room_timer import RoomTimer
from tickwire.server.rooms.room_transactions import TooManyTransactions, TransactionOutcome
from tickwire.server.rooms.schema_changes import SchemaChanges
from tickwire.server.rooms.transactions import ItemChange, Transaction, grant, spend, trade, transfer
from tickwire.server.rooms.tuning import Tuning

__all__ = [
    "EVERYONE",
    "NOBODY",
    "CommandRefused",
    "Event",
    "Grid",
    "Input",
    "InputBatch",
    "ItemChange",
    "MoveOutcome",
    "MoveRefused",
    "NoEntity",
    "Player",
    "ReplayRoom",
    "ReplayStatus",
    "Room",
    "RoomSnapshot",
    "RoomTimer",
    "Row",
    "SaveData",
    "SchemaChanges",
    "Table",
    "TableFull",
    "TableSnapshot",
    "TaskCancelled",
    "TaskRefused",
    "TaskResult",
    "TooManyTimers",
    "TooManyTransactions",
    "Transaction",
    "TransactionOutcome",
    "Tuning",
    "angle",
    "blob",
    "boolean",
    "command",
    "entity",
    "enumeration",
    "grant",
    "local",
    "quaternion",
    "real",
    "replay_room",
    "sint",
    "spend",
    "text",
    "trade",
    "transfer",
    "uint",
    "vec2",
    "vec3",
]
