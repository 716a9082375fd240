"""The flight recorder: keeps the last seconds of each room of a shard in memory.

A room declares them as `flight_recorder_s`. The recorder of a room is created with its first keyframe, after a tick;
server/recording/keyframe_schedule.py decides when. One that has stopped because of a value that cannot be recorded is
replaced with the next keyframe. A room that moves to another shard starts there with none: its last seconds stay
behind, because they would delay the move by their bytes.

Bounded in bytes for each room and for the shard: at the bound of the shard, the room with the most bytes loses its
oldest segment. Used on the event loop's thread only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import structlog

from tickwire.server.recording.keyframe_schedule import KeyframeSchedule, RoomKeyframes
from tickwire.server.recording.recorder import RoomRecorder
from tickwire.server.recording.ring import RecordedFrame, RecordingRing
from tickwire.server.recording.sinks import RecordingSink
from tickwire.server.recording_settings import RecordingSettings
from tickwire.server.rooms.containment import RoomCodeRaised
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.runtime import RoomRuntime

log = structlog.get_logger(__name__)

RETRY_S = 10.0
"""A keyframe that fails, because the game's `save` raised an exception or the state cannot be recorded, is repeated
this much later."""
LOGGED_MAX = 100
"""The room types and reasons that are logged."""

CHECKSUM_TICKS = 10
"""A replay finds a divergence within half a second at 20 Hz. A checksum costs as much as the rest of the record."""


class UnpackedRecording(NamedTuple):
    """The header and the frames of a recording, not packed yet."""

    header: bytes
    frames: list[RecordedFrame]


class _Flight:
    """The flight recorder of one room. `recorder` is None until the first keyframe."""

    __slots__ = ("keyframes", "recorder", "ring", "runtime")

    def __init__(self, runtime: RoomRuntime, kept_s: float, bytes_max: int) -> None:
        rate = runtime.room.tick_rate_hz
        self.runtime = runtime
        self.ring = RecordingRing(round(kept_s * rate), bytes_max)
        self.keyframes = RoomKeyframes(kept_s, rate, runtime.tick + 1)
        self.recorder: RoomRecorder | None = None


class FlightRecorder:
    """Keeps the last seconds of the rooms of one shard.

    Args:
        settings: the bounds.
        now_s: a monotonic clock in seconds.
        until_due_s: returns the time until the next tick of any room is due, in seconds.

    Attributes:
        keyframes: the keyframes that were written.
        keyframe_seconds: the time that they took.
    """

    def __init__(
        self, settings: RecordingSettings, now_s: Callable[[], float], until_due_s: Callable[[], float]
    ) -> None:
        self.keyframes = self._dropped_before = 0
        self.keyframe_seconds = 0.0
        self._settings = settings
        self._now_s = now_s
        self._schedule = KeyframeSchedule(now_s, until_due_s)
        self._logged: set[tuple[str, str]] = set()
        self._flights: dict[RoomRuntime, _Flight] = {}

    @property
    def size(self) -> int:
        """The memory of all rings in bytes."""
        return sum(flight.ring.size for flight in self._flights.values())

    def size_of(self, runtime: RoomRuntime) -> int:
        """Return the memory of the last seconds of a room in bytes."""
        flight = self._flights.get(runtime)
        return 0 if flight is None else flight.ring.size

    @property
    def parts_dropped(self) -> int:
        """The segments that were dropped because of a bound of bytes."""
        return self._dropped_before + sum(flight.ring.segments_dropped for flight in self._flights.values())

    def add(self, runtime: RoomRuntime) -> None:
        """Keep the last seconds of a room, if it declares them."""
        kept_s = runtime.room.flight_recorder_s
        if self._settings.directory and kept_s:
            flight = self._flights[runtime] = _Flight(runtime, kept_s, self._settings.room_bytes_max)
            self._schedule.add(flight.keyframes)

    def remove(self, runtime: RoomRuntime) -> None:
        """Discard the last seconds of a room. Idempotent."""
        flight = self._flights.pop(runtime, None)
        if flight is None:
            return
        self._schedule.remove(flight.keyframes)
        self._dropped_before += flight.ring.segments_dropped
        if flight.recorder is not None and flight.recorder is runtime.recorder:
            detach_sink(runtime, flight.ring)

    def ticked(self, runtime: RoomRuntime) -> None:
        """Write a keyframe of a room after its tick, if one is due."""
        flight = self._flights.get(runtime)
        if flight is not None and self._schedule.is_due(flight.keyframes, runtime.tick) and not runtime.is_frozen:
            self._write_keyframe(flight)

    def frames_of(self, runtime: RoomRuntime, last_s: float) -> UnpackedRecording | None:
        """Return the last seconds of a room, or a little more; None if it keeps none, or has no keyframe yet."""
        flight = self._flights.get(runtime)
        if flight is None or flight.recorder is None or flight.ring.is_empty:
            return None
        since = runtime.tick - round(last_s * runtime.room.tick_rate_hz)
        return UnpackedRecording(flight.recorder.header, flight.ring.frames_since(since))

    def _write_keyframe(self, flight: _Flight) -> None:
        runtime, started_s = flight.runtime, self._now_s()
        try:
            if flight.recorder is not None and flight.recorder is runtime.recorder:
                flight.recorder.write_keyframe()
            else:
                flight.recorder = attach_sink(runtime, flight.ring)
        except RoomCodeRaised:
            # Logged and counted. The ring stays: its last keyframe is older than usual.
            self._retry_later(flight)
            return
        if runtime.recorder is None:
            self._log_stopped(runtime.room, flight.recorder.reason)
            self._retry_later(flight)
            return
        duration_s = self._now_s() - started_s
        self.keyframes += 1
        self.keyframe_seconds += duration_s
        self._schedule.written(flight.keyframes, runtime.tick, duration_s)
        self._bound_memory()

    def _retry_later(self, flight: _Flight) -> None:
        flight.keyframes.due_tick = flight.runtime.tick + round(RETRY_S * flight.runtime.room.tick_rate_hz)

    def _log_stopped(self, room: Room, reason: str) -> None:
        """Log once for a room type that its state cannot be recorded."""
        if (room.room_type, reason) not in self._logged and len(self._logged) < LOGGED_MAX:
            self._logged.add((room.room_type, reason))
            log.warning("room_not_recorded", room_id=room.room_id, room_type=room.room_type, reason=reason)

    def _bound_memory(self) -> None:
        """Drop segments of the largest rings until all of them fit."""
        size = self.size
        while size > self._settings.shard_bytes_max:
            ring = max((flight.ring for flight in self._flights.values()), key=lambda ring: ring.size)
            size -= ring.size
            ring.drop_oldest()
            size += ring.size


def attach_sink(runtime: RoomRuntime, sink: RecordingSink) -> RoomRecorder:
    """Attach a sink to the recorder of a room, or to a new one, and write a keyframe to it.

    Raises:
        RoomCodeRaised: the game's `save` raised an exception; the sink is not attached.
    """
    recorder = runtime.recorder
    if not isinstance(recorder, RoomRecorder):
        return RoomRecorder(runtime, sink, checksum_ticks=CHECKSUM_TICKS)
    recorder.add_sink(sink)
    try:
        recorder.write_keyframe()
    except RoomCodeRaised:
        recorder.remove_sink(sink)
        raise
    return recorder


def detach_sink(runtime: RoomRuntime, sink: RecordingSink) -> None:
    """Detach a sink from the recorder of a room; the recorder stops with its last sink. Idempotent."""
    recorder = runtime.recorder
    if isinstance(recorder, RoomRecorder) and sink in recorder.sinks:
        recorder.remove_sink(sink)
        if not recorder.sinks:
            recorder.stop("the recording is complete")
