"""Durable rooms to the store and back: the one place that knows both rooms and storage.

A room's state is taken between two ticks, every SAVE_INTERVAL_S and only when something has changed; rooms one after
the other over that time, so that no tick waits for many of them. What is taken is packed on another thread. A room is
saved under its epoch: a write that comes too late from a shard that lost the room is refused by MongoDB, and the room
is closed here.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
import numpy as np
import structlog
from msgspec.structs import replace
from numpy.typing import NDArray

from tickwire.schemas.columns import NO_TEXTS
from tickwire.schemas.fields import Field
from tickwire.schemas.messages import FieldKind
from tickwire.schemas.payloads import to_plain
from tickwire.server.errors import NotSavable
from tickwire.server.fault_isolation import FaultIsolation
from tickwire.server.replication.table import TableState
from tickwire.server.rooms.checkpoint import RejectedRow, RoomCheckpoint, RoomMetadata, SeatCheckpoint, SetAsideData
from tickwire.server.rooms.containment import RoomCodeRaised
from tickwire.server.rooms.host import RoomHost
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.salvage import find_misfit
from tickwire.server.storage import (
    Quarantine,
    QuarantinedPart,
    SavedTable,
    SavedWorld,
    WorldStore,
    WriteBehind,
    world_key,
)

log = structlog.get_logger(__name__)

SAVE_INTERVAL_S = 0.5
"""Half of what a crash may cost; the other half is for packing and writing."""
PAUSE_S_MIN = 0.002


class RoomSaver:
    """Saves the durable rooms of a shard.

    Args:
        worlds: the store.
        write_behind: the queue before it, coalesced by room.
        quarantine: keeps parts of worlds that cannot be read.
        isolation: guards each room's save.

    Attributes:
        parts_quarantined: counted since the start.
    """

    def __init__(
        self, worlds: WorldStore, write_behind: WriteBehind, quarantine: Quarantine, isolation: FaultIsolation
    ) -> None:
        self.parts_quarantined = 0
        self._quarantine = quarantine
        self._worlds = worlds
        self._write_behind = write_behind
        self._isolation = isolation
        self._idle_since: dict[str, int] = {}  # by room id: the tick at which it stood still
        # The state that was looked at last, and why it does not fit. A room's last save may be packed after `forget`.
        self._misfits: WeakKeyDictionary[Room, tuple[dict[str, Any], str]] = WeakKeyDictionary()
        self._saved: dict[str, RoomMetadata] = {}  # by room id: what was there when its state was handed over last

    async def claim(self, room_type: str, name: str, epoch: int) -> RoomCheckpoint | None:
        """The saved state of a room, or None; older owners are refused from now on.

        Raises:
            StaleEpoch: a newer owner has claimed it already.
            NotSavable: what is stored cannot be read by this build.
            Unavailable: MongoDB does not answer.
        """
        key = world_key(room_type, name)
        await self._write_behind.wait_written(key)  # ours from an earlier run, if any
        try:
            saved = await self._worlds.claim(room_type, name, epoch)
            return None if saved is None else _readable(saved)
        except NotSavable as error:
            log.error("world_not_readable", world=key, epoch=epoch, error=error.detail)
            raise

    async def quarantine(self, key: str, epoch: int, state: RoomCheckpoint) -> RoomCheckpoint:
        """Move the rejected parts of a world to the quarantine; return the state without them.

        Raises:
            NotSavable: MongoDB cannot hold one of them; the world must stay as it is.
            Unavailable: MongoDB does not answer.
        """
        for part in state.rejected:
            log.error("world_part_quarantined", world=key, path=part.path, error=part.error)
        parts = [QuarantinedPart(part.path, part.value, part.error) for part in state.rejected]
        await self._quarantine.add(key, epoch, parts)
        self.parts_quarantined += len(parts)
        return msgspec.structs.replace(state, rejected=())

    async def run(self, host: RoomHost) -> None:
        """Hands every durable room that has changed to the write-behind, again and again. Runs until cancelled."""
        while True:
            rooms = [simulation for simulation in host if is_durable(simulation)]
            pause_s = SAVE_INTERVAL_S / max(1, len(rooms))
            for first in range(0, max(1, len(rooms)), batch := max(1, int(PAUSE_S_MIN / pause_s))):
                for simulation in rooms[first : first + batch]:
                    if simulation.is_open and not simulation.is_frozen:
                        self.save(simulation)
                await asyncio.sleep(pause_s * batch)

    def save_changed(self, host: RoomHost) -> None:
        """Hands every durable room that has changed to the write-behind, now."""
        for simulation in host:
            if not simulation.is_frozen:
                self.save(simulation)

    def save(self, simulation: RoomRuntime, *, is_last: bool = False) -> None:
        """Hands one room to the write-behind if it is durable and has changed since the last time.

        Args:
            is_last: the room has ended: what a command has changed since its last tick is saved too.
        """
        with self._isolation.guard("saver", simulation.room.room_id):
            self._save(simulation, is_last=is_last)

    def _save(self, simulation: RoomRuntime, *, is_last: bool) -> None:
        room = simulation.room
        if not is_durable(simulation):
            return
        if simulation.is_idle and self._idle_since.get(room.room_id) == simulation.tick and not is_last:
            return  # it stands still: what `save` returns is what was looked at already
        try:
            beside = simulation.beside()
            if simulation.is_idle:
                self._idle_since[room.room_id] = simulation.tick
            if self._saved.get(room.room_id) == beside and not is_last:
                return
            state = simulation.state(beside)
        except RoomCodeRaised:
            return  # logged and counted; the state saved before stays
        self._saved[room.room_id] = beside
        snapshot = partial(self._world_of, room, state)
        self._write_behind.put(world_key(room.room_type, room.name), snapshot, simulation.epoch)

    def _world_of(self, room: Room, state: RoomCheckpoint) -> SavedWorld:
        """Called on the packer's thread."""
        world = world_of(room.room_type, room.name, room.room_id, state)
        return msgspec.structs.replace(world, state_error=self._misfit_of(room, state.state))

    def _misfit_of(self, room: Room, state: dict[str, Any]) -> str:
        """Why a state does not fit its declaration; looked at only when it has changed."""
        known, before = self._misfits.get(room, (None, ""))
        if known == state:
            return before
        error = find_misfit(room.saves, state)
        self._misfits[room] = state, error
        if error and error != before:
            log.error("saved_state_invalid", world=world_key(room.room_type, room.name), error=error)
        return error

    async def wait_saved(self, simulation: RoomRuntime) -> None:
        """Returns once nothing of this room, which has ended, waits to be written."""
        if is_durable(simulation):
            key = world_key(simulation.room.room_type, simulation.room.name)
            await self._write_behind.wait_written(key)
            self._write_behind.forget(key)

    def forget(self, room_id: str) -> None:
        """The room has ended."""
        self._idle_since.pop(room_id, None)
        self._saved.pop(room_id, None)


def is_durable(simulation: RoomRuntime) -> bool:
    """Whether a room is saved."""
    return simulation.room.durable and bool(simulation.room.name)


def close_fenced(host: RoomHost, key: str) -> None:
    """A write was refused: the room belongs to another shard, so it ends here, and goes on there."""
    for simulation in host:
        if simulation.is_frozen:
            continue  # it is moving: whoever moves it finds out where it is
        if is_durable(simulation) and world_key(simulation.room.room_type, simulation.room.name) == key:
            log.warning("room_fenced", room_id=simulation.room.room_id, epoch=simulation.epoch)
            host.close(simulation.room.room_id, "another shard owns the room now", has_moved=True)


# -- to a document ------------------------------------------------------------------------------------------------


def world_of(room_type: str, name: str, room_id: str, state: RoomCheckpoint) -> SavedWorld:
    """A room's state as it is stored. Called on the packer's thread."""
    return SavedWorld(
        name=name,
        room_type=room_type,
        room_id=room_id,
        tick=state.tick,
        tables={table: _to_table(saved) for table, saved in state.tables.items()},
        state=state.state,
        state_version=state.state_version,
        state_error=state.state_error,
        next_entity_id=state.next_entity_id,
        next_channel=state.next_channel,
        labels=state.labels,
        sessions={seat.session.session_id: _to_session(seat) for seat in state.seats},
        aside_tables={table: _to_table(saved) for table, saved in state.aside.tables.items()},
        aside_columns={
            table: {field: _to_table(saved) for field, saved in fields.items()}
            for table, fields in state.aside.columns.items()
        },
        aside_state=state.aside.fields,
    )


def _to_table(table: TableState) -> SavedTable:
    numeric, textual = _numeric(table.fields), _textual(table.fields)
    return SavedTable(
        fields=[_to_document(field) for field in table.fields],
        ids=table.ids.astype("<u4").tobytes(),
        columns={
            f.name: row.astype(_little(_type_of(f))).tobytes() for f, row in zip(numeric, table.values, strict=True)
        },
        count=int(table.ids.size),
        texts={
            f.name: [value.decode() if f.kind is FieldKind.TEXT else value for value in row.tolist()]
            for f, row in zip(textual, _texts_of(table), strict=True)
        },
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
    else:
        document["as"] = _type_of(field)
    return document


def _type_of(field: Field) -> str:
    """The smallest numpy type that holds a field's quantised values."""
    bits = next(width for width in (8, 16, 32, 64) if field.bits <= width)
    return f"int{bits}" if field.kind is FieldKind.INT else f"uint{bits}"


def _little(name: str) -> np.dtype[Any]:
    return np.dtype(name).newbyteorder("<")


def _to_session(seat: SeatCheckpoint) -> dict[str, Any]:
    """One document: the seat, and in it the session."""
    kept: dict[str, Any] = to_plain(seat)
    del kept["session"]["session_id"]  # it is the document's name
    return kept


# -- and back -----------------------------------------------------------------------------------------------------


def state_of(saved: SavedWorld) -> RoomCheckpoint:
    """A room's state from what is stored. Sessions and labels that cannot be read are among its `rejected` parts.

    Raises:
        ValueError, KeyError, TypeError: a table cannot be read.
    """
    seats, labels = [], {}
    rejected: list[RejectedRow] = []
    for session_id, session in saved.sessions.items():
        try:
            seats.append(_from_session(session_id, session))
        except (msgspec.ValidationError, KeyError, TypeError) as error:
            rejected.append(RejectedRow(f"sessions.{session_id}", session, f"{error!r}"))
    for name, label in saved.labels.items():
        if isinstance(label, str):
            labels[name] = label
        else:
            rejected.append(RejectedRow(f"labels.{name}", label, f"a label is a text, not a {type(label).__name__}"))
    state = RoomCheckpoint(
        tick=saved.tick,
        next_entity_id=saved.next_entity_id,
        tables={name: _from_table(table) for name, table in saved.tables.items()},
        state=saved.state,
        state_version=saved.state_version,
        labels=labels,
        seats=tuple(seats),
        aside=SetAsideData(
            {name: _from_table(table) for name, table in saved.aside_tables.items()},
            {
                name: {field: _from_table(table) for field, table in fields.items()}
                for name, fields in saved.aside_columns.items()
            },
            saved.aside_state,
        ),
        state_error=saved.state_error,
        rejected=tuple(rejected),
    )
    return state if saved.next_channel is None else msgspec.structs.replace(state, next_channel=saved.next_channel)


def recovered(saved: SavedWorld) -> RoomCheckpoint:
    """Return the state of a room whose shard is lost.

    Its players may have resumed since it was saved, and have been sent the events that were waiting for them: these
    are not taken for new ones again.
    """
    state = state_of(saved)
    seats = [replace(seat, session=replace(seat.session, events_restored_at=None)) for seat in state.seats]
    return replace(state, seats=tuple(seats))


def _readable(saved: SavedWorld) -> RoomCheckpoint:
    try:
        return recovered(saved)
    except (msgspec.ValidationError, ValueError, KeyError, TypeError) as error:
        detail = f"world {saved.key} cannot be read: {error!r}"
        raise NotSavable("the room's stored world cannot be read", detail=detail) from error


def _from_session(session_id: str, kept: dict[str, Any]) -> SeatCheckpoint:
    return msgspec.convert(kept | {"session": kept["session"] | {"session_id": session_id}}, SeatCheckpoint)


def _from_table(table: SavedTable) -> TableState:
    fields = tuple(_from_document(document) for document in table.fields)
    numeric, textual = _numeric(fields), _textual(fields)
    types = {document["name"]: document.get("as", "int64") for document in table.fields}
    columns = [np.frombuffer(table.columns[field.name], _little(types[field.name])) for field in numeric]
    values = np.array([column.astype(np.int64) for column in columns], np.int64).reshape(len(numeric), table.count)
    texts = np.empty((len(textual), table.count), np.object_)
    for row, field in enumerate(textual):
        texts[row] = [text.encode() if isinstance(text, str) else text for text in table.texts[field.name]]
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
