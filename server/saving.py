"""Durable rooms to the store and back: the one place that knows both rooms and storage.

A room's state is taken between two ticks, at most once a second and only when something changed, and handed to
the write-behind; the tick never waits. A room is saved under its epoch: a write that comes too late from a shard
that lost the room is refused by MongoDB, and the room is closed here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from schemas.columns import NO_TEXTS
from schemas.fields import Field
from schemas.messages import FieldKind
from server.replication.table import TableState
from server.rooms.host import RoomHost
from server.rooms.simulation import RoomCodeRaised, RoomState, Simulation
from server.storage import SavedTable, SavedWorld, Worlds, WriteBehind, world_key

log = structlog.get_logger(__name__)


class Saver:
    """Saves the durable rooms of a shard.

    Args:
        worlds: the store.
        write_behind: the queue before it, coalesced by room.
    """

    def __init__(self, worlds: Worlds, write_behind: WriteBehind) -> None:
        self._worlds = worlds
        self._write_behind = write_behind
        self._saved: dict[str, tuple[int, dict[str, Any]]] = {}

    async def claim(self, room_type: str, name: str, epoch: int) -> RoomState | None:
        """The saved state of a room, or None; older owners are refused from now on.

        Raises:
            StaleEpoch: a newer owner has claimed it already.
            Unavailable: MongoDB does not answer.
        """
        await self._write_behind.wait_written(world_key(room_type, name))  # ours from an earlier run, if any
        saved = await self._worlds.claim(room_type, name, epoch)
        return None if saved is None else _from_saved(saved)

    def save_changed(self, host: RoomHost) -> None:
        """Hands every durable room that has changed to the write-behind."""
        for simulation in host:
            self.save(simulation)

    def save(self, simulation: Simulation, *, is_last: bool = False) -> None:
        """Hands one room to the write-behind if it is durable and has changed since the last time.

        Args:
            is_last: the room has ended: what a command has changed since its last tick is saved too.
        """
        room = simulation.room
        if not (room.durable and room.name):
            return
        try:
            state = simulation.state()
        except RoomCodeRaised:
            return  # logged and counted; the state saved before stays
        mark = (simulation.changed_tick, state.state)
        if self._saved.get(room.room_id) == mark and not is_last:
            return
        self._saved[room.room_id] = mark
        self._write_behind.put(_to_saved(room.room_type, room.name, state), simulation.epoch)

    async def wait_saved(self, simulation: Simulation) -> None:
        """Returns once nothing of this room waits to be written."""
        await self._write_behind.wait_written(world_key(simulation.room.room_type, simulation.room.name))

    def forget(self, room_id: str) -> None:
        """The room has ended."""
        self._saved.pop(room_id, None)


def close_fenced(host: RoomHost) -> Callable[[str, str], None]:
    """What to do when a write was refused: the room belongs to another shard, so it ends here."""

    def on_fenced(room_type: str, name: str) -> None:
        for simulation in host:
            if (simulation.room.room_type, simulation.room.name) == (room_type, name):
                log.warning("room_fenced", room_id=simulation.room.room_id, epoch=simulation.epoch)
                host.close(simulation.room.room_id, "another shard owns the room now")

    return on_fenced


def _to_saved(room_type: str, name: str, state: RoomState) -> SavedWorld:
    return SavedWorld(
        name=name,
        room_type=room_type,
        tick=state.tick,
        tables={table: _to_table(saved) for table, saved in state.tables.items()},
        state=state.state,
        next_entity_id=state.next_entity_id,
        next_channel=state.next_channel,
    )


def _to_table(table: TableState) -> SavedTable:
    return SavedTable(
        fields=[_to_document(field) for field in table.fields],
        ids=table.ids.astype("<u4").tobytes(),
        columns={
            f.name: row.astype("<i8").tobytes() for f, row in zip(_numeric(table.fields), table.values, strict=True)
        },
        count=int(table.ids.size),
        texts={f.name: row.tolist() for f, row in zip(_textual(table.fields), _texts_of(table), strict=True)},
        channels=b"" if table.channels is None else table.channels.astype("<u2").tobytes(),
    )


def _to_document(field: Field) -> dict[str, Any]:
    document: dict[str, Any] = {"name": field.name, "kind": field.kind.name.lower(), "bits": field.bits}
    if field.kind is FieldKind.REAL:
        document |= {"low": field.low, "high": field.high, "step": field.step}
    if field.labels:
        document["labels"] = list(field.labels)
    if field.is_text:
        document["bytes_max"] = field.bytes_max
    return document


def _from_saved(saved: SavedWorld) -> RoomState:
    tables = {name: _from_table(table) for name, table in saved.tables.items()}
    state = RoomState(saved.tick, saved.next_entity_id, tables, saved.state)
    return state if saved.next_channel is None else msgspec.structs.replace(state, next_channel=saved.next_channel)


def _from_table(table: SavedTable) -> TableState:
    fields = tuple(_from_document(document) for document in table.fields)
    numeric, textual = _numeric(fields), _textual(fields)
    columns = [np.frombuffer(table.columns[field.name], "<i8") for field in numeric]
    values = np.array(columns, np.int64).reshape(len(numeric), table.count)
    texts = np.empty((len(textual), table.count), np.object_)
    for row, field in enumerate(textual):
        texts[row] = table.texts[field.name]
    channels = np.frombuffer(table.channels, "<u2").astype(np.uint16) if table.channels else None
    ids = np.frombuffer(table.ids, "<u4").astype(np.uint32)
    return TableState(numeric + textual, ids, values, texts if textual else None, channels)


def _numeric(fields: tuple[Field, ...]) -> tuple[Field, ...]:
    return tuple(field for field in fields if not field.is_text)


def _textual(fields: tuple[Field, ...]) -> tuple[Field, ...]:
    return tuple(field for field in fields if field.is_text)


def _texts_of(table: TableState) -> NDArray[np.object_]:
    return NO_TEXTS if table.texts is None else table.texts


def _from_document(document: dict[str, Any]) -> Field:
    return Field(
        name=document["name"],
        kind=FieldKind[document["kind"].upper()],
        bits=document["bits"],
        low=document.get("low", 0.0),
        high=document.get("high", 0.0),
        step=document.get("step", 0.0),
        labels=tuple(document.get("labels", ())),
        bytes_max=document.get("bytes_max", 0),
    )
