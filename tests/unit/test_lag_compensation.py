"""With `rewind` a shot hits the target that the shooter saw, at latencies of 20 to 200 ms; without, it misses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import pytest

from tickwire import Input, Player, Room, Table, real
from tickwire.client.interpolation import Interpolation, TickClock
from tickwire.testing import Network, RoomHarness

SPEED = 60.0
"""World units per second: the fastest ship of the arena."""
RADIUS = 3.0
HALF_A_TICK_S = 0.025
LATENCIES_MS = [(20, 20), (50, 50), (100, 100), (200, 200), (20, 40), (180, 200)]
"""The least and the greatest latency of one direction."""


class Targets(Table):
    x = real(-1000, 1000, step=1 / 64)


class Shot(Input):
    aim = real(-1000, 1000, step=1 / 64)
    view_delay = real(0, 8, step=1 / 32)


class Range(Room):
    """A target that moves steadily, and the error of each shot: reported delay, declared delay, no rewind."""

    room_type = "range"
    history_s = 1.0
    history = {"targets": ("x",)}
    input_type = Shot
    targets: Targets

    def on_create(self, options: Mapping[str, object]) -> None:
        self.targets.spawn(x=-300.0)
        self.errors: list[tuple[float, float, float]] = []

    def on_input(self, player: Player, input: Shot) -> None:
        reported = self.rewind(player, input.view_delay).targets.x[0]
        declared = self.rewind(player).targets.x[0]
        aim = input.aim
        self.errors.append((abs(reported - aim), abs(declared - aim), abs(self.targets.x[0] - aim)))

    def on_tick(self, dt: float) -> None:
        self.targets.x += SPEED * dt


class ShortRange(Range):
    room_type = "short range"
    history_s = 0.25


class RangePlay(NamedTuple):
    """The errors of the shots of a play, and the rewinds that the history has limited."""

    errors: list[tuple[float, float, float]]
    clamped: Counter[str]


def play(kind: type[Range], latency_ms: tuple[float, float]) -> RangePlay:
    """Play eight seconds with a shot every 37 ms, and return what followed after the first second.

    The player aims at the target as its screen shows it, and reports the delay of its view.
    """
    with RoomHarness(kind, seed=1) as harness:
        ann = harness.join("ann", network=Network(latency_ms=latency_ms))
        clock, motion, seen_tick = TickClock(kind.tick_rate_hz), Interpolation("targets"), -1
        counters = harness.runtime.counters
        for now_ms in range(1, 8000):
            harness.run(seconds=0.001)
            world = ann.core.world
            if world is not None and world.tick != seen_tick:
                seen_tick = world.tick
                clock.observe(seen_tick, harness.now_s)
                motion.push(world)
            if now_ms % 37 == 0 and seen_tick >= 0:
                rendered = clock.render_tick(harness.now_s)
                _, x = motion.sample(rendered, "x")
                if x.size:
                    ann.input(aim=float(x[0]), view_delay=max(0.0, seen_tick - rendered))
            if now_ms == 1000:
                harness.room.errors.clear()
                counters.rewinds_clamped.clear()
        assert len(harness.room.errors) > 150
        return RangePlay(harness.room.errors, counters.rewinds_clamped.copy())


@pytest.mark.parametrize("latency_ms", LATENCIES_MS, ids=str)
def test_a_shot_hits_the_target_that_the_shooter_saw(latency_ms: tuple[float, float]) -> None:
    played = play(Range, latency_ms)
    reported, declared, without = (list(column) for column in zip(*played.errors, strict=True))
    assert max(reported) < 0.1, "only the rounding of three numbers"
    least_s, jitter_s = latency_ms[0] / 1000, (latency_ms[1] - latency_ms[0]) / 1000
    assert max(declared) < (HALF_A_TICK_S + jitter_s) * SPEED + 0.1 < RADIUS
    assert min(without) > (HALF_A_TICK_S + 2 * least_s) * SPEED > RADIUS
    assert not played.clamped


def test_a_latency_beyond_the_history_is_limited_and_counted() -> None:
    errors, clamped = play(ShortRange, (200, 200))
    assert min(reported for reported, _, _ in errors) > (0.4 + 0.1 - 0.25 - 0.05) * SPEED
    assert all(reported < without for reported, _, without in errors), "it is still better than none"
    assert clamped["too_old"] == 2 * len(errors)


def test_two_runs_compensate_alike() -> None:
    assert play(Range, (20, 90)) == play(Range, (20, 90))
