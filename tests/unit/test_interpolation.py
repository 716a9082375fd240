"""Between two ticks: straight for places, the short way for angles, not at all for what has no between."""

from __future__ import annotations

import math

import numpy as np
import pytest

from client.interpolation import Interpolation, TickClock
from client.world import World
from schemas import fields
from schemas.columns import empty_columns
from schemas.delta import TableCodec, encode_channel
from schemas.messages import StateDescription, StateFrame, TableDescription
from tests.frames import apply

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
        made.heard(world)
    return made


def test_places_lie_on_the_straight_line(motion: Interpolation) -> None:
    ids, x = motion.at(10.5, "x")
    assert (ids.tolist(), x.tolist()) == ([1, 2], [2.0, 5.0]), "who leaves stays until then; who comes is not there"
    ids, x = motion.at(12.5, "x")
    assert (ids.tolist(), x.tolist()) == ([1, 3], [8.0, 1.0])


def test_angles_take_the_short_way_round(motion: Interpolation) -> None:
    heading = float(motion.at(11, "heading")[1][0])
    assert math.cos(heading) == pytest.approx(1.0), "half of the way from -pi/8 to pi/8, through 0"


def test_what_has_no_between_keeps_the_older_value(motion: Interpolation) -> None:
    assert motion.at(11.9, "lives")[1][0] == 3
    assert motion.at(12.0, "lives")[1][0] == 2


def test_nothing_moves_before_the_oldest_and_after_the_newest(motion: Interpolation) -> None:
    assert motion.at(-math.inf, "x")[1].tolist() == [0.0, 5.0]
    assert motion.at(99, "x")[1].tolist() == [8.0, 1.0]
    assert Interpolation("ships").at(1, "x")[0].size == 0


def test_the_clock_goes_by_the_least_late_frame() -> None:
    clock = TickClock(20, delay_ticks=2)
    assert clock.shown(5.0) == -math.inf
    for tick, lateness_s in ((100, 0.08), (101, 0.02), (102, 0.3)):
        clock.heard(tick, 1000 + tick / 20 + lateness_s)
    assert clock.shown(1000 + 102 / 20 + 0.02) == pytest.approx(100)
