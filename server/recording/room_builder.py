"""Builds a room from a keyframe: exactly as it was recorded, though the game's `restore` has run.

The room is first restored as after a move to another shard, so that `restore` sets what cannot be copied. The
recorded room has not run `restore`; everything that a keyframe holds is therefore set again afterwards. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from typing import Any, NamedTuple

import msgspec

from tickwire.server.errors import TickwireError
from tickwire.server.observability.redaction import REDACTED
from tickwire.server.recording.checksum import StateChecksums, find_differences
from tickwire.server.recording.frames import RecordingDamaged
from tickwire.server.recording.header import RecordingHeader
from tickwire.server.recording.keyframe import RoomKeyframe
from tickwire.server.recording.keyframe_decoder import decode_history, decode_released, to_checkpoint
from tickwire.server.recording.replay_session import ReplaySession, ReplayTasks
from tickwire.server.rooms.attributes import decode_attributes, encode_attributes
from tickwire.server.rooms.checkpoint import RoomCheckpoint, SessionCheckpoint
from tickwire.server.rooms.checkpoint_writer import find_entity
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.factory import RestoreRequest, RoomContext, RoomSpec, restore_room
from tickwire.server.rooms.move_request import MoveRequest
from tickwire.server.rooms.player_moves import WaitingMove
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat


class ReplayFailed(TickwireError):
    """The room of a recording cannot be built with the game's present code."""

    code = "REPLAY_FAILED"


class BuiltRoom(NamedTuple):
    """A room that was built from a keyframe.

    Args:
        runtime: the room.
        seats: the seats by their numbers in the recording.
        sessions: the sessions by the numbers of their seats.
    """

    runtime: RoomRuntime
    seats: dict[int, Seat]
    sessions: dict[int, ReplaySession]


class _Sessions:
    """Creates the sessions of a replayed room. Implements `SessionSource`."""

    def restore(self, checkpoint: SessionCheckpoint, /) -> ReplaySession:
        """Return a session without a connection."""
        return ReplaySession(checkpoint)


def build_room(room_class: type[Room], header: RecordingHeader, keyframe: RoomKeyframe) -> BuiltRoom:
    """Build the room of a keyframe. It has no clock and runs no tasks.

    Raises:
        RecordingDamaged: the keyframe cannot be decoded.
        ReplayFailed: the game's code raised an exception, or the state does not fit the class.
    """
    checkpoint = to_checkpoint(keyframe)
    code = REDACTED if header.has_code else ""
    spec = RoomSpec(header.room_id, room_class.room_type, header.name, code, mode=header.mode)
    context = RoomContext(
        RoomCounters(), partial(apply_tuning, version=keyframe.tuning_version, values=keyframe.tuning), _no_time
    )
    data = [deepcopy(seat.data) for seat in checkpoint.seats]  # `restore` may change it
    records = {seat.player_id: state.record for seat, state in zip(checkpoint.seats, keyframe.seats, strict=False)}
    known = {player_id: record for player_id, record in records.items() if record is not None}
    try:
        request = RestoreRequest(checkpoint, _Sessions(), lambda seat: None, known)
        runtime = restore_room(room_class, spec, context, request, seed=0)
    except TickwireError as error:
        raise ReplayFailed(f"the room cannot be built at tick {keyframe.tick}: {error.detail}") from error
    try:
        built = _restore_exactly(runtime, header, keyframe, checkpoint)
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError) as error:
        raise RecordingDamaged(f"the keyframe at tick {keyframe.tick} cannot be restored: {error!r}") from error
    for seat, kept in zip(runtime.seats, data, strict=True):
        seat.player.data = kept
    for session in built.sessions.values():
        session.take_events()  # those that `restore` has sent
    return built


def apply_tuning(room: Room, version: int, values: bytes) -> None:
    """Set the tuning values of a room; the values of another build that do not fit are left out."""
    if not values:
        return
    try:
        room.tuning = msgspec.msgpack.decode(values, type=room.tuning_type)
        room.tuning_version = version
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return  # the replay then diverges where the values matter


def _restore_exactly(
    runtime: RoomRuntime, header: RecordingHeader, keyframe: RoomKeyframe, checkpoint: RoomCheckpoint
) -> BuiltRoom:
    room = runtime.room
    if len(keyframe.seats) != len(runtime.seats):
        raise ValueError("the numbers of seats differ")
    seats = {state.number: seat for state, seat in zip(keyframe.seats, runtime.seats, strict=True)}
    _restore_tables(room, header.parts, keyframe, checkpoint)
    runtime.prepare_replay([seats[state.number] for state in keyframe.seats if state.is_connected])
    for state, saved in zip(keyframe.seats, checkpoint.seats, strict=True):
        seat = seats[state.number]
        seat.known_entity = state.known_entity
        seat.player._lag_ticks = state.lag_ticks
        seat.player.team, seat.player._private = saved.team, saved.private
        seat.player.watched = frozenset(saved.watched)
        seat.player.entity = find_entity(room, saved.entity)
        seat.player.focus = find_entity(room, saved.focus)
    room.tick = room.entity_ids.tick = checkpoint.tick
    room.entity_ids.next_id, room.entity_ids.released = checkpoint.next_entity_id, decode_released(keyframe)
    room.next_channel, room._closed_channels = checkpoint.next_channel, list(keyframe.closed_channels)
    room.access, room.close_reason, room.labels = keyframe.access, keyframe.close_reason, dict(checkpoint.labels)
    if checkpoint.clock is not None:
        room.clock.restore(checkpoint.clock, last_number=keyframe.last_timer)
    room.transactions.restore(checkpoint.transactions)
    _restore_attributes(room, checkpoint.attributes)
    if checkpoint.random:
        room.random.bit_generator.state = checkpoint.random
    if room._history is not None:
        for name, ticks in keyframe.history.items():
            room._history.restore(name, decode_history(ticks))
    room.tasks.restore(keyframe.tasks)
    for move in keyframe.moves:
        request = MoveRequest(room_type=move.room_type, name=move.name)
        runtime.moves.restore(WaitingMove(seats[move.seat], request, move.then, move.is_started))
    start(runtime)
    sessions = {number: seat.subscriber for number, seat in seats.items()}
    return BuiltRoom(
        runtime, seats, {number: one for number, one in sessions.items() if isinstance(one, ReplaySession)}
    )


def start(runtime: RoomRuntime) -> None:
    """Start a replayed room: its transactions and tasks are decided by the recording."""
    runtime.start(lambda runtime: None, ReplayTasks())


def _restore_tables(room: Room, parts: tuple[str, ...], keyframe: RoomKeyframe, checkpoint: RoomCheckpoint) -> None:
    """Restore the tables again if `restore` has changed them."""
    checksums = StateChecksums(room)
    changed = find_differences(parts, keyframe.checksums, checksums.parts, checksums.compute())
    for name in changed:
        if name in room.tables and name in checkpoint.tables:
            getattr(room, name).restore(checkpoint.tables[name])


def _restore_attributes(room: Room, attributes: Mapping[str, bytes]) -> None:
    """Set the copied attributes that `restore` has changed."""
    now: dict[str, Any] = encode_attributes(room, attributes.keys() & vars(room).keys())
    changed = {name: data for name, data in attributes.items() if now.get(name) != data}
    for name, value in decode_attributes(room, changed).items():
        setattr(room, name, value)


def _no_time() -> float:
    return 0.0
