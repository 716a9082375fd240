"""Room checkpoints to and from stored worlds. Pure.

`encode_world` runs on the serialisation thread. Numbers are stored as quantised integers, little-endian, in the
smallest type that holds the declared bits.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from tickwire.schemas.columns import NO_TEXTS
from tickwire.schemas.fields import Field
from tickwire.schemas.messages import FieldKind
from tickwire.schemas.payloads import to_plain
from tickwire.server.replication.table_state import TableState
from tickwire.server.rooms.checkpoint import (
    ClockCheckpoint,
    RejectedRow,
    RoomCheckpoint,
    SeatCheckpoint,
    SetAsideData,
    TransactionCheckpoint,
)
from tickwire.server.storage import SavedTable, SavedWorld

# -- encoding ----------------------------------------------------------------------------------------------------


def encode_world(room_type: str, name: str, room_id: str, state: RoomCheckpoint) -> SavedWorld:
    """Return a room's checkpoint in the stored form. Runs on the serialisation thread."""
    return SavedWorld(
        name=name,
        room_type=room_type,
        room_id=room_id,
        tick=state.tick,
        tables={table: _encode_table(saved) for table, saved in state.tables.items()},
        state=state.state,
        state_version=state.state_version,
        state_error=state.state_error,
        next_entity_id=state.next_entity_id,
        next_channel=state.next_channel,
        labels=state.labels,
        sessions={seat.session.session_id: _encode_seat(seat) for seat in state.seats},
        aside_tables={table: _encode_table(saved) for table, saved in state.set_aside.tables.items()},
        aside_columns={
            table: {field: _encode_table(saved) for field, saved in fields.items()}
            for table, fields in state.set_aside.columns.items()
        },
        aside_state=state.set_aside.fields,
        clock={} if state.clock is None else to_plain(state.clock),
        transactions=[to_plain(pending) for pending in state.transactions],
    )


def _encode_table(table: TableState) -> SavedTable:
    numeric, textual = _numeric(table.fields), _textual(table.fields)
    return SavedTable(
        fields=[_encode_field(field) for field in table.fields],
        ids=table.ids.astype("<u4").tobytes(),
        columns={
            f.name: row.astype(_little_endian(_storage_type(f))).tobytes()
            for f, row in zip(numeric, table.values, strict=True)
        },
        count=int(table.ids.size),
        texts={
            f.name: [value.decode() if f.kind is FieldKind.TEXT else value for value in row.tolist()]
            for f, row in zip(textual, _text_rows(table), strict=True)
        },
        channels=b"" if table.channels is None else table.channels.astype("<u2").tobytes(),
    )


def _encode_field(field: Field) -> dict[str, Any]:
    document: dict[str, Any] = {"name": field.name, "kind": field.kind.name.lower(), "bits": field.bits}
    if field.kind is FieldKind.REAL:
        document |= {"low": field.low, "high": field.high, "step": field.step}
    if field.labels:
        document["labels"] = list(field.labels)
    if field.is_text:
        document["bytes_max"] = field.bytes_max
    else:
        document["as"] = _storage_type(field)
    return document


def _storage_type(field: Field) -> str:
    """Return the smallest numpy type that holds a field's quantised values."""
    bits = next(width for width in (8, 16, 32, 64) if field.bits <= width)
    return f"int{bits}" if field.kind is FieldKind.INT else f"uint{bits}"


def _little_endian(name: str) -> np.dtype[Any]:
    return np.dtype(name).newbyteorder("<")


def _encode_seat(seat: SeatCheckpoint) -> dict[str, Any]:
    """Return the document of a seat, with its session inside."""
    document: dict[str, Any] = to_plain(seat)
    del document["session"]["session_id"]  # the key of the document
    return document


# -- decoding -----------------------------------------------------------------------------------------------------


def decode_world(saved: SavedWorld) -> RoomCheckpoint:
    """Return the checkpoint of a stored world.

    Sessions, labels, timers and pending transactions that cannot be read are in `rejected`.

    Raises:
        ValueError, KeyError, TypeError: a table cannot be read.
    """
    seats, labels = [], {}
    rejected: list[RejectedRow] = []
    for session_id, session in saved.sessions.items():
        try:
            seats.append(_decode_seat(session_id, session))
        except (msgspec.ValidationError, KeyError, TypeError) as error:
            rejected.append(RejectedRow(f"sessions.{session_id}", session, f"{error!r}"))
    for name, label in saved.labels.items():
        if isinstance(label, str):
            labels[name] = label
        else:
            rejected.append(RejectedRow(f"labels.{name}", label, f"must be a string, not {type(label).__name__}"))
    clock = _decode_clock(saved.clock, rejected)
    transactions = _decode_transactions(saved.transactions, rejected)
    state = RoomCheckpoint(
        tick=saved.tick,
        next_entity_id=saved.next_entity_id,
        tables={name: _decode_table(table) for name, table in saved.tables.items()},
        state=saved.state,
        state_version=saved.state_version,
        labels=labels,
        seats=tuple(seats),
        set_aside=SetAsideData(
            {name: _decode_table(table) for name, table in saved.aside_tables.items()},
            {
                name: {field: _decode_table(table) for field, table in fields.items()}
                for name, fields in saved.aside_columns.items()
            },
            saved.aside_state,
        ),
        state_error=saved.state_error,
        rejected=tuple(rejected),
        clock=clock,
        transactions=transactions,
    )
    return state if saved.next_channel is None else msgspec.structs.replace(state, next_channel=saved.next_channel)


def recover_world(saved: SavedWorld) -> RoomCheckpoint:
    """Return the checkpoint of a room whose shard is lost.

    Its players may have resumed after the save and have received the events that were waiting for them. These events
    are therefore not treated as new.

    Raises:
        ValueError, KeyError, TypeError: a table cannot be read.
    """
    state = decode_world(saved)
    seats = [replace(seat, session=replace(seat.session, events_restored_at=None)) for seat in state.seats]
    return replace(state, seats=tuple(seats))


def _decode_seat(session_id: str, document: dict[str, Any]) -> SeatCheckpoint:
    return msgspec.convert(document | {"session": document["session"] | {"session_id": session_id}}, SeatCheckpoint)


def _decode_clock(document: dict[str, Any], rejected: list[RejectedRow]) -> ClockCheckpoint | None:
    try:
        return msgspec.convert(document, ClockCheckpoint) if document else None
    except msgspec.ValidationError as error:
        rejected.append(RejectedRow("clock", document, f"{error!r}"))
        return None


def _decode_transactions(documents: list[Any], rejected: list[RejectedRow]) -> tuple[TransactionCheckpoint, ...]:
    found = []
    for number, document in enumerate(documents):
        try:
            found.append(msgspec.convert(document, TransactionCheckpoint))
        except msgspec.ValidationError as error:
            rejected.append(RejectedRow(f"transactions.{number}", document, f"{error!r}"))
    return tuple(found)


def _decode_table(table: SavedTable) -> TableState:
    fields = tuple(_decode_field(document) for document in table.fields)
    numeric, textual = _numeric(fields), _textual(fields)
    types = {document["name"]: document.get("as", "int64") for document in table.fields}
    columns = [np.frombuffer(table.columns[field.name], _little_endian(types[field.name])) for field in numeric]
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


def _text_rows(table: TableState) -> NDArray[np.object_]:
    return NO_TEXTS if table.texts is None else table.texts


def _decode_field(document: dict[str, Any]) -> Field:
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
