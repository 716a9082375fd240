"""The keyframe of a recording: the exact state of a room between two ticks.

It holds what a move of the room holds, and in addition what the room continues with in its process: ids of despawned
entities, closed channels, the history for `rewind`, connections, pending moves and tasks. It holds no session ids,
no events, no replies and no code of a private room. Values whose names are secret are left out of attributes, player
data and the saved state. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from tickwire.server.observability.redaction import is_secret
from tickwire.server.persistence.raw_columns import RawColumn, encode_columns
from tickwire.server.persistence.world_codec import encode_world
from tickwire.server.recording.redaction import redact_attribute, redact_payload
from tickwire.server.rooms.checkpoint import SeatCheckpoint, SessionCheckpoint
from tickwire.server.rooms.room import Access, Room
from tickwire.server.rooms.room_restart import create_restart_point
from tickwire.server.rooms.room_tasks import TASKS_MAX
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat
from tickwire.server.rooms.transactions import RecordVersion
from tickwire.server.storage import SavedWorld


class SeatState(msgspec.Struct, frozen=True, array_like=True):
    """The state of a seat that a checkpoint of the room does not hold.

    Args:
        number: the number of the seat in the recording.
        is_connected: whether the player is connected.
        known_entity: the entity id in the last Joined.
        lag_ticks: the lag of the player's newest input; None without one.
        record: the player's record; None in rooms that do not use the ledger.
    """

    number: int
    is_connected: bool
    known_entity: int
    lag_ticks: int | None = None
    record: RecordVersion | None = None


class HistoryTick(msgspec.Struct, frozen=True, array_like=True):
    """One table of a room at an earlier tick."""

    tick: int
    ids: bytes
    columns: dict[str, RawColumn]


class PendingMove(msgspec.Struct, frozen=True, array_like=True):
    """A move of a player that is not decided yet."""

    seat: int
    room_type: str
    name: str = ""
    then: str = ""
    is_started: bool = True


class RoomKeyframe(msgspec.Struct, frozen=True):
    """The payload of a keyframe.

    Args:
        world: the checkpoint of the room in the stored form.
        raw_columns: the columns as they are in memory, by table and column.
        access: the access of the room.
        close_reason: the reason with which the game closes the room; None before that.
        attributes: the game's attributes of the room, as far as they can be copied.
        lost: the attributes that cannot be copied; `restore` must set them.
        random: the state of the random numbers, in JSON, because it holds 128-bit integers.
        seats: the seats, in the order of the joins.
        quarantined: ticks and ids of despawned entities, alternately, int64.
        free: the ids that are allocated next, int64.
        closed_channels: the channels that are opened next.
        last_timer: the number of the newest timer.
        history: the earlier ticks for `rewind`, by table.
        moves: the pending moves of players.
        tasks: the methods that receive the results of the running tasks.
        tuning_version, tuning: the tuning values, encoded.
        next_seat: the number of the next seat.
        checksums: the checksums of the state; see server/recording/checksum.py.
    """

    world: SavedWorld
    raw_columns: dict[str, dict[str, RawColumn]]
    access: Access
    close_reason: str | None
    attributes: dict[str, bytes]
    lost: tuple[str, ...]
    random: str
    seats: tuple[SeatState, ...] = ()
    quarantined: bytes = b""
    free: bytes = b""
    closed_channels: tuple[int, ...] = ()
    last_timer: int = 0
    history: dict[str, tuple[HistoryTick, ...]] = {}
    moves: tuple[PendingMove, ...] = ()
    tasks: Annotated[tuple[str, ...], Meta(max_length=TASKS_MAX)] = ()
    tuning_version: int = 0
    tuning: bytes = b""
    next_seat: int = 0
    checksums: bytes = b""

    @property
    def tick(self) -> int:
        """The number of the last tick before the keyframe."""
        return self.world.tick


def create_keyframe(runtime: RoomRuntime, numbers: Mapping[Seat, int], next_seat: int) -> RoomKeyframe:
    """Return a keyframe of a room between two ticks. Runs the game's `save`.

    Args:
        runtime: the room.
        numbers: the numbers of the seats.
        next_seat: the number of the next seat.

    Raises:
        RoomCodeRaised: `save` raised an exception.
    """
    room, checkpoint = runtime.room, create_restart_point(runtime).checkpoint
    state = redact_payload(checkpoint.state)
    seats = list(runtime.seats)
    saved = tuple(
        _without_secrets(seat, numbers[holder]) for seat, holder in zip(checkpoint.seats, seats, strict=True)
    )
    attributes = {
        name: redact_attribute(vars(room)[name], data, room)
        for name, data in checkpoint.attributes.items()
        if not is_secret(name)
    }
    quarantined, free = room.entity_ids.released
    return RoomKeyframe(
        world=encode_world(
            room.room_type, room.name, room.room_id, msgspec.structs.replace(checkpoint, seats=saved, state=state)
        ),
        raw_columns={name: encode_columns(table.raw_columns or {}) for name, table in checkpoint.tables.items()},
        access=room.access,
        close_reason=room.close_reason,
        attributes=attributes,
        lost=tuple(sorted(runtime.attributes.names - attributes.keys())),
        random=json.dumps(checkpoint.random, default=_plain),
        seats=tuple(_seat_state(seat, numbers[seat]) for seat in seats),
        quarantined=np.array(quarantined, np.int64).tobytes(),
        free=np.array(free, np.int64).tobytes(),
        closed_channels=tuple(room._closed_channels),
        last_timer=room.clock.last_number,
        history=_encode_history(room),
        moves=tuple(
            PendingMove(numbers[seat], request.room_type, request.name, then, is_started)
            for seat, request, then, is_started in runtime.moves.pending()
            if isinstance(seat, Seat) and seat in numbers
        ),
        tasks=room.tasks.pending(),
        tuning_version=room.tuning_version,
        tuning=msgspec.msgpack.encode(room.tuning),
        next_seat=next_seat,
    )


def _plain(value: Any) -> Any:
    """Return a value of the state of a random number generator that JSON does not know: an array or a number."""
    return value.tolist()


def _without_secrets(seat: SeatCheckpoint, number: int) -> SeatCheckpoint:
    session = seat.session
    kept = SessionCheckpoint(f"seat {number}", session.player_id, session.is_guest, session.schema_version)
    return msgspec.structs.replace(seat, session=kept, data=redact_payload(seat.data))


def _seat_state(seat: Seat, number: int) -> SeatState:
    player = seat.player  # not `player.record`: reading that counts as a read of the game
    return SeatState(number, player.is_connected, seat.known_entity, player._lag_ticks, player._record)


def _encode_history(room: Room) -> dict[str, tuple[HistoryTick, ...]]:
    if room._history is None:
        return {}
    return {
        name: tuple(
            HistoryTick(tick, ids.astype(np.uint32).tobytes(), encode_columns(columns))
            for tick, ids, columns in ticks
        )
        for name, ticks in room._history.ticks().items()
    }


encode_keyframe = msgspec.msgpack.Encoder().encode
