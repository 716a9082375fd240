"""Recordings of an arena with bots, made without sockets: pilots join, fly, shoot, chat and leave."""

from __future__ import annotations

import random
from functools import cache
from typing import NamedTuple

import msgspec

from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_runtime
from tickwire.examples.arena import Arena
from tickwire.schemas.fields import pack_input
from tickwire.schemas.messages import Command, Input
from tickwire.server.recording.recorder import RoomRecorder
from tickwire.server.recording.sinks import FileSink
from tickwire.server.rooms.containment import RoomCodeRaised
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat, SeatRequest

TICKS = 400
KEYFRAME_TICKS = 100
SAY_TICK = 150
"""The tick before which a pilot says something."""
LEAVE_TICK = 250
FAILING_TICK = 57


class DivergedArena(Arena):
    """A later build of the arena, in which bullets cost more: its replay diverges with the first hit."""

    def _damage(self, ship_id: int, *, by: int) -> None:
        super()._damage(ship_id, by=by)
        ship = self.ships[ship_id]
        ship.hp = max(1, ship.hp - 1)


class FailingArena(Arena):
    """An arena with a bug: its code raises an exception in tick FAILING_TICK."""

    def on_tick(self, dt: float) -> None:
        super().on_tick(dt)
        if self.tick == FAILING_TICK:
            raise ZeroDivisionError("the bug of the test")


def _join(runtime: RoomRuntime, number: int) -> Seat:
    name = f"bot {number}"
    return runtime.seat(SeatRequest(RecordingSubscriber(name), name, {"name": name}))


class RecordedArena(NamedTuple):
    """A recording, and the x, y and hp of each ship after each tick, by tick and id. A tick that fails ends both."""

    data: bytes
    states: dict[int, dict[int, tuple[float, float, int]]]

    @property
    def first_hit(self) -> int:
        """The first tick in which a ship has lost hit points."""
        return next(tick for tick, ships in self.states.items() if any(hp < 100 for _, _, hp in ships.values()))


@cache
def record_arena(
    *, ticks: int = TICKS, pilots: int = 8, room_class: type[Arena] = Arena, words: str = "hello"
) -> RecordedArena:
    """Record an arena, in which a pilot says some words. Equal arguments return the same recording."""
    rng = random.Random(5)
    runtime = create_runtime(room_class, name="lobby")
    room = runtime.room
    assert isinstance(room, Arena)
    file = bytearray()
    recorder = RoomRecorder(runtime)
    sink = FileSink(file.extend, recorder.header)
    recorder.add_sink(sink)
    recorder.write_keyframe()
    seats: list[Seat] = [_join(runtime, number) for number in range(pilots)]
    turns = [0.0] * pilots
    states = {}
    for tick in range(1, ticks + 1):
        if tick % KEYFRAME_TICKS == 0:
            recorder.write_keyframe()
        if tick == SAY_TICK:
            seats[0].run_command(Command(1, "say", msgspec.msgpack.encode({"words": words})))
        if tick == LEAVE_TICK:
            seats.pop().leave("the player has left")
        for number, seat in enumerate(seats):
            turns[number] = max(-1.0, min(1.0, turns[number] + rng.uniform(-0.3, 0.3)))
            values = {"thrust": rng.uniform(0.5, 1), "turn": turns[number], "fire": float(rng.random() < 0.3)}
            seat.push_input(Input(tick, 0, pack_input(Arena.input_fields, values)))
        try:
            runtime.step()
        except RoomCodeRaised:
            break
        states[runtime.tick] = {row.id: (row.x, row.y, row.hp) for row in room.ships}
    recorder.stop("the test has ended")
    return RecordedArena(bytes(file), states)
