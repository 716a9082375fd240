"""A rewind returns the recorded world of its tick, whatever moves and despawns, and whatever a client claims."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.runtimes import create_runtime
from tickwire import Input, Room, Table, boolean, real, uint
from tickwire.schemas import messages
from tickwire.server.rooms.seat import SeatRequest

LENGTH = 6.5
"""The ticks of the history: also the oldest time lies between two ticks."""
World = dict[int, tuple[float, int]]


class Specks(Table):
    x = real(-1000, 1000, step=1 / 16)
    lives = uint(bits=8)


class Pulses(Table):
    count = uint(bits=8)


class Pinch(Input):
    fire = boolean()


class Dish(Room):
    """Specks that the test moves."""

    room_type = "dish"
    tick_rate_hz = 8
    history_s = LENGTH / 8
    history = {"specks": ("x", "lives")}
    view_delay_ticks = 0
    ticks_when_empty = True
    input_type = Pinch
    specks: Specks
    pulses: Pulses

    def on_create(self, options: Mapping[str, Any]) -> None:
        self.pulses.spawn()

    def on_tick(self, dt: float) -> None:
        self.pulses.count += 1  # a world that is still sends nothing, and inputs then show no latency


def world_at(worlds: list[World], tick: float) -> World:
    """Return the recorded world at a tick, interpolated: the model of a rewind."""
    earlier, later = worlds[math.floor(tick)], worlds[math.ceil(tick)]
    share = tick % 1
    return {id: (x + share * (later[id][0] - x) if id in later else x, lives) for id, (x, lives) in earlier.items()}


STEPS = st.lists(
    st.tuples(
        st.integers(0, 20),  # entities to spawn
        st.integers(0, 20),  # entities to despawn
        st.integers(-30, 30),  # how far they move
    ),
    min_size=1,
    max_size=25,
)


@given(STEPS, st.integers(0, 0xFFFFFFFF) | st.integers(1, 30), st.integers(0, 40))
def test_a_rewind_is_the_recorded_world_of_its_tick(
    steps: list[tuple[int, int, int]], claimed: int, behind: int
) -> None:
    runtime = create_runtime(Dish)
    room = runtime.room
    assert isinstance(room, Dish)
    seat = runtime.seat(SeatRequest(RecordingSubscriber("ann"), "ann"))
    worlds: list[World] = [{}]
    for spawned, despawned, distance in steps:
        for _ in range(spawned):
            room.specks.spawn(x=float(len(worlds)), lives=len(worlds))
        rows = list(room.specks)
        for row in rows[:despawned] if despawned % 2 else rows[len(rows) - despawned // 2 :]:
            row.despawn()
        room.specks.x += distance * np.arange(len(room.specks), dtype=np.float32) / 8
        room.specks.lives += 1
        runtime.step()
        ids, x, lives = room.specks.ids.tolist(), room.specks.x.tolist(), room.specks.lives.tolist()
        worlds.append({id: (x[row], lives[row]) for row, id in enumerate(ids)})
    newest = len(steps)
    seat.push_input(messages.Input(1, claimed, bytes(4)))
    runtime.step()
    worlds.append(worlds[-1])
    past = room.rewind(seat.player, behind / 8)
    if not claimed:
        expected = float(room.tick)
    else:  # the input was applied in tick newest + 1, and a rewind now is that of tick newest + 2
        seen = min(claimed, newest) + 1 - behind / 8
        expected = max(seen, 1.0, newest + 2 - LENGTH)
    assert past.tick == expected
    assert past.specks.ids.tolist() == sorted(world_at(worlds, expected))
    for id, (x, lives) in world_at(worlds, expected).items():
        row = past.specks.row_of(id)
        assert (past.specks.x[row], past.specks.lives[row]) == (x, lives)
