"""The recordings of one shard: writes the last seconds of rooms to files, on a failure, a report or a request.

Implements `tickwire.server.rooms.room_observer.RoomObserver`. Everything that blocks on the disk runs in a thread
with a deadline (server/recording/recording_writer.py): a full or slow disk is logged and counted, and delays no tick.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import structlog

from tickwire.server.errors import RateLimited, RoomFailed, Unavailable, Unsupported
from tickwire.server.recording.flight_recorder import FlightRecorder, UnpackedRecording, attach_sink, detach_sink
from tickwire.server.recording.live_recording import LiveRecording
from tickwire.server.recording.recorder import RoomRecorder
from tickwire.server.recording.recording_directory import RecordingDirectory, RecordingFile
from tickwire.server.recording.recording_limits import TriggerLimits
from tickwire.server.recording.recording_names import Trigger, create_name, trigger_of
from tickwire.server.recording.recording_writer import RecordingWriter
from tickwire.server.recording.sinks import pack_frames
from tickwire.server.recording_settings import RecordingSettings
from tickwire.server.rooms.containment import RoomCodeRaised
from tickwire.server.rooms.runtime import RoomRuntime

log = structlog.get_logger(__name__)
T = TypeVar("T")
LATE_S_MAX = 30.0
"""How much longer than its seconds a live recording may run: a busy shard skips ticks, and an empty room has none."""


class RecordingsDisabled(Unsupported):
    """The shard writes no recordings, or the room does not keep its last seconds."""


class RecordingEnvironment(msgspec.Struct, frozen=True, kw_only=True):
    """The clocks and the tasks that recordings receive from their shard.

    Args:
        now_s: a monotonic clock in seconds.
        wall_s: the fleet's clock: UTC, seconds since 1970.
        until_due_s: returns the time until the next tick of any room is due, in seconds.
        spawn: starts a task under a name; the shard awaits it before it stops.
    """

    now_s: Callable[[], float]
    wall_s: Callable[[], float]
    until_due_s: Callable[[], float]
    spawn: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]


class RecordingService:
    """Owns the recordings of a shard. Used on the event loop's thread only.

    Args:
        settings: where recordings are stored, and their bounds.
        environment: clocks, and the start of tasks.

    Attributes:
        flight: keeps the last seconds of the rooms.
        results: recordings by result: written, failed, limited.
    """

    def __init__(self, settings: RecordingSettings, environment: RecordingEnvironment) -> None:
        self.flight = FlightRecorder(settings, environment.now_s, environment.until_due_s)
        self.results: Counter[str] = Counter()
        self._settings = settings
        self._environment = environment
        self._directory = RecordingDirectory(Path(settings.directory), settings.directory_bytes_max)
        self._writer = RecordingWriter(settings.write_timeout_s)
        self._limits = TriggerLimits(environment.now_s)
        self._named_s = 0.0
        self._live: dict[str, LiveRecording] = {}
        self._waiting: dict[str, asyncio.Task[None]] = {}

    @property
    def is_enabled(self) -> bool:
        """Whether the shard writes recordings."""
        return bool(self._settings.directory)

    @property
    def memory_bytes(self) -> int:
        """The memory of all frames that are not written yet."""
        return self.flight.size + sum(recording.size for recording in self._live.values())

    @property
    def live_max(self) -> int:
        """How many live recordings may run at the same time, so that all of them fit into `shard_bytes_max`."""
        return self._settings.shard_bytes_max // self._settings.file_bytes_max

    # -- the rooms of the shard -----------------------------------------------------------------------------

    def room_started(self, runtime: RoomRuntime) -> None:
        """Implement `RoomObserver.room_started`."""
        self.flight.add(runtime)

    def room_ticked(self, runtime: RoomRuntime) -> None:
        """Implement `RoomObserver.room_ticked`."""
        try:
            self.flight.ticked(runtime)
        except Exception:  # the boundary to the room, which must close and restart whatever its recorder does
            log.exception("recorder_failed", **_describe(runtime))
            self._give_up(runtime)

    def room_failed(self, runtime: RoomRuntime) -> None:
        """Write the last seconds of a room whose tick has failed, and name the file in its newest error."""
        try:
            self._write_failure(runtime)
        except Exception:  # as in `room_ticked`
            log.exception("recorder_failed", **_describe(runtime))
            self._give_up(runtime)

    def _write_failure(self, runtime: RoomRuntime) -> None:
        if runtime.recorder is not None:
            runtime.recorder.stop("a tick has failed")  # writes the failed tick, which the replay repeats
        recorded = self.flight.frames_of(runtime, runtime.room.flight_recorder_s)
        if recorded is None:
            return
        room = runtime.room
        if not self._limits.allows("failure", room.room_type):
            self.results["limited"] += 1
            return
        name = self._write(runtime, recorded, "failure")
        for error in runtime.counters.recent_errors.list_errors(room.room_id)[:1]:
            if error.tick == room.tick:
                error.recording = name

    def room_ended(self, runtime: RoomRuntime) -> None:
        """Implement `RoomObserver.room_ended`. A live recording ends with the room."""
        try:
            self.flight.remove(runtime)
        except Exception:  # as in `room_ticked`
            log.exception("recorder_failed", **_describe(runtime))
            self._give_up(runtime)

    def _give_up(self, runtime: RoomRuntime) -> None:
        """Record a room no longer, because its recorder has a fault."""
        self.results["failed"] += 1
        recorder = runtime.recorder
        runtime.attach_recorder(None)
        self.flight.remove(runtime)
        if isinstance(recorder, RoomRecorder):
            for sink in recorder.sinks:
                sink.end("the recorder has failed")

    # -- operators and players ------------------------------------------------------------------------------

    def write_last(self, runtime: RoomRuntime, last_s: float, trigger: Trigger) -> str:
        """Write the last seconds of a room, and return the name of the recording.

        Raises:
            RecordingsDisabled: the shard or the room keeps no recordings.
            Unavailable: the room has no keyframe yet.
        """
        self._check_enabled()
        if not runtime.room.flight_recorder_s:
            raise RecordingsDisabled(
                f"rooms of type {runtime.room.room_type} keep no last seconds: flight_recorder_s is 0"
            )
        recorded = self.flight.frames_of(runtime, last_s)
        if recorded is None:
            raise Unavailable("the room has not completed a tick yet, or is empty", retry_after_ms=1000)
        return self._write(runtime, recorded, trigger)

    def start(self, runtime: RoomRuntime, seconds: float) -> str:
        """Record the next seconds of a room, and return the name of the recording, which is written at its end.

        Raises:
            RecordingsDisabled: the shard writes no recordings.
            RateLimited: `live_max` recordings run already.
            RoomFailed: the game's `save` raised an exception, or the state cannot be recorded or is too large.
        """
        self._check_enabled()
        self._end_overdue()
        if len(self._live) >= self.live_max:
            raise RateLimited(f"{self.live_max} recordings are running on this shard; wait until one is complete")
        room = runtime.room
        name = self._name(runtime, "operator")
        last_tick = room.tick + max(1, round(seconds * room.tick_rate_hz))
        complete = partial(self._live_complete, runtime)
        recording = LiveRecording(name, last_tick, self._settings.file_bytes_max, complete)
        try:
            recording.header = attach_sink(runtime, recording).header
        except RoomCodeRaised as error:
            raise RoomFailed("the room cannot be recorded: its code raised an exception in `save`") from error
        if recording.reason:
            raise RoomFailed(f"the room cannot be recorded: {recording.reason}")
        recording.until_s = self._environment.now_s() + seconds + LATE_S_MAX
        self._live[name] = recording
        return name

    def list_running(self) -> list[tuple[str, int]]:
        """Return the names of the recordings that are not complete, and their bytes so far."""
        self._end_overdue()
        running = [(name, recording.size) for name, recording in self._live.items()]
        return running + [(name, 0) for name in self._waiting if name not in self._live]

    async def list_files(self) -> list[RecordingFile]:
        """Return the complete recordings, the newest first; none if the shard writes no recordings.

        Raises:
            Unavailable: the disk does not answer.
        """
        if not self.is_enabled:
            return []
        return await self._call(self._directory.list_files)

    async def read(self, name: str) -> bytes:
        """Return the contents of a recording.

        Raises:
            LookupError: no recording has this name.
            Unavailable: the disk does not answer.
        """
        if not self.is_enabled:
            raise LookupError("the shard writes no recordings: recordings.directory is not set")
        return await self._call(partial(self._directory.read, name))

    def close(self) -> None:
        """End the thread of the writes. Idempotent."""
        self._writer.stop()

    # -- writes ---------------------------------------------------------------------------------------------

    def _end_overdue(self) -> None:
        """End the recordings of rooms that do not tick, because they are empty, or too seldom: others may start."""
        for recording in list(self._live.values()):
            if self._environment.now_s() >= recording.until_s:
                recording.end("the room has not run so many ticks in this time")

    def _live_complete(self, runtime: RoomRuntime, recording: LiveRecording) -> None:
        detach_sink(runtime, recording)
        if self._live.pop(recording.name, None) is None:
            return  # it has ended at its first keyframe: `start` raises an error
        self._spawn_write(recording.name, UnpackedRecording(recording.header, recording.frames), recording.reason)

    def _write(self, runtime: RoomRuntime, recorded: UnpackedRecording, trigger: Trigger) -> str:
        name = self._name(runtime, trigger)
        self._spawn_write(name, recorded, f"written out: {trigger}")
        return name

    def _spawn_write(self, name: str, recorded: UnpackedRecording, reason: str) -> None:
        task = self._environment.spawn(self._pack_and_write(name, recorded, reason), f"recording {name}")
        self._waiting[name] = task
        task.add_done_callback(lambda task: self._waiting.pop(name, None))

    async def _pack_and_write(self, name: str, recorded: UnpackedRecording, reason: str) -> None:
        try:
            size = await self._writer.run(partial(_pack_and_write, self._directory, name, recorded, reason))
        except (OSError, Unavailable) as error:
            self.results["failed"] += 1
            log.error("recording_write_failed", recording=name, error=str(error))
            return
        except asyncio.CancelledError:
            self.results["failed"] += 1
            log.error("recording_write_failed", recording=name, error="the shard has stopped during the write")
            raise
        self.results["written"] += 1
        log.warning("recording_written", recording=name, trigger=trigger_of(name), bytes=size)

    async def _call(self, work: Callable[[], T]) -> T:
        try:
            return await self._writer.run(work)
        except OSError as error:
            raise Unavailable("the recordings cannot be read", detail=f"{self._directory.path}: {error}") from error

    def _name(self, runtime: RoomRuntime, trigger: Trigger) -> str:
        """Return a name that this shard has not used: two recordings of a room may begin in one microsecond."""
        room = runtime.room
        self._named_s = max(self._environment.wall_s(), self._named_s + 1e-6)
        return create_name(self._named_s, room.room_type, room.room_id, room.tick, trigger)

    def _check_enabled(self) -> None:
        if not self.is_enabled:
            raise RecordingsDisabled("the shard writes no recordings: recordings.directory is not set")


def _describe(runtime: RoomRuntime) -> dict[str, Any]:
    return {"room_id": runtime.room.room_id, "room_type": runtime.room.room_type, "tick": runtime.tick}


def _pack_and_write(directory: RecordingDirectory, name: str, recorded: UnpackedRecording, reason: str) -> int:
    """Compress the frames and write the file, in the thread."""
    return directory.write(name, [pack_frames(recorded.header, recorded.frames, reason)])
