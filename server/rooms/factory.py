"""A room is made: new, or again from what was saved of it, with those who were playing in it.

Pure, as what it makes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import structlog

from tickwire.server.errors import NotSavable, RoomFailed, TickwireError, Unavailable
from tickwire.server.replication.conversion import ShapeChanged
from tickwire.server.replication.table import TableState
from tickwire.server.rooms.absent_session import AbsentSession
from tickwire.server.rooms.attributes import decode_attributes
from tickwire.server.rooms.checkpoint import RoomCheckpoint, SetAsideData, TooNew
from tickwire.server.rooms.containment import RoomCodeRaised, RoomIdentity, UnmadeRoom, contain
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.ports import NoSessionRestorer, SessionSource
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import SeatEnded
from tickwire.server.rooms.transactions import RecordVersion

log = structlog.get_logger(__name__)

TOO_NEW_RETRY_MS = 1000
"""While a deploy rolls: soon a shard of the newer build has the room."""


def create(
    room_class: type[Room],
    *,
    room_id: str,
    name: str,
    epoch: int,
    seed: int,
    counters: RoomCounters,
    options: Mapping[str, Any],
    saved: RoomCheckpoint | None,
    code: str = "",
    labels: Mapping[str, str] | None = None,
    mode: str = "",
    reviver: SessionSource | None = None,
    on_ended: SeatEnded = lambda seat: None,
    records: Mapping[str, RecordVersion] | None = None,
    tune: Callable[[Room], None] = lambda room: None,
    now_s: Callable[[], float] = lambda: 0.0,
) -> RoomRuntime:
    """Makes a room, new or from its saved state.

    Args:
        reviver: restores the sessions of a saved room. Without it, and for a session that it cannot restore, the
            player leaves the room.
        on_ended: told when one of those gives the seat up.
        records: what those own.
        tune: gives the room the tuning that is meant for it.
        now_s: a monotonic clock, for hooks that take too long.

    Raises:
        RoomFailed: the game's code raised.
        NotSavable: the stored world does not fit what the room declares; it stays as it is.
        Unavailable: a newer build has saved it.
    """
    try:
        with contain("__init__", UnmadeRoom(room_class.room_type, room_id), counters):
            room = room_class(room_id=room_id, name=name, seed=seed)
            room.code, room.mode = code, mode
            room.labels = (labels or {}) if saved is None else saved.labels
            room.unlock()
            tune(room)
            simulation = RoomRuntime(room, epoch=epoch, counters=counters, now_s=now_s)
    except RoomCodeRaised as error:
        raise RoomFailed("the room could not be made") from error
    try:
        if saved is not None:
            _restore_tables(simulation, saved)
        with simulation.contained("on_create" if saved is None else "restore"):
            if saved is None:
                room.on_create(options)
            else:
                _restore(
                    simulation, saved, NoSessionRestorer() if reviver is None else reviver, on_ended, records or {}
                )
            for table in room.all_tables():
                table.compact()
    except RoomCodeRaised as error:
        for seat in simulation.seats:
            seat.subscriber.seat_lost("the room could not be made")
        raise restore_error(error, room) from error
    return simulation


def restore_error(error: RoomCodeRaised, room: RoomIdentity) -> TickwireError:
    """Return what became of a room whose saved state could not be read, or whose code raised."""
    cause = error.__cause__
    if isinstance(cause, TooNew):
        return Unavailable("a newer build has saved this room", retry_after_ms=TOO_NEW_RETRY_MS)
    if isinstance(cause, ShapeChanged):
        return _not_readable(room, str(cause))
    return RoomFailed("the room could not be made")


def _not_readable(room: RoomIdentity, reason: str) -> NotSavable:
    log.error("world_decode_failed", room_id=room.room_id, room_type=room.room_type, error=reason)
    return NotSavable("the room's stored world does not fit this build", detail=reason)


def _restore_tables(simulation: RoomRuntime, saved: RoomCheckpoint) -> None:
    """Fill the tables, and keep aside what this build does not declare.

    Raises:
        NotSavable: a stored field cannot be read as it is declared now.
    """
    room = simulation.room
    changes, where = room.schema_changes, ""
    tables = changes.of_tables(saved.tables)
    unknown_tables: dict[str, TableState] = {}
    for name, state in saved.aside.tables.items():
        for new in changes.of_tables({name: state}):
            if new in tables:  # it has rows of its own by now: those that were kept aside stay there
                unknown_tables[name] = state
            else:
                tables[new] = state
    columns = {
        name: changes.of_fields(name, fields) for name, fields in changes.of_tables(saved.aside.columns).items()
    }
    unknown_columns: dict[str, dict[str, TableState]] = {}
    try:
        for name, state in tables.items():
            where = f"table {name!r}: "
            if name not in room.tables:
                unknown_tables[name] = state
                continue
            table = getattr(room, name)
            fields = changes.of_fields(name, {one.fields[0].name: one for one in state.split_fields()})
            if fields.keys() != {field.name for field in state.fields}:
                state = state.with_fields([one.with_field(new) for new, one in fields.items()])
            unknown_columns[name] = table.restore(state)
            for field, one in columns.pop(name, {}).items():
                if field in table.columns:
                    table.restore_field(one.with_field(field))
                else:
                    unknown_columns[name][field] = one
    except ShapeChanged as error:
        raise _not_readable(room, f"{where}{error}") from error
    kept = {name: _with_rows(fields) for name, fields in (columns | unknown_columns).items()}
    simulation.aside = SetAsideData(
        _with_rows(unknown_tables), {name: fields for name, fields in kept.items() if fields}
    )


def _with_rows(tables: Mapping[str, TableState]) -> dict[str, TableState]:
    return {name: table for name, table in tables.items() if table.ids.size}


def _restore(
    simulation: RoomRuntime,
    saved: RoomCheckpoint,
    reviver: SessionSource,
    on_ended: SeatEnded,
    records: Mapping[str, RecordVersion],
) -> None:
    simulation.has_gone_back = True
    room = simulation.room
    value = saved.aside.fields | saved.state
    try:
        state = room.saves.read(saved.state_version, value)
    except msgspec.ValidationError as error:
        raise ShapeChanged(f"state: {error}") from error
    unknown = room.saves.unknown_fields(saved.state_version, value)
    simulation.aside = msgspec.structs.replace(simulation.aside, fields=unknown)
    if simulation.aside:
        simulation.counters.kept_aside[room.room_type] += 1
        log.warning(
            "stored_data_kept_aside",
            room_id=room.room_id,
            room_type=room.room_type,
            kept=simulation.aside.describe(),
        )
    room.tick = saved.tick
    room.entity_ids.next_id = saved.next_entity_id
    room.next_channel = saved.next_channel
    for kept in saved.seats:
        subscriber = reviver.revive(kept.session) or AbsentSession(kept.session)
        simulation.restore_seat(kept, subscriber, on_ended, records.get(kept.player_id))
    for name, value in decode_attributes(room, saved.attributes).items():
        setattr(room, name, value)
    if saved.random:
        room.random.bit_generator.state = saved.random
    room.restore(state)
    for seat in list(simulation.seats):
        if isinstance(seat.subscriber, AbsentSession):
            seat.leave("the session is not here")
