"""The ring of a room's last seconds, the schedule of its keyframes, and the limits of recordings. No clocks."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest

from tickwire.server.recording.keyframe_schedule import (
    BURST_S,
    DELAY_S_MAX,
    INTERVAL_S_MAX,
    PAUSE_FACTOR,
    KeyframeSchedule,
    RoomKeyframes,
)
from tickwire.server.recording.recording_limits import KEYS_MAX, LIMITS, TriggerLimits
from tickwire.server.recording.ring import FRAME_OVERHEAD_BYTES, RecordingRing

FRAME = FRAME_OVERHEAD_BYTES + 10


def fill(ring: RecordingRing, ticks: range, keyframe_ticks: int) -> None:
    for tick in ticks:
        ring.write(b"t" * 10, tick, is_keyframe=False)
        if tick % keyframe_ticks == 0:
            ring.write(b"k" * 10, tick, is_keyframe=True)


def test_the_ring_keeps_its_ticks_and_at_most_one_segment_more() -> None:
    ring = RecordingRing(ticks=100, bytes_max=1 << 20)
    for end in range(1, 1000):
        fill(ring, range(end, end + 1), keyframe_ticks=50)
        frames = ring.frames_since(0)
        if not frames:
            continue
        assert frames[0][2], "the first frame is a keyframe"
        first = frames[0][1]
        assert first <= max(50, end - 100), "all of the declared ticks are kept"
        assert first > end - 100 - 100, "no more than a segment beyond them is kept"
        assert ring.size == FRAME * len(frames)


def test_frames_before_the_first_keyframe_are_ignored() -> None:
    ring = RecordingRing(ticks=100, bytes_max=1000)
    ring.write(b"t", 1, is_keyframe=False)
    assert ring.is_empty
    assert ring.frames_since(0) == []
    ring.write(b"k", 1, is_keyframe=True)
    assert ring.frames_since(0) == [(b"k", 1, True)]


def test_the_last_seconds_begin_with_the_keyframe_before_them() -> None:
    ring = RecordingRing(ticks=1000, bytes_max=1 << 20)
    fill(ring, range(1, 101), keyframe_ticks=10)
    frames = ring.frames_since(75)
    assert (frames[0][1], frames[-1][1]) == (70, 100)
    assert [tick for _, tick, is_keyframe in frames if is_keyframe] == [70, 80, 90, 100]
    assert ring.frames_since(-5)[0][1] == 10


def test_the_oldest_segment_is_dropped_at_the_bound_of_bytes_and_counted() -> None:
    ring = RecordingRing(ticks=10_000, bytes_max=30 * FRAME)
    for tick in range(1, 200):
        fill(ring, range(tick, tick + 1), keyframe_ticks=10)
        assert ring.size <= 30 * FRAME
    assert ring.segments_dropped > 10
    assert ring.frames_since(0)[0][2]


def test_a_single_segment_above_the_bound_is_dropped_until_the_next_keyframe() -> None:
    ring = RecordingRing(ticks=10_000, bytes_max=5 * FRAME)
    fill(ring, range(10, 20), keyframe_ticks=10)
    assert ring.is_empty
    assert (ring.size, ring.segments_dropped) == (0, 1)
    fill(ring, range(20, 22), keyframe_ticks=10)
    assert [frame[1] for frame in ring.frames_since(0)] == [20, 21]


class SimulatedRooms:
    """Rooms that tick in turn on a simulated clock; `gap_s` is the time until the next tick is due.

    The ticks of the rooms are spread over an interval, or are together at its beginning.
    """

    def __init__(
        self, rooms: int, *, kept_s: float = 10.0, duration_s: float = 1e-3, is_together: bool = False
    ) -> None:
        self.is_together = is_together
        self.now_s, self.gap_s, self.duration_s = 0.0, 1.0, duration_s
        self.schedule = KeyframeSchedule(lambda: self.now_s, lambda: self.gap_s)
        self.rooms = [RoomKeyframes(kept_s, 20.0, 1) for _ in range(rooms)]
        self.written: list[tuple[float, int]] = []
        for room in self.rooms:
            self.schedule.add(room)

    def run(self, ticks: range) -> None:
        for tick in ticks:
            for number, room in enumerate(self.rooms):
                if not self.is_together or not number:
                    self.now_s = tick * 0.05 + number * 0.05 / len(self.rooms)
                if self.schedule.is_due(room, tick):
                    self.now_s += self.duration_s
                    self.written.append((self.now_s, number))
                    self.schedule.written(room, tick, self.duration_s)


def test_a_room_writes_a_keyframe_each_half_of_the_seconds_that_it_keeps() -> None:
    shard = SimulatedRooms(1, kept_s=10.0)
    shard.run(range(1, 601))
    assert len(shard.written) == 6  # in 30 s


def test_keyframes_of_many_rooms_are_apart_and_take_one_percent_of_the_time() -> None:
    shard = SimulatedRooms(200, duration_s=1e-3)
    shard.run(range(1, 20 * 200))
    assert {number for _, number in shard.written} == set(range(200))
    times = [at_s for at_s, _ in shard.written]
    assert min(b - a for a, b in pairwise(times)) >= PAUSE_FACTOR * 1e-3
    steady = [at_s for at_s in times if at_s > 60]
    assert len(steady) * 1e-3 / (times[-1] - 60) < 0.013


def test_no_keyframe_delays_a_tick_unless_it_is_overdue() -> None:
    shard = SimulatedRooms(1)
    shard.gap_s = 0.2e-3
    overdue = round(DELAY_S_MAX * 20) + 1
    shard.run(range(1, overdue))
    assert shard.written == []
    shard.run(range(overdue, overdue + 1))
    assert len(shard.written) == 1


@pytest.mark.parametrize("duration_s", [0.1e-3, 1e-3, 10e-3])
def test_rooms_that_are_overdue_together_write_their_keyframes_in_turns(duration_s: float) -> None:
    shard = SimulatedRooms(200, duration_s=duration_s, is_together=True)
    shard.gap_s = 0.0  # the shard is busy: no keyframe ends before a tick is due
    shard.run(range(1, 20 * 240))
    assert {number for _, number in shard.written} == set(range(200))
    in_tick = Counter(int(at_s / 0.05) for at_s, _ in shard.written)
    assert max(in_tick.values()) * duration_s <= BURST_S + duration_s + 1e-9


def test_the_interval_has_a_bound_however_expensive_keyframes_are() -> None:
    shard = SimulatedRooms(1, duration_s=5.0)
    shard.run(range(1, 2))
    assert shard.schedule.interval_s(shard.rooms[0]) == INTERVAL_S_MAX
    shard.schedule.remove(shard.rooms[0])
    other = RoomKeyframes(10.0, 20.0, 1)
    shard.schedule.add(other)
    assert shard.schedule.interval_s(other) == 5.0


def test_a_limit_counts_each_key_in_its_window() -> None:
    now = [100.0]
    limits = TriggerLimits(lambda: now[0])
    count, window_s = LIMITS["failure"]
    assert [limits.allows("failure", "arena") for _ in range(count + 1)] == [True] * count + [False]
    assert limits.allows("failure", "plaza")
    assert limits.wait_s("failure", "arena") == window_s
    now[0] += window_s
    assert limits.wait_s("failure", "arena") == 0
    assert limits.allows("failure", "arena")


def test_the_keys_of_limits_are_bounded() -> None:
    limits = TriggerLimits(lambda: 1.0)
    rng = random.Random(3)
    for _ in range(KEYS_MAX + 100):
        limits.allows("report of a player", f"guest-{rng.random()}")
    assert len(limits._windows) == KEYS_MAX


def test_frames_of_a_recorder_that_has_stopped_stay_until_the_next_one_begins() -> None:
    ring = RecordingRing(ticks=100, bytes_max=1 << 20)
    fill(ring, range(10, 15), keyframe_ticks=10)
    ring.end("a tick has failed")
    assert len(ring.frames_since(0)) == 5
    ring.write(b"k", 20, is_keyframe=True)
    ring.write(b"t", 21, is_keyframe=False)
    assert ring.frames_since(0) == [(b"k", 20, True), (b"t", 21, False)]
    assert ring.size == 2 * (FRAME_OVERHEAD_BYTES + 1)
