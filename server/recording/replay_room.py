"""Rooms that play a recording, so that clients can watch a match afterwards.

    ArenaReplay = replay_room(Arena, load_recording)
    ROOMS = [Arena, ArenaReplay]

A client joins a room of the type "arena_replay" with the options {"recording": "round-42"}. It has the tables and the
events of the arena, so that the same client shows both. The replay runs the game's code as the recorded room did.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from tickwire.server.recording.frames import RecordingDamaged
from tickwire.server.recording.reader import Recording
from tickwire.server.recording.replay import Replay, ReplayedTick
from tickwire.server.recording.replay_session import SEAT_LOST
from tickwire.server.recording.room_builder import ReplayFailed
from tickwire.server.recording.table_mirror import TableMirror
from tickwire.server.rooms.checkpoint import SaveData
from tickwire.server.rooms.command_methods import command
from tickwire.server.rooms.event_types import Event
from tickwire.server.rooms.player import Player
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.room_tasks import TaskCancelled, TaskResult

LoadRecording = Callable[[str], Awaitable[bytes]]
SEEK_STEPS = 20
"""The recorded ticks that are replayed in one tick of the room while it seeks."""
SPEED_MAX = 8.0
SEEK_INTERVAL_S = 0.25
"""The least time between two seeks, of all viewers together: a seek builds the recorded room within a tick."""
LOAD_S_MAX = 30.0
RELOAD_S = 1.0


class ReplayRoomOptions(msgspec.Struct):
    """The options of the Join that creates a replay."""

    recording: Annotated[str, Meta(min_length=1, max_length=200)]


class ReplayStatus(Event):
    """The place of a replay has changed other than by playing. Ticks are those of the recorded room."""

    event_name = "replay_status"

    tick: int
    first_tick: int
    last_tick: int
    speed: float


class ReplaySave(SaveData):
    """The place of a replay that moves to another shard."""

    recording: str
    tick: int = 0
    speed: float = 1.0


class ReplayRoom(Room):
    """The base class of rooms that play a recording; `replay_room` creates the subclasses.

    All players watch the same place, and each may change it.

    Attributes:
        recorded_class: the class of the recorded room.
        load: loads a recording by its name; raises LookupError if there is none.
        shows_private: whether rows in private and team channels are shown. Events to single players never are.
        speed: recorded ticks per tick of this room, 0 while the replay is paused.
    """

    save_type = ReplaySave
    flight_recorder_s = 0.0
    events = (ReplayStatus,)
    recorded_class: ClassVar[type[Room]]
    load: ClassVar[LoadRecording]
    shows_private: ClassVar[bool] = False

    def on_create(self, options: ReplayRoomOptions) -> None:
        """Start to load the recording."""
        self._start(options.recording, tick=0, speed=1.0)

    def _start(self, recording: str, tick: int, speed: float) -> None:
        self.recording = recording
        self.speed = speed
        self._replay: Replay | None = None
        self._target = tick
        self._requested: int | None = None  # the newest seek of a viewer that has not begun
        self._next_seek_s = 0.0
        self._due = 0.0
        self._mirrors = {name: TableMirror(getattr(self, name)) for name in self.tables}
        self.run(self._load(recording), self.loaded, timeout_s=LOAD_S_MAX)

    def save(self) -> ReplaySave:
        """Return the place."""
        return ReplaySave(self.recording, self.place, self.speed)

    def restore(self, saved: ReplaySave) -> None:
        """Load the recording again, and go to the place."""
        for name in self.tables:
            for row in getattr(self, name):
                row.despawn()
        self._start(saved.recording, saved.tick, saved.speed)

    async def _load(self, name: str) -> Recording:
        data = await type(self).load(name)
        return await asyncio.to_thread(Recording, data)

    def loaded(self, result: TaskResult) -> None:
        """Start to play, or close the room."""
        if isinstance(result.error, TaskCancelled):  # the room is about to move; `restore` loads the recording there
            self.clock.after(RELOAD_S, self.load_again)
            return
        if result.error is not None:
            is_missing = isinstance(result.error, LookupError)
            self.close("there is no such recording" if is_missing else "the recording cannot be loaded")
            return
        recording: Recording = result.value
        if recording.header.room_type != self.recorded_class.room_type:
            self.close("the recording is of another type of room")
            return
        try:
            self._replay = Replay(recording, self.recorded_class)
            self._seek(self._target)
        except (RecordingDamaged, ReplayFailed):
            self.close("the recording cannot be played")
            return
        self._send_status()

    def load_again(self) -> None:
        """Load the recording if the move that has cancelled it was given up."""
        if self._replay is None and not len(self.tasks):
            self.run(self._load(self.recording), self.loaded, timeout_s=LOAD_S_MAX)

    # -- commands -------------------------------------------------------------------------------------------

    @command
    def play(self, player: Player, speed: Annotated[float, Meta(gt=0, le=SPEED_MAX)] = 1.0) -> None:
        """Play from the present place.

        Args:
            player: a player who watches.
            speed: the speed; 1 is that of the recorded room if this room has the same tick rate.
        """
        self.speed = speed
        self._send_status()

    @command
    def pause(self, player: Player) -> None:
        """Stop at the present place."""
        self.speed = 0.0
        self._send_status()

    @command(rate_per_s=2.0, burst=5)
    def seek(self, player: Player, tick: Annotated[int, Meta(ge=0)]) -> None:
        """Go to a tick of the recording.

        It begins with the next tick, or SEEK_INTERVAL_S after the last one; of several requests the newest counts. It
        takes some ticks if the next keyframe before it is far.
        """
        self._requested = tick

    # -- playing --------------------------------------------------------------------------------------------

    def on_join(self, player: Player, options: Any) -> None:
        """Send the place to a new player."""
        if self._replay is not None:
            player.send(self._status(self._replay))

    def on_tick(self, dt: float) -> None:
        """Replay the ticks that are due, and show the state."""
        replay = self._replay
        if replay is None or self.close_reason is not None:
            return
        if self._requested is not None and self.clock.now_s >= self._next_seek_s:
            self._begin_seek(self._requested)
            return
        is_seeking = replay.tick < self._target
        if not is_seeking:
            self._due += self.speed
        steps = min(SEEK_STEPS, self._target - replay.tick) if is_seeking else int(self._due)
        self._due -= 0.0 if is_seeking else steps
        if steps:
            self._advance(replay, steps, sends_events=not is_seeking)

    def _advance(self, replay: Replay, steps: int, *, sends_events: bool) -> None:
        try:
            for _ in range(steps):
                step = replay.step()
                if step is None:
                    self.speed, self._target = 0.0, replay.tick
                    self._send_status()
                    break
                if sends_events:
                    self._send_events(replay, step)
        except RecordingDamaged:
            self.close("the recording cannot be played")
            return
        self._show(replay)

    def _begin_seek(self, tick: int) -> None:
        self._requested, self._next_seek_s = None, self.clock.now_s + SEEK_INTERVAL_S
        try:
            self._seek(tick)
        except (RecordingDamaged, ReplayFailed):
            self.close("the recording cannot be played")
        self._send_status()

    def _seek(self, tick: int) -> None:
        """Go to the nearest keyframe before a tick; `on_tick` replays the rest."""
        replay = self._replay
        self._target, self._due = tick, 0.0
        if replay is None:
            return
        self._target = min(max(tick, replay.recording.first_tick), replay.recording.last_tick)
        keyframe = replay.recording.keyframes[replay.recording.find_keyframe(self._target)].tick
        if not replay.tick <= self._target or keyframe > replay.tick:
            replay.seek(keyframe)
        self._show(replay)

    def _show(self, replay: Replay) -> None:
        ids: dict[int, int] = {}
        for name, mirror in self._mirrors.items():
            mirror.copy(getattr(replay.room, name), shows_private=self.shows_private)
            ids |= mirror.ids
        for mirror in self._mirrors.values():
            mirror.map_references(ids)

    def _send_events(self, replay: Replay, step: ReplayedTick) -> None:
        """Send the events that all players of the recorded room have received.

        With one player any event could be private, so none is sent.
        """
        present = {seat.player_id for seat in replay.runtime.seats}
        if len(present) < 2:
            return
        receivers: dict[tuple[str, bytes], Counter[str]] = {}
        for player_id, name, payload in step.events:
            if name != SEAT_LOST:
                receivers.setdefault((name, msgspec.msgpack.encode(payload)), Counter())[player_id] += 1
        for (name, payload), counts in receivers.items():
            for _ in range(min(counts[player_id] for player_id in present)):
                self.broadcast(name, msgspec.msgpack.decode(payload))

    @property
    def place(self) -> int:
        """The tick of the recorded room that is shown, or to which the replay seeks."""
        if self._replay is None:
            return self._target if self._requested is None else self._requested
        if self._requested is not None:
            return min(self._requested, self._replay.recording.last_tick)
        return max(self._replay.tick, self._target)

    def _status(self, replay: Replay) -> ReplayStatus:
        recording = replay.recording
        return ReplayStatus(self.place, recording.first_tick, recording.last_tick, self.speed)

    def _send_status(self) -> None:
        if self._replay is not None:
            self.broadcast(self._status(self._replay))


def replay_room(
    room_class: type[Room], load: LoadRecording, *, room_type: str = "", shows_private: bool = False
) -> type[ReplayRoom]:
    """Return a room class that plays recordings of another one.

    Args:
        room_class: the class of the recorded rooms.
        load: loads a recording by its name, as the client has sent it: check it before it becomes part of a path.
            Raises LookupError if there is none.
        room_type: the room type; by default that of the recorded room with "_replay".
        shows_private: whether rows in private and team channels are shown.
    """
    namespace = {
        "__module__": room_class.__module__,
        "__doc__": f"Plays recordings of {room_class.__name__}.",
        "__annotations__": dict(room_class.tables),
        "room_type": room_type or f"{room_class.room_type}_replay",
        "tick_rate_hz": room_class.tick_rate_hz,
        "events": (ReplayStatus, *room_class.events),
        "recorded_class": room_class,
        "load": staticmethod(load),
        "shows_private": shows_private,
    }
    return type(f"{room_class.__name__}Replay", (ReplayRoom,), namespace)
