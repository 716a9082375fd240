"""Plays one recording for the page: two replays of it, which take turns in one thread.

One replay passes through the whole recording once and fills the timeline. The other jumps to the ticks that the page
requests. A request waits for one slice of the first replay at most.
"""

from __future__ import annotations

import asyncio
import time

import structlog

from tickwire.server.recording.reader import Recording
from tickwire.server.recording.replay import Replay
from tickwire.server.rooms.room import Room
from tickwire.server.viewer.replayed_entries import to_timeline_entries
from tickwire.server.viewer.replayed_states import ReplayedStates
from tickwire.server.viewer.tables import describe_tables
from tickwire.server.viewer.timeline import Timeline
from tickwire.server.viewer.views import RecordingSummary
from tickwire.server.viewer.worker import ReplayWorker

log = structlog.get_logger(__name__)

STOP_S_MAX = 1.0
SLICE_S = 0.05
"""The time of the first replay between two requests of the page."""


class RecordingPlayer:
    """Plays a recording.

    Args:
        recording: the recording.
        room_class: the class of its room.
        file: the name of the file, for the page.

    Raises:
        RecordingDamaged, TickwireError: the room cannot be restored from the first keyframe.
    """

    def __init__(self, recording: Recording, room_class: type[Room], file: str) -> None:
        keyframes = [keyframe.tick for keyframe in recording.keyframes]
        first, last = recording.first_tick, recording.last_tick
        self.timeline = Timeline(first, last)
        self._scan = Replay(recording, room_class)
        self._scan.seek(first)
        self._later_keyframes = iter(keyframes)
        self._states = ReplayedStates(Replay(recording, room_class), keyframes, last)
        self._worker = ReplayWorker()
        self._task: asyncio.Task[None] | None = None
        header = recording.header
        self.summary = RecordingSummary(
            file=file,
            room_id=header.room_id,
            room_type=header.room_type,
            room_name=header.name,
            build=header.build,
            tick_rate_hz=header.tick_rate_hz,
            first_tick=first,
            last_tick=last,
            keyframes=keyframes,
            tables=describe_tables(self._scan.room),
            ended=recording.reason if recording.reason is not None else "the file was cut off",
            not_compared=self._scan.changed_tables,
        )

    def start(self) -> None:
        """Start to fill the timeline."""
        self._task = asyncio.create_task(self._fill(), name="replay timeline")

    async def stop(self) -> None:
        """Stop. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=STOP_S_MAX)
        self._worker.stop()

    async def read_states(self, from_tick: int, to_tick: int) -> bytes:
        """Return the states of a range of ticks as JSON; see `ReplayedStates.read`."""
        return await self._worker.run(lambda: self._states.read(from_tick, to_tick))

    async def _fill(self) -> None:
        while not self.timeline.is_complete:
            try:
                await self._worker.run(self._scan_slice)
            except Exception as error:  # the replay runs the game's code
                log.exception("replay_failed", tick=self._scan.tick)
                self.timeline.problem = f"the replay ends after tick {self._scan.tick}: {error}"

    def _scan_slice(self) -> None:
        """Replay some ticks into the timeline."""
        until = time.monotonic() + SLICE_S
        while not self.timeline.is_complete and time.monotonic() < until:
            done = self._scan.step()
            if done is not None:
                self.timeline.add(done.tick, to_timeline_entries(done))
            else:
                self._pass_gap()

    def _pass_gap(self) -> None:
        """Continue at the next keyframe after a damaged place of the file, or end the timeline."""
        tick, last = self._scan.tick, self.timeline.last_tick
        # Each keyframe is used once, so an index that is wrong about ticks does not cause an endless loop.
        keyframe = next((one for one in self._later_keyframes if one > tick), None)
        if tick < last:
            self.timeline.gaps.append((tick + 1, last if keyframe is None else keyframe))
        if keyframe is None or tick >= last:
            self.timeline.has_ended = True
        else:
            self._scan.seek(keyframe)
