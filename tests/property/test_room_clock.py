"""Timers run as a simple model says, whatever is scheduled and cancelled, and however often the room moves."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.harness.runtimes import create_runtime
from tickwire import Room
from tickwire.server.migration.room_codec import decode_room, encode_room
from tickwire.server.persistence.world_codec import decode_world, encode_world
from tickwire.server.rooms.runtime import RoomRuntime

RATE = 8
"""Ticks per second; all times of the test are exact in binary."""


class Chimes(Room):
    """Notes the number of each call; a call may schedule another."""

    room_type = "chimes"
    durable = True
    tick_rate_hz = RATE
    ticks_when_empty = True

    def __init__(self, **known: Any) -> None:
        super().__init__(**known)
        self.rung: list[tuple[int, int]] = []

    def ring(self, name: int, next_name: int = 0, delay: int = 0) -> None:
        self.rung.append((self.tick, name))
        if next_name:
            self.clock.after(delay / 32, self.ring, next_name)


class Model:
    """The expected calls: a name, the exact times of the runs in ticks, and perhaps a call that it schedules."""

    def __init__(self) -> None:
        self.rung: list[tuple[int, int]] = []
        self.calls: list[dict[str, Any]] = []

    def add(self, tick: int, name: int, times: tuple[Fraction, Fraction], chained: tuple[int, int]) -> None:
        delay, interval = times
        due = max(tick + delay, Fraction(tick + 1))
        self.calls.append({"name": name, "due": due, "interval": interval, "chained": chained})

    def step(self, tick: int) -> None:
        for call in list(self.calls):
            if math.ceil(call["due"]) > tick:
                continue
            self.rung.append((tick, call["name"]))
            if call["interval"]:
                call["due"] += call["interval"]
            else:
                self.calls.remove(call)
            next_name, delay = call["chained"]
            if next_name:
                self.add(tick, next_name, (Fraction(delay * RATE, 32), Fraction(0)), (0, 0))


delays = st.integers(0, 200)
actions = st.lists(
    st.one_of(
        st.tuples(st.just("after"), delays, st.one_of(st.none(), delays)),
        st.tuples(st.just("every"), st.integers(32 // RATE, 200), st.none()),
        st.tuples(st.just("cancel"), st.integers(0, 20), st.none()),
        st.tuples(st.just("step"), st.integers(1, 40), st.none()),
        st.tuples(st.sampled_from(["move", "save"]), st.none(), st.none()),
    ),
    max_size=40,
)


def restored(runtime: RoomRuntime, how: str) -> RoomRuntime:
    """Return the room after a move, or after a save of which `rung` is no part."""
    if how == "move":
        return create_runtime(Chimes, decode_room(encode_room(runtime))[1])
    other = create_runtime(Chimes, decode_world(encode_world("chimes", "", "r", runtime.checkpoint())))
    other.room.rung = runtime.room.rung  # type: ignore[attr-defined]
    return other


@given(actions)
def test_timers_run_as_in_the_model_through_moves_and_saves(steps: list[tuple[str, Any, Any]]) -> None:
    runtime, model, names = create_runtime(Chimes), Model(), iter(range(1, 1000))
    for action, value, chained in steps:
        room: Any = runtime.room
        match action:
            case "after":
                name = next(names)
                then = (0, 0) if chained is None else (next(names), chained)
                room.clock.after(value / 32, room.ring, name, *then)
                model.add(room.tick, name, (Fraction(value * RATE, 32), Fraction(0)), then)
            case "every":
                name = next(names)
                room.clock.every(value / 32, room.ring, name)
                model.add(room.tick, name, (Fraction(value * RATE, 32), Fraction(value * RATE, 32)), (0, 0))
            case "cancel" if value < len(model.calls):
                due = sorted(model.calls, key=lambda call: math.ceil(call["due"]))  # stable: the order of scheduling
                room.clock.timers[value].cancel()
                model.calls.remove(due[value])
            case "step":
                for _ in range(value):
                    runtime.step()
                    model.step(runtime.tick)
            case "move" | "save":
                runtime = restored(runtime, action)
    assert runtime.room.rung == model.rung  # type: ignore[attr-defined]
    assert len(runtime.room.clock.timers) == len(model.calls)
