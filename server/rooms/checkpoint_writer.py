"""Creates the checkpoint of a running room; see server/rooms/factory.py for the way back. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from tickwire.server.replication.table import Row, create_dead_row
from tickwire.server.rooms.checkpoint import (
    GONE,
    RoomCheckpoint,
    RoomMetadata,
    SeatCheckpoint,
    SetAsideData,
    to_plain_dict,
)
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.seat import Seat


def create_metadata(room: Room, seats: Iterable[Seat], changed_tick: int) -> RoomMetadata:
    """Return the part of a checkpoint that is not in tables.

    Args:
        room: the room.
        seats: the seats of the room.
        changed_tick: the last tick that changed the state that clients see.

    Raises:
        TypeError: the game's `save` returned another type than it declares, or a value that cannot be saved.
        Exception: any exception of the game's `save`.
    """
    saved = room.save()
    if not isinstance(saved, room.save_type):
        raise TypeError(
            f"{type(room).__name__}.save must return a {room.save_type.__name__}, not a {type(saved).__name__}"
        )
    checkpoints = tuple(_create_seat_checkpoint(room, seat) for seat in seats)
    return RoomMetadata(
        changed_tick=changed_tick,
        state=saved.to_plain_dict(),
        labels=dict(room.labels),
        seats=checkpoints,
        clock=room.clock.checkpoint(),
        transactions=room.transactions.checkpoint(),
    )


def create_checkpoint(room: Room, metadata: RoomMetadata, set_aside: SetAsideData) -> RoomCheckpoint:
    """Return the checkpoint of a room, with quantised tables.

    Args:
        room: the room, whose tables have no despawned rows.
        metadata: its current metadata.
        set_aside: stored data of the room that this build does not declare.
    """
    return RoomCheckpoint(
        tick=room.tick,
        next_entity_id=room.entity_ids.next_id,
        tables={name: getattr(room, name).state() for name in room.tables},
        state=metadata.state,
        state_version=room.save_type.version,
        next_channel=room.next_channel,
        labels=metadata.labels,
        seats=metadata.seats,
        clock=metadata.clock,
        transactions=metadata.transactions,
        set_aside=_without_despawned(room, set_aside),
    )


def _without_despawned(room: Room, set_aside: SetAsideData) -> SetAsideData:
    """Return the data that is set aside, without the fields of rows that were despawned."""
    columns = {
        name: {field: one.select_rows(getattr(room, name).ids.tolist()) for field, one in fields.items()}
        for name, fields in set_aside.columns.items()
        if name in room.tables
    }
    if not columns:
        return set_aside
    return SetAsideData(set_aside.tables, set_aside.columns | columns, set_aside.fields)


def _create_seat_checkpoint(room: Room, seat: Seat) -> SeatCheckpoint:
    player = seat.player
    entity, focus = player.assigned
    return SeatCheckpoint(
        player_id=seat.player_id,
        session=seat.subscriber.to_checkpoint(),
        entity=_to_reference(room, entity),
        focus=_to_reference(room, focus),
        cell=seat.cell,
        watched=tuple(sorted(player.watched)),
        private=player.opened,
        team=player.team,
        skill=player.skill,
        data=to_plain_dict(player.data) if player.data else {},
        limits=seat.limits.save() if seat.limits is not None else {},
    )


def _to_reference(room: Room, entity: Row | None) -> tuple[str, int] | None:
    if entity is None:
        return None
    for name in room.tables:
        if entity.row_in(getattr(room, name)) is not None:
            return name, entity.id
    return GONE


def find_entity(room: Room, reference: tuple[str, int] | None) -> Row | None:
    """Return the row of a saved entity; a dead row if it was despawned, or if this build lacks its table."""
    if reference is None:
        return None
    name, id = reference
    table = getattr(room, name) if name in room.tables else None
    return table[id] if table is not None and id in table else create_dead_row()
