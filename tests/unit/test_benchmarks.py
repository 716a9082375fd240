"""The arithmetic of the benchmarks, and that each is listed and documented. No figure of a machine is tested."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks import fanout, lateness, scene, swarm
from benchmarks.__main__ import ONLY_FANOUT, WITH_PEERS, Name
from benchmarks.asteroids import BOUNDS, FRICTION, SPEED_MAX, SPEED_MIN, Asteroids
from benchmarks.lateness import LatenessPoint, Sample, find_limit, point_between
from benchmarks.load import cut_frames
from benchmarks.peers.colyseus import is_run_of
from benchmarks.receiver import count_states
from benchmarks.scene import BODIES, HEADER_BYTES, TICK_RATE_HZ, Bodies, RealBodies, SmallestThree
from benchmarks.server_under_load import ServerTurn
from benchmarks.swarm_runner import Shares
from tickwire.client.world import WrongBaseline
from tickwire.loadtest.load_plan import Step
from tickwire.schemas.codec import encode_server
from tickwire.schemas.framing import binary_frame
from tickwire.schemas.messages import Joined, StateDescription
from tickwire.server.replication.replicator import Replicator

ROOT = Path(__file__).parents[2]
NOT_IN_BENCH = {Name.SOAK, Name.DECODE}
"""One takes an hour, and the other needs Chromium and the built SDK."""


@pytest.mark.parametrize("name", Name)
def test_every_benchmark_has_its_options_and_is_documented(name: Name) -> None:
    parameters = inspect.signature(importlib.import_module(f"benchmarks.{name.value}").run).parameters
    assert "quick" in parameters
    assert ("peers" in parameters) == (name in WITH_PEERS)
    assert ("tls" in parameters) == (name in ONLY_FANOUT)
    assert f"| `{name.value}` |" in (ROOT / "docs" / "benchmarks.md").read_text()


def test_make_bench_runs_every_benchmark_that_is_short() -> None:
    (listed,) = re.findall(r"for name in ([a-z_ ]+);", (ROOT / "Makefile").read_text())
    assert set(listed.split()) == {name.value for name in set(Name) - NOT_IN_BENCH}


# -- scene ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def traffic() -> scene.Traffic:
    return scene.play(Bodies, 2.0)


def test_scene_decodes_every_tick_and_has_the_same_bytes_in_every_run(traffic: scene.Traffic) -> None:
    assert len(traffic.frame_bytes) == 2 * TICK_RATE_HZ
    assert scene.play(Bodies, 1.0).frame_bytes == traffic.frame_bytes[: int(TICK_RATE_HZ)]
    for other in (
        scene.play(SmallestThree, 1.0),
        scene.play(RealBodies, 1.0),
        scene.play(Bodies, 1.0, friction=FRICTION),
    ):
        assert other.frame_bytes != traffic.frame_bytes[: int(TICK_RATE_HZ)]


def test_scene_fails_if_the_receiver_has_another_value(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = scene._show

    def show_late(asteroids: Asteroids, bodies: Bodies) -> None:
        shown(asteroids, bodies)
        if traffic_ticks.pop():
            monkeypatch.setattr(scene.StateReader, "apply", lambda receiver, frame: None)

    traffic_ticks = [True, False, False]
    monkeypatch.setattr(scene, "_show", show_late)
    with pytest.raises(RuntimeError, match="differs by"):
        scene.play(Bodies, 1.0)


def test_the_parts_of_a_scenes_frame_add_up_to_the_bytes_on_the_wire(traffic: scene.Traffic) -> None:
    parts = scene.parts_of(traffic)
    assert sum(parts.values()) == pytest.approx(traffic.mean + HEADER_BYTES)
    assert parts["positions"] > 0 < parts["rotations"]


def test_asteroids_fly_straight_turn_and_collide_within_their_sphere() -> None:
    asteroids = Asteroids(BODIES, np.random.default_rng(1))
    start = asteroids.positions.copy()
    for _ in range(300):
        before = asteroids.positions.copy()
        asteroids.step()
        speeds = np.linalg.norm(asteroids.positions - before, axis=1) * 60
        assert speeds.max() < 2 * SPEED_MAX
    assert asteroids.collisions > 10
    assert np.median(speeds) > SPEED_MIN
    assert np.linalg.norm(asteroids.positions, axis=1).max() < BOUNDS + 2
    assert np.linalg.norm(asteroids.rotations, axis=1) == pytest.approx(1.0)
    assert np.median(np.linalg.norm(asteroids.positions - start, axis=1)) > 3


# -- lateness ---------------------------------------------------------------------------------------------------


def point(busy_share: float, p99_ms: float, *, load_late_ms: float = 1.0, wait_share: float = 0.0) -> LatenessPoint:
    return LatenessPoint(1000, busy_share, p99_ms / 2, p99_ms, load_late_ms, wait_share)


def test_the_lateness_goal_is_decided_by_a_step_near_85_percent_or_by_a_late_step() -> None:
    assert find_limit([point(0.4, 3.0), point(0.8, 6.0), point(0.95, 50.0)]) is None
    assert find_limit([point(0.4, 12.0)]) is None, "missed: more players would not help"
    assert find_limit([point(0.4, 3.0), point(0.6, 4.0)]) == "the number of players"
    assert find_limit([point(0.4, 3.0), point(0.8, 90.0, load_late_ms=40.0)]) == "load generator"
    assert find_limit([point(0.3, 90.0, wait_share=0.5)]) == "other processes on the server's core"
    assert find_limit([]) == "the number of players"


def test_a_point_is_the_difference_of_two_samples() -> None:
    def sample(at: float, cpu_s: float, *counts: int) -> Sample:
        edges = ("0.001", "0.0025", "0.005", "+Inf")
        buckets = {f'{lateness.LATENESS}_bucket{{le="{edge}"}}': n for edge, n in zip(edges, counts, strict=True)}
        return Sample({name: float(n) for name, n in buckets.items()}, cpu_s, cpu_s / 10, at)

    found = point_between(sample(10, 1, 5, 5, 5, 5), sample(20, 9, 55, 105, 105, 105), 500, [0.001] * 10)
    assert msgspec.structs.astuple(found) == pytest.approx((500, 0.8, 1.0, 2.47, 1.0, 0.08))


# -- fanout and its peers ---------------------------------------------------------------------------------------


def test_fanout_compares_the_measurements_of_the_same_turn() -> None:
    found = {
        fanout.OURS: [ServerTurn(20.0, 100.0), ServerTurn(30.0, 100.0), ServerTurn(10.0, 100.0)],
        fanout.BARE: [ServerTurn(10.0, 100.0), ServerTurn(20.0, 100.0), ServerTurn(10.0, 100.0)],
        "colyseus 1 float32": [ServerTurn(40.0, 800.0), ServerTurn(60.0, 800.0), ServerTurn(20.0, 800.0)],
        "colyseus 1 int16": [ServerTurn(40.0, 500.0), ServerTurn(60.0, 500.0), ServerTurn(20.0, 500.0)],
    }
    goals = {goal.name: goal.value for goal in fanout._goals(found, None)}
    assert goals == {"cpu_vs_bare_writer": 1.5, "cpu_vs_colyseus": 0.5, "bytes_vs_colyseus_int16": 0.2}
    ratios = {row.subject: row.median for row in fanout._rows(found) if row.metric == "cpu_ratio"}
    assert ratios["tickwire / bare writer"] == 1.5


def test_peers_warm_up_for_eight_seconds_on_both_sides() -> None:
    assert fanout._plan(quick=False, peers=True, tls=False).load.warm_s >= 8
    assert fanout._plan(quick=True, peers=True, tls=False).load.warm_s >= 8
    plan = fanout._plan(quick=True, peers=True, tls=False)
    assert (1 + len(plan.variants)) * (plan.load.warm_s + plan.load.seconds) * plan.turns < 30


def test_patches_have_to_be_a_run_of_the_recorded_ones() -> None:
    recorded = [11, 12, 13, 14, 15]
    assert is_run_of([12, 13, 14], recorded)
    assert not is_run_of([12, 14], recorded), "one is missing"
    assert not is_run_of([12, 99], recorded), "one differs"
    assert not is_run_of([14, 15, 16], recorded), "the recorded client did not receive the last one"
    assert not is_run_of([99], recorded)
    assert not is_run_of([], recorded), "no patch arrived"


def test_recorded_states_are_all_decoded_and_a_missing_one_is_an_error() -> None:
    bodies = Bodies()
    body = bodies.spawn()
    replicator, view, states = Replicator((bodies,)), None, []
    for tick in range(1, 5):
        body.position_x = tick * tick
        replicator.capture(tick)
        frame, view = replicator.update(view, replicator.everyone)
        states.append(bytes(frame))
    joined = Joined("r", "scene", description=StateDescription((Bodies.describe("bodies"),)))
    start = b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + binary_frame(encode_server(joined))
    assert count_states(start + b"".join(states)) == 4
    with pytest.raises(WrongBaseline):
        count_states(start + states[0] + states[1] + states[3])
    with pytest.raises(RuntimeError, match="no state"):
        count_states(start)


def test_frames_are_cut_wherever_the_bytes_end() -> None:
    payloads = [b"a" * 5, b"b" * 300, b"c" * 70_000]
    data = b"".join(bytes(binary_frame(payload)) for payload in payloads)
    for cut in (0, 1, 6, 7, 9, 200, 310, 5_000, len(data) - 1, len(data)):
        first, rest = cut_frames(data[:cut])
        second, rest = cut_frames(rest + data[cut:])
        assert first + second == payloads
        assert rest == b""


# -- swarm ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "shares", "found"),
    [
        (Step(900, True), Shares(), (900, "the number of players")),
        (Step(2700, True), Shares(), (2700, None)),
        (Step(900, False, "late", is_load=True), Shares(), (600, None)),
        (
            Step(900, False, "late", is_load=True),
            Shares(worker_waiting=0.2),
            (600, "other processes on the core of the worker"),
        ),
        (Step(900, False, "input_p99 was 11 s"), Shares(), (600, "the server: input_p99 was 11 s")),
        (
            Step(900, False, "late", is_load=True),
            Shares(late_ticks=0.25),
            (600, "the server: 25% of its ticks were late at 900 players"),
        ),
        (Step(900, True), Shares(late_ticks=0.25), (600, "the server: 25% of its ticks were late at 900 players")),
    ],
)
def test_swarm_reports_what_ended_the_steps(
    monkeypatch: pytest.MonkeyPatch, last: Step, shares: Shares, found: tuple[int, str | None]
) -> None:
    monkeypatch.setattr(swarm.processes, "CORES", [0, 1])
    steps = [Step(300, True), Step(600, True), last]
    assert swarm.find_carried(steps, [Shares(), Shares(late_ticks=0.005), shares]) == found


def test_worker_on_the_core_of_the_server_is_not_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swarm.processes, "CORES", [0])
    assert swarm.find_carried([Step(300, False, is_load=True)], [Shares()])[1] is not None


def test_server_that_fails_beyond_the_goal_does_not_limit_the_result() -> None:
    steps = [Step(swarm.GOAL, True), Step(swarm.GOAL + 300, True)]
    assert swarm.find_carried(steps, [Shares(), Shares(late_ticks=0.5)]) == (swarm.GOAL, None)
