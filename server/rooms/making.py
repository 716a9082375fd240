"""A room is made: new, or again from what was saved of it, with those who were playing in it.

Pure, as what it makes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from server.errors import RoomClosed
from server.rooms.absent_session import AbsentSession
from server.rooms.attributes import decode_attributes
from server.rooms.containment import RoomCodeRaised, UnmadeRoom, contain
from server.rooms.counters import RoomCounters
from server.rooms.deals import Record
from server.rooms.ports import NoReviver, SessionSource
from server.rooms.room import Room
from server.rooms.seat import SeatEnded
from server.rooms.simulation import Simulation
from server.rooms.state import RoomState


def create(
    room_class: type[Room],
    *,
    room_id: str,
    name: str,
    epoch: int,
    seed: int,
    counters: RoomCounters,
    options: Mapping[str, Any],
    saved: RoomState | None,
    code: str = "",
    labels: Mapping[str, str] | None = None,
    mode: str = "",
    reviver: SessionSource | None = None,
    on_ended: SeatEnded = lambda seat: None,
    records: Mapping[str, Record] | None = None,
    tune: Callable[[Room], None] = lambda room: None,
    now_s: Callable[[], float] = lambda: 0.0,
) -> Simulation:
    """Makes a room, new or from its saved state.

    Args:
        reviver: restores the sessions of a saved room. Without it, and for a session that it cannot restore, the
            player leaves the room.
        on_ended: told when one of those gives the seat up.
        records: what those own.
        tune: gives the room the tuning that is meant for it.
        now_s: a monotonic clock, for hooks that take too long.

    Raises:
        RoomClosed: the game's code raised.
    """
    try:
        with contain("__init__", UnmadeRoom(room_class.room_type, room_id), counters):
            room = room_class(room_id=room_id, name=name, seed=seed)
            room.code, room.mode = code, mode
            room.labels = (labels or {}) if saved is None else saved.labels
            room.unlock()
            tune(room)
            simulation = Simulation(room, epoch=epoch, counters=counters, now_s=now_s)
    except RoomCodeRaised as error:
        raise RoomClosed("the room could not be made") from error
    try:
        with simulation.contained("on_create" if saved is None else "restore"):
            if saved is None:
                room.on_create(options)
            else:
                _restore(simulation, saved, NoReviver() if reviver is None else reviver, on_ended, records or {})
            for table in room.all_tables():
                table.compact()
    except RoomCodeRaised as error:
        for seat in simulation.seats:
            seat.subscriber.seat_lost("the room could not be made")
        raise RoomClosed("the room could not be made") from error
    return simulation


def _restore(
    simulation: Simulation,
    saved: RoomState,
    reviver: SessionSource,
    on_ended: SeatEnded,
    records: Mapping[str, Record],
) -> None:
    simulation.has_gone_back = True
    room = simulation.room
    state = room.saves.read(saved.state_version, saved.state)
    room.tick = saved.tick
    room.entity_ids.next_id = saved.next_entity_id
    room.next_channel = saved.next_channel
    for attribute, table in saved.tables.items():
        if attribute in room.tables:
            getattr(room, attribute).restore(table)
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
