"""What do the last seconds of a room cost? CPU of a tick, and bytes, with the flight recorder on and off.

    arena 50       the demo game with 50 players, each with an input in every tick
    crowd 1,000    the room of `big_room`: a grid, 1,000 players, inputs at 10 Hz
    200 idle       200 rooms of one player without inputs, on one shard

In one process, without sockets; the connections discard what is written to them. The two subjects of a scene are two
sets of rooms with the same seeds. They tick in turns, so that a ratio compares neighbours in time. Times are those of
the process on its CPU. Keyframes are due by ticks, so they are as frequent as on a shard.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from time import process_time
from typing import NamedTuple

from benchmarks.report import Report, ReportRow, report, row
from benchmarks.room_tick import DiscardingSession
from benchmarks.rooms import Crowd, Fan
from tickwire.examples.arena import Arena
from tickwire.schemas.fields import pack_input
from tickwire.schemas.messages import Input
from tickwire.server.process import tune_process
from tickwire.server.recording.flight_recorder import FlightRecorder
from tickwire.server.recording_settings import RecordingSettings
from tickwire.server.rooms.counters import RoomCounters
from tickwire.server.rooms.factory import RoomContext, RoomSpec, create_room
from tickwire.server.rooms.room import Room
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat, SeatRequest

WARM_TICKS, SEED = 40, 7
SETTINGS = RecordingSettings(directory="unused")


class Scene(NamedTuple):
    """The rooms of one subject.

    Args:
        name: the name in the report.
        room: the class of the rooms.
        rooms: the number of rooms.
        players: the players of each room.
        inputs: the fields of an input; empty for players without inputs.
        ticks_per_input: the ticks between two inputs of a player.
    """

    name: str
    room: type[Room]
    rooms: int
    players: int
    inputs: dict[str, float]
    ticks_per_input: int = 1


SCENES = (
    Scene("arena 50", Arena, 1, 50, {"thrust": 0.5, "turn": 0.25}),
    Scene("crowd 1000", Crowd, 1, 1000, {"turn": 0.1}, 2),
    Scene("200 idle", Fan, 200, 1, {}),
)


class RecordedRooms:
    """The rooms of a scene, with or without the flight recorder.

    Args:
        scene: the rooms.
        is_on: whether their last seconds are kept.

    Attributes:
        recorder: the flight recorder; None if it is off.
        tick_s: the CPU time of each tick of all rooms.
    """

    def __init__(self, scene: Scene, *, is_on: bool) -> None:
        self._scene = scene
        self._payload = pack_input(scene.room.input_fields, scene.inputs) if scene.inputs else b""
        self._runtimes = [_create(scene.room, f"room {number}") for number in range(scene.rooms)]
        self._seats = [_fill(runtime, scene.players) for runtime in self._runtimes]
        self._tick = 0
        self.tick_s: list[float] = []
        self.recorder = FlightRecorder(SETTINGS, process_time, lambda: 1.0) if is_on else None
        if self.recorder is not None:
            for runtime in self._runtimes:
                self.recorder.add(runtime)

    def step(self) -> None:
        """Run one tick of all rooms."""
        self._tick += 1
        if self._payload:
            self._push_inputs()
        started = process_time()
        for runtime in self._runtimes:
            runtime.step()
            if self.recorder is not None:
                self.recorder.ticked(runtime)
        self.tick_s.append(process_time() - started)

    def _push_inputs(self) -> None:
        every = self._scene.ticks_per_input
        for seats in self._seats:
            for seat in seats[self._tick % every :: every]:
                seat.push_input(Input(seq=self._tick, payload=self._payload))


def run(*, quick: bool) -> Report:
    """Run the benchmark."""
    tune_process()
    turns, seconds = (2, 2.5) if quick else (5, 12.0)
    rows = [one for scene in SCENES for one in measure(scene, turns, seconds)]
    return report("flight_recorder", quick=quick, rows=rows, goals=[])


def measure(scene: Scene, turns: int, seconds: float) -> list[ReportRow]:
    """Return the figures of a scene."""
    found: dict[tuple[str, str], list[float]] = {}

    def add(metric: str, unit: str, value: float) -> None:
        found.setdefault((metric, unit), []).append(value)

    for number in range(turns):
        print(f"flight_recorder: {scene.name}, turn {number + 1} of {turns}", file=sys.stderr)
        off, on = RecordedRooms(scene, is_on=False), RecordedRooms(scene, is_on=True)
        ticks = WARM_TICKS + round(seconds * scene.room.tick_rate_hz)
        for tick in range(ticks):
            _step_both(off, on, is_first_off=tick % 2 == 0)
        _add_turn(add, scene, off, on)
    return [row(scene.name, metric, unit, values) for (metric, unit), values in found.items()]


def _step_both(off: RecordedRooms, on: RecordedRooms, *, is_first_off: bool) -> None:
    for subject in (off, on) if is_first_off else (on, off):
        subject.step()


def _add_turn(add: Callable[[str, str, float], None], scene: Scene, off: RecordedRooms, on: RecordedRooms) -> None:
    off_s, on_s = off.tick_s[WARM_TICKS:], on.tick_s[WARM_TICKS:]
    recorder = on.recorder
    assert recorder is not None
    add("tick_off_p50", "us", statistics.median(off_s) * 1e6)
    add("tick_on_p50", "us", statistics.median(on_s) * 1e6)
    add("tick_on_over_off_p50", "1", statistics.median(on_s) / statistics.median(off_s))
    add("cpu_on_over_off_mean", "1", statistics.fmean(on_s) / statistics.fmean(off_s))
    add("tick_off_p99", "us", statistics.quantiles(off_s, n=100)[98] * 1e6)
    add("tick_on_p99", "us", statistics.quantiles(on_s, n=100)[98] * 1e6)
    add("keyframe", "us", recorder.keyframe_seconds / max(1, recorder.keyframes) * 1e6)
    add("memory_of_a_room", "B", recorder.size / scene.rooms)


def _create(room: type[Room], room_id: str) -> RoomRuntime:
    context = RoomContext(RoomCounters(), lambda room: None, process_time)
    return create_room(room, RoomSpec(room_id, room.room_type), context, {}, seed=SEED)


def _fill(runtime: RoomRuntime, players: int) -> list[Seat]:
    sessions = [DiscardingSession(f"player {number}") for number in range(players)]
    return [runtime.seat(SeatRequest(session, session.player_id)) for session in sessions]
