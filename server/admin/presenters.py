"""Presents the parts of a shard as the views of the admin API."""

from __future__ import annotations

from typing import Any

import msgspec

from tickwire.schemas.messages import FieldKind
from tickwire.server.admin.views import BanView, RoomErrorView, RoomView, SessionView, TableResponse, TuningView
from tickwire.server.edge.session import Session
from tickwire.server.replication.table import Table
from tickwire.server.rooms.recent_errors import RoomError
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.storage import Ban, TuningVersion


def to_room_view(runtime: RoomRuntime) -> RoomView:
    """Return the view of a room."""
    room = runtime.room
    return RoomView(
        room_id=room.room_id,
        room_type=room.room_type,
        name=room.name,
        mode=room.mode,
        access=room.access,
        labels=dict(room.labels),
        epoch=runtime.epoch,
        tick=room.tick,
        tick_rate_hz=room.tick_rate_hz,
        players=len(runtime.seats),
        seats=room.max_players,
        entities=sum(len(table) for table in room.all_tables()),
        is_durable=runtime.is_durable,
        tuning_version=room.tuning_version,
    )


def to_room_error_view(error: RoomError, age_s: float) -> RoomErrorView:
    """Return the view of an exception that was raised last `age_s` seconds ago."""
    return RoomErrorView(
        room_id=error.room_id,
        room_type=error.room_type,
        tick=error.tick,
        hook=error.hook,
        player_id=error.player_id,
        arguments=error.arguments,
        error=error.message,
        frames=error.frames,
        consequence=error.consequence,
        count=error.count,
        age_s=age_s,
        recording=error.recording,
    )


def to_table_response(name: str, table: Table, limit: int) -> TableResponse:
    """Return the first `limit` entities of a table, in the game's units; bytes as hexadecimal text."""
    rows = [row for row, _ in zip(table, range(limit), strict=False)]
    fields = type(table).describe(name).fields
    return TableResponse(
        name,
        len(table),
        [row.id for row in rows],
        {field.name: [_to_json(getattr(row, field.name)) for row in rows] for field in fields},
        [msgspec.to_builtins(field) | {"kind": FieldKind(field.kind).name.lower()} for field in fields],
    )


def _to_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return value.item() if hasattr(value, "item") else value


def to_session_view(session: Session) -> SessionView:
    """Return the view of a session."""
    connection = session.connection
    return SessionView(
        session_id=session.session_id,
        player_id=session.player_id,
        is_guest=session.is_guest,
        state=session.state.value,
        room_id=session.room_id,
        is_connected=connection is not None,
        connections=session.generations.current,
        address=connection.address if connection is not None else "",
        rtt_ms=connection.rtt_ms if connection is not None else 0.0,
        backlog_bytes=connection.backlog_bytes if connection is not None else 0,
        unacknowledged_events=len(session.outbox),
        schema_version=session.schema_version,
        history=session.history.entries,
    )


def to_ban_view(ban: Ban) -> BanView:
    """Return the view of a ban."""
    return BanView(ban.player_id, ban.until, ban.reason)


def to_tuning_view(tuning: TuningVersion) -> TuningView:
    """Return the view of a tuning version."""
    return msgspec.convert(msgspec.to_builtins(tuning), TuningView)
