"""Creates rooms: new ones, and rooms that are restored from a checkpoint together with their players.

Pure, as the rooms themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
import structlog

from tickwire.server.errors import NotSavable, RoomFailed, TickwireError, Unavailable
from tickwire.server.replication.conversion import ShapeChanged
from tickwire.server.replication.table_state import TableState
from tickwire.server.rooms.absent_session import AbsentSession
from tickwire.server.rooms.attributes import decode_attributes
from tickwire.server.rooms.checkpoint import RoomCheckpoint, SetAsideData, TooNew
from tickwire.server.rooms.containment import PendingRoom, RoomCodeRaised, RoomIdentity, contain
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.options_types import parse_options
from tickwire.server.rooms.ports import SessionSource
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import SeatEnded
from tickwire.server.rooms.transactions import RecordVersion

log = structlog.get_logger(__name__)

TOO_NEW_RETRY_MS = 1000
"""During a rolling deploy a shard of the newer build soon has the room."""


class RoomSpec(msgspec.Struct, frozen=True):
    """The identity of a room to create.

    Args:
        room_id: unique among all rooms; a durable room keeps its id.
        room_type: the `room_type` of its class.
        name: the name to find it by; empty for unnamed rooms.
        code: the code that opens a private room; empty for other rooms.
        labels: the labels of a new room. A restored room has those of its checkpoint.
        mode: the mode of the match that the room is created for; empty for other rooms.
        epoch: the fencing number under which this shard owns the room; 0 until it owns the room.
    """

    room_id: str
    room_type: str
    name: str = ""
    code: str = ""
    labels: Mapping[str, str] = {}
    mode: str = ""
    epoch: int = 0


class RestoreRequest(NamedTuple):
    """A checkpoint and the parts of a room that other services restore.

    Args:
        checkpoint: the state of the room.
        sessions: restores the sessions of the seats. A player whose session cannot be restored leaves the room.
        on_ended: called when a restored seat is given up.
        records: the records of the restored players, by player id.
    """

    checkpoint: RoomCheckpoint
    sessions: SessionSource
    on_ended: SeatEnded
    records: Mapping[str, RecordVersion]


class RoomContext(NamedTuple):
    """The parts that all rooms of a shard share.

    Args:
        counters: the counters of the shard; rooms add to them.
        tune: sets the tuning values of a new room.
        now_s: a monotonic clock in seconds, for the duration of hooks.
    """

    counters: RoomCounters
    tune: Callable[[Room], None]
    now_s: Callable[[], float]


def create_room(
    room_class: type[Room], spec: RoomSpec, context: RoomContext, options: Mapping[str, Any], *, seed: int
) -> RoomRuntime:
    """Create a new room.

    Args:
        room_class: the class of the room type.
        spec: the identity of the room.
        context: the counters, tuning and clock of the shard.
        options: the options of the Join that creates it, for `on_create`.
        seed: the seed of the room's random numbers.

    Raises:
        InvalidArgument: the options do not have the type that `on_create` declares.
        RoomFailed: the game's code raised an exception.
    """
    pending = PendingRoom(spec.room_type, spec.room_id)
    parsed = parse_options("on_create", room_class.create_options_type, options, pending, context.counters)
    runtime = _construct(room_class, spec, context, spec.labels, seed)
    try:
        with runtime.hooks.contain("on_create", parsed):
            runtime.room.on_create(parsed)
            _compact(runtime.room)
    except RoomCodeRaised as error:
        runtime.room.tasks.stop("the room could not be created")
        raise RoomFailed("the room could not be created") from error
    return runtime


def restore_room(
    room_class: type[Room], spec: RoomSpec, context: RoomContext, request: RestoreRequest, *, seed: int
) -> RoomRuntime:
    """Restore a room from a checkpoint, with its players seated and disconnected.

    Args:
        room_class: the class of the room type.
        spec: the identity of the room.
        context: the counters, tuning and clock of the shard.
        request: the checkpoint, and the source of its sessions and records.
        seed: the seed of the room's random numbers, if the checkpoint does not contain their state.

    Raises:
        RoomFailed: the game's code raised an exception.
        NotSavable: the stored world does not fit the room's declarations; it is left unchanged.
        Unavailable: a newer build has saved the room.
    """
    runtime = _construct(room_class, spec, context, request.checkpoint.labels, seed)
    try:
        _restore_tables(runtime, request.checkpoint)
        with runtime.hooks.contain("restore"):
            _restore(runtime, request)
            _compact(runtime.room)
    except RoomCodeRaised as error:
        runtime.room.tasks.stop("the room could not be restored")
        for seat in runtime.seats:
            seat.subscriber.seat_lost("the room could not be restored")
        raise restore_error(error, runtime.room) from error
    return runtime


def _construct(
    room_class: type[Room], spec: RoomSpec, context: RoomContext, labels: Mapping[str, str], seed: int
) -> RoomRuntime:
    try:
        with contain("__init__", PendingRoom(room_class.room_type, spec.room_id), context.counters):
            room = room_class(room_id=spec.room_id, name=spec.name, seed=seed)
            room.code, room.mode, room.labels = spec.code, spec.mode, labels
            room.unlock()
            context.tune(room)
            return RoomRuntime(room, epoch=spec.epoch, counters=context.counters, now_s=context.now_s)
    except RoomCodeRaised as error:
        raise RoomFailed("the room could not be created") from error


def _compact(room: Room) -> None:
    for table in room.all_tables():
        table.compact()


def restore_error(error: RoomCodeRaised, room: RoomIdentity) -> TickwireError:
    """Return the error for a room whose saved state could not be read, or whose code raised an exception."""
    cause = error.__cause__
    if isinstance(cause, TooNew):
        return Unavailable("a newer build has saved this room", retry_after_ms=TOO_NEW_RETRY_MS)
    if isinstance(cause, ShapeChanged):
        return _not_readable(room, str(cause))
    return RoomFailed("the room could not be restored")


def _not_readable(room: RoomIdentity, reason: str) -> NotSavable:
    log.error("world_decode_failed", room_id=room.room_id, room_type=room.room_type, error=reason)
    return NotSavable("the room's stored world does not fit this build", detail=reason)


def _restore_tables(runtime: RoomRuntime, saved: RoomCheckpoint) -> None:
    """Fill the tables, and set aside stored data that this build does not declare.

    Raises:
        NotSavable: a stored field cannot be read as it is declared now.
    """
    room = runtime.room
    changes, where = room.schema_changes, ""
    tables = changes.rename_tables(saved.tables)
    unknown_tables: dict[str, TableState] = {}
    for name, state in saved.set_aside.tables.items():
        for new in changes.rename_tables({name: state}):
            if new in tables:  # it already has rows of its own: the older ones stay set aside
                unknown_tables[name] = state
            else:
                tables[new] = state
    columns = {
        name: changes.rename_fields(name, fields)
        for name, fields in changes.rename_tables(saved.set_aside.columns).items()
    }
    unknown_columns: dict[str, dict[str, TableState]] = {}
    try:
        for name, state in tables.items():
            where = f"table {name!r}: "
            if name not in room.tables:
                unknown_tables[name] = state
                continue
            table = getattr(room, name)
            fields = changes.rename_fields(name, {column.fields[0].name: column for column in state.split_fields()})
            if fields.keys() != {field.name for field in state.fields}:
                state = state.with_fields([column.with_field(new) for new, column in fields.items()])
            unknown_columns[name] = table.restore(state)
            for field, column in columns.pop(name, {}).items():
                if field in table.columns:
                    table.restore_field(column.with_field(field))
                else:
                    unknown_columns[name][field] = column
    except ShapeChanged as error:
        raise _not_readable(room, f"{where}{error}") from error
    remaining = {name: _with_rows(fields) for name, fields in (columns | unknown_columns).items()}
    runtime.set_aside = SetAsideData(
        _with_rows(unknown_tables), {name: fields for name, fields in remaining.items() if fields}
    )


def _with_rows(tables: Mapping[str, TableState]) -> dict[str, TableState]:
    return {name: table for name, table in tables.items() if table.ids.size}


def _restore(runtime: RoomRuntime, request: RestoreRequest) -> None:
    checkpoint, room = request.checkpoint, runtime.room
    runtime.has_rolled_back = True
    value = checkpoint.set_aside.fields | checkpoint.state
    try:
        state = room.save_type.read(checkpoint.state_version, value)
    except msgspec.ValidationError as error:
        raise ShapeChanged(f"state: {error}") from error
    unknown = room.save_type.unknown_fields(checkpoint.state_version, value)
    runtime.set_aside = msgspec.structs.replace(runtime.set_aside, fields=unknown)
    if runtime.set_aside:
        runtime.counters.rooms_with_set_aside_data[room.room_type] += 1
        log.warning(
            "stored_data_set_aside",
            room_id=room.room_id,
            room_type=room.room_type,
            names=runtime.set_aside.describe(),
        )
    room.tick = checkpoint.tick
    room.entity_ids.next_id = checkpoint.next_entity_id
    room.next_channel = checkpoint.next_channel
    for seat in checkpoint.seats:
        session = request.sessions.restore(seat.session) or AbsentSession(seat.session)
        runtime.restore_seat(seat, session, request.on_ended, request.records.get(seat.player_id))
    if checkpoint.clock is not None:
        room.clock.restore(checkpoint.clock)
    room.transactions.restore(checkpoint.transactions)
    for name, attribute in decode_attributes(room, checkpoint.attributes).items():
        setattr(room, name, attribute)
    if checkpoint.random:
        room.random.bit_generator.state = checkpoint.random
    room.restore(state)
    for restored in list(runtime.seats):
        if isinstance(restored.subscriber, AbsentSession):
            restored.leave("the session is not on this shard")
