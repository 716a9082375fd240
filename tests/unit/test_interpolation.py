"""Interpolation between two ticks: linear for positions, the shorter direction for angles, none for other values."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from tests.harness.frames import apply
from tickwire.client.interpolation import Interpolation, TickClock
from tickwire.client.world import World
from tickwire.schemas import fields
from tickwire.schemas.columns import empty_columns
from tickwire.schemas.delta import TableCodec, encode_channel
from tickwire.schemas.messages import StateDescription, StateFrame, TableDescription

FIELDS = (fields.real("x", -100, 100, 1 / 16), fields.angle("heading", 8), fields.uint("lives", 4))
CODEC = TableCodec(FIELDS)


def keyframe(tick: int, **entities: tuple[float, float, int]) -> StateFrame:
    ids = np.array([int(name[1:]) for name in entities], np.uint32)
    rows = [
        field.quantise(np.array([values[row] for values in entities.values()], np.float64))
        for row, field in enumerate(FIELDS)
    ]
    nothing = empty_columns(len(FIELDS))
    now = CODEC.successor(nothing, ids, np.array(rows, np.int64).reshape(len(FIELDS), ids.size))
    return StateFrame(tick, 0, 0, 0, encode_channel((CODEC,), (nothing,), (now,)))


@pytest.fixture
def motion() -> Interpolation:
    world = World(StateDescription((TableDescription("ships", tuple(field.describe() for field in FIELDS)),)))
    made = Interpolation("ships")
    east, west = math.pi * 15 / 8, math.pi / 8
    for frame in (
        keyframe(10, e1=(0.0, east, 3), e2=(5.0, 0.0, 1)),
        keyframe(12, e1=(8.0, west, 2), e3=(1.0, 0.0, 1)),
        keyframe(13, e1=(8.0, west, 2), e3=(1.0, 0.0, 1)),
    ):
        apply(world, frame)
        made.push(world)
    return made


def test_positions_are_interpolated_linearly(motion: Interpolation) -> None:
    ids, x = motion.sample(10.5, "x")
    assert (ids.tolist(), x.tolist()) == ([1, 2], [2.0, 5.0]), (
        "an entity that leaves stays until then; one that enters does not exist yet"
    )
    ids, x = motion.sample(12.5, "x")
    assert (ids.tolist(), x.tolist()) == ([1, 3], [8.0, 1.0])


def test_angles_are_interpolated_in_the_shorter_direction(motion: Interpolation) -> None:
    heading = float(motion.sample(11, "heading")[1][0])
    assert math.cos(heading) == pytest.approx(1.0), "half of the way from -pi/8 to pi/8, through 0"


def test_values_that_cannot_be_interpolated_keep_the_older_one(motion: Interpolation) -> None:
    assert motion.sample(11.9, "lives")[1][0] == 3
    assert motion.sample(12.0, "lives")[1][0] == 2


def test_nothing_moves_before_the_oldest_and_after_the_newest(motion: Interpolation) -> None:
    assert motion.sample(-math.inf, "x")[1].tolist() == [0.0, 5.0]
    assert motion.sample(99, "x")[1].tolist() == [8.0, 1.0]
    assert Interpolation("ships").sample(1, "x")[0].size == 0


def snapshots(motion: Interpolation) -> list[int]:
    return list(motion._ticks)


def ships() -> World:
    return World(StateDescription((TableDescription("ships", tuple(field.describe() for field in FIELDS)),)))


def test_tick_that_goes_back_discards_that_tick_and_later_ones(motion: Interpolation) -> None:
    """A durable room that was restored after a crash: ticks after its last save are discarded."""
    world = ships()
    apply(world, keyframe(10, e1=(0.0, 0.0, 1)))
    made = Interpolation("ships")
    made.push(world)
    for tick, x in ((11, 1.0), (12, 2.0), (13, 3.0), (11, 50.0), (12, 52.0)):
        apply(world, keyframe(tick, e1=(x, 0.0, 1)))
        made.push(world)
    assert snapshots(made) == [10, 11, 12]
    assert made.sample(11.5, "x")[1].tolist() == [51.0]


def test_world_of_another_room_discards_all_snapshots(motion: Interpolation) -> None:
    other = ships()
    apply(other, keyframe(50, e7=(9.0, 0.0, 1)))
    motion.push(other)
    assert snapshots(motion) == [50]
    assert motion.sample(49, "x")[0].tolist() == [7]


def test_world_without_the_table_adds_no_snapshot(motion: Interpolation) -> None:
    other = World(StateDescription(()))
    motion.push(other)
    assert motion.sample(12, "x")[0].size == 0
    back = ships()
    apply(back, keyframe(3, e1=(1.0, 0.0, 1)))
    motion.push(back)
    assert motion.sample(3, "x")[1].tolist() == [1.0]


def frames(first: int, last: int, *, late_s: float = 0.0, seed: int = 0) -> list[tuple[int, float]]:
    """The moments at which the frames of some ticks arrive, at 20 Hz, with some jitter."""
    rng = random.Random(seed)
    return [(tick, 1000 + tick / 20 + late_s + rng.uniform(0.0, 0.02)) for tick in range(first, last)]


def test_clock_recovers_within_four_frames_after_a_blocked_tick() -> None:
    """The room's tick 100 took 0.6 s: every tick after it comes 0.6 s later than the ones before."""
    clock = TickClock(20, delay_ticks=2)
    for tick, now_s in frames(1, 100, seed=1):
        clock.observe(tick, now_s)
    ahead = []
    for tick, now_s in frames(100, 130, late_s=0.6, seed=2):
        clock.observe(tick, now_s)
        ahead.append(clock.render_tick(now_s) - tick)
    assert ahead[0] == pytest.approx(10, abs=1)
    assert max(ahead[4:]) < 0, "what is shown lies between two frames that have arrived"


def test_clock_is_not_moved_by_jitter_or_by_single_late_frames() -> None:
    clock = TickClock(20, delay_ticks=2)
    for tick, now_s in frames(1, 400, seed=3):
        clock.observe(tick, now_s + (0.3 if tick % 5 == 0 else 0.0))
        if tick > 20:
            assert clock.render_tick(1000 + tick / 20) == pytest.approx(tick - 2, abs=0.25)


def test_clock_restarts_when_the_tick_goes_back() -> None:
    clock = TickClock(20, delay_ticks=2)
    for tick, now_s in frames(100, 140):
        clock.observe(tick, now_s)
    clock.observe(20, 2000.0)
    assert clock.render_tick(2000.0) == pytest.approx(18)


def test_clock_follows_the_least_late_frame() -> None:
    clock = TickClock(20, delay_ticks=2)
    assert clock.render_tick(5.0) == -math.inf
    for tick, lateness_s in ((100, 0.08), (101, 0.02), (102, 0.3)):
        clock.observe(tick, 1000 + tick / 20 + lateness_s)
    assert clock.render_tick(1000 + 102 / 20 + 0.02) == pytest.approx(100)
