"""Restarts a room in its process: a new room object takes over the world, the players and their connections.

    after an exception   from the last checkpoint, which is about CHECKPOINT_INTERVAL_S old at most
    after a code change  from a checkpoint of this moment, with the new class (`tickwire dev --reload`)

The new room is created as after a move to another shard: `__init__`, then `restore`, without `on_create`. Its players
are restored as disconnected; `on_resume` then runs for those who are connected, and their clients receive `Joined`
and the whole world. A player who has joined since the checkpoint receives Left, and may join again. A player who has
left since leaves again. A transaction that was committed since keeps its effect on what players own, but not on the
world, as after the loss of a shard. Pure: the clock is a parameter.
"""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import msgspec

from tickwire.server.rooms.checkpoint import RoomCheckpoint, SessionCheckpoint
from tickwire.server.rooms.containment import RoomCodeRaised
from tickwire.server.rooms.factory import RestoreRequest, RoomContext, RoomSpec, restore_room
from tickwire.server.rooms.ports import RestoredSubscriber
from tickwire.server.rooms.room import Access, Room
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat, SeatEnded
from tickwire.server.rooms.subscriber import Subscriber

CHECKPOINT_INTERVAL_S = 1.0
"""As much as a crash of the shard may lose of a durable room."""
RESTORED_S = 10.0
"""A room that fails again this soon after a restart has the cause in its state, or fails whatever its state is. It
closes instead of restarting again and again."""
LEFT_REASON = "the room has restarted from a state before you joined"


class RestartPoint(NamedTuple):
    """The state of a room from which it can restart in this process.

    Args:
        checkpoint: the checkpoint, with the columns as they are in memory, and the game's attributes.
        access: the access of the room: open, private or locked.
    """

    checkpoint: RoomCheckpoint
    access: Access


class _Restart(msgspec.Struct):
    """The newest restart point of a room, and when it was created; when the room has restarted last."""

    point: RestartPoint | None = None
    created_s: float = -math.inf
    restored_s: float = -math.inf


class RestartPoints:
    """Keeps the newest restart point of each room that restarts after an exception.

    A restart point is kept in the memory of the process, also of a room that is not durable.
    """

    def __init__(self) -> None:
        self._restarts: dict[str, _Restart] = {}

    def update(self, runtime: RoomRuntime, now_s: float) -> None:
        """Create a restart point of a room after a successful tick, if its last one is old enough."""
        restart = self._restarts.setdefault(runtime.room.room_id, _Restart())
        if now_s - restart.created_s < CHECKPOINT_INTERVAL_S or runtime.is_frozen:
            return
        restart.created_s = now_s
        try:
            restart.point = create_restart_point(runtime)
        except RoomCodeRaised:
            return  # logged and counted; the last one stays

    def take(self, room_id: str, now_s: float) -> RestartPoint | None:
        """Return the restart point of a room, and record the restart; None if the room must close.

        A restart point is used once: the restarted room shares the players' data with it, and changes them.
        """
        restart = self._restarts.get(room_id)
        if restart is None or now_s - restart.restored_s < RESTORED_S:
            return None
        point, restart.point = restart.point, None
        restart.restored_s, restart.created_s = now_s, -math.inf
        return point

    def discard(self, room_id: str) -> None:
        """Discard the restart point of a room that has ended or left this shard."""
        self._restarts.pop(room_id, None)


def create_restart_point(runtime: RoomRuntime) -> RestartPoint:
    """Return a restart point of a room between two ticks.

    Raises:
        RoomCodeRaised: the game's `save` raised an exception, or a column holds an invalid value.
    """
    runtime.unseat_kicked()
    room = runtime.room
    checkpoint = runtime.checkpoint()
    columns = runtime.raw_columns()
    tables = {
        name: msgspec.structs.replace(
            table, raw_columns={column: values.copy() for column, values in columns[name].items()}
        )
        for name, table in checkpoint.tables.items()
    }
    exact = msgspec.structs.replace(
        checkpoint,
        tables=tables,
        attributes=runtime.attributes.encode(),
        random=dict(room.random.bit_generator.state),
    )
    return RestartPoint(exact, room.access)


def restart_room(
    old: RoomRuntime, room_class: type[Room], point: RestartPoint, context: RoomContext, *, seed: int
) -> RoomRuntime:
    """Create the room that takes over from another one, with its players seated. It does not tick yet.

    Call `connect_players` after the old room was discarded.

    Args:
        old: the room that has failed, or whose code has changed. It is unchanged.
        room_class: the class of the new room.
        point: the state of the old room.
        context: the counters, tuning and clock of the shard.
        seed: the seed of the room's random numbers, if the restart point does not contain their state.

    Raises:
        TickwireError: the game's code raised an exception, or the state does not fit the class; the players of the
            point have then lost their seats.
    """
    room = old.room
    spec = RoomSpec(room.room_id, room_class.room_type, room.name, room.code, mode=room.mode, epoch=old.epoch)
    records = {seat.player_id: seat.player.record for seat in old.seats} if room_class.uses_ledger else {}
    request = RestoreRequest(point.checkpoint, _PresentSessions(old.seats), _find_callback(old), records)
    runtime = restore_room(room_class, spec, context, request, seed=seed)
    runtime.room.access = point.access
    return runtime


def connect_players(runtime: RoomRuntime) -> None:
    """Send `Joined` to the players of a restarted room who are connected, and run `on_resume` for them."""
    for seat in list(runtime.seats):
        if seat.subscriber.connection is not None:
            seat.resumed("", 0)


class _PresentSessions:
    """The sessions of a room on this shard. Implements `tickwire.server.rooms.ports.SessionSource`.

    Args:
        seats: the seats of the room.
    """

    def __init__(self, seats: list[Seat]) -> None:
        self._sessions: dict[str, Subscriber] = {seat.subscriber.session_id: seat.subscriber for seat in seats}

    def restore(self, checkpoint: SessionCheckpoint, /) -> RestoredSubscriber | None:
        """Return the session if it is still in the room."""
        return cast("RestoredSubscriber | None", self._sessions.get(checkpoint.session_id))


def _find_callback(old: RoomRuntime) -> SeatEnded:
    """Return the callback of the old room's seats; a room without seats needs none."""
    return next((seat.on_ended for seat in old.seats), lambda seat: None)
