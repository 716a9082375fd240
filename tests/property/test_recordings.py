"""Random lives of rooms replay with equal checksums, from each keyframe; damaged recordings raise one error."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness.random_lives import RandomLife
from tests.harness.recorded_rooms import Bay, RecordedRoom
from tickwire import Room
from tickwire.examples.arena import Arena
from tickwire.examples.cards import CardTable
from tickwire.examples.market import Market
from tickwire.examples.minimal import SquareField
from tickwire.examples.plaza import Plaza
from tickwire.examples.tag import Tag
from tickwire.server.observability import logs
from tickwire.server.recording.frames import RecordingDamaged, encode_block, encode_frame, read_frames
from tickwire.server.recording.reader import Recording
from tickwire.server.recording.replay import Replay
from tickwire.server.recording.room_builder import ReplayFailed

EXAMPLES = [Arena, CardTable, Market, SquareField, Plaza, Tag]
HEADER_KIND = ord("H")
NESTED = b"\x91" * 2000


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> Iterator[None]:
    """Do not log the exceptions of thousands of ticks."""
    logs.configure(format="console", level="critical")
    yield
    logs.configure(format="console", level="debug")


def record(room_class: type[Room], seed: int, *, before: int, ticks: int) -> RecordedRoom:
    """Record a random life, from a tick in the middle of it."""
    room = RecordedRoom(room_class)
    life = RandomLife(room, seed)
    life.run(before)
    room.start()
    life.run(ticks)
    return room


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32), before=st.integers(0, 60))
def test_random_life_replays_with_equal_checksums(seed: int, before: int) -> None:
    replay = record(Bay, seed, before=before, ticks=120).replay()
    assert replay.verify().divergence is None
    for number in range(1, len(replay.recording.keyframes)):
        replay.seek(replay.recording.keyframes[number].tick)
        while (step := replay.step()) is not None:
            assert step.divergence is None


def test_move_of_a_player_who_is_disconnected_stays_pending_in_a_replay() -> None:
    """The seed 901749037 has found a replay that ended such a move with "the player is disconnected"."""
    room = RecordedRoom()
    room.join("ann")
    room.call("ann", "go")
    room.step()
    room.seats["ann"].disconnected()
    room.step()
    room.start()
    room.step(3)
    assert room.replay().verify().divergence is None


@pytest.mark.parametrize("room_class", EXAMPLES, ids=[example.room_type for example in EXAMPLES])
@pytest.mark.parametrize("seed", range(2))
def test_examples_replay(room_class: type[Room], seed: int) -> None:
    report = record(room_class, seed, before=30, ticks=150).replay().verify()
    assert report.divergence is None
    assert report.ticks > 0


# -- hostile and damaged files --------------------------------------------------------------------------------------


@cache
def sample() -> bytes:
    """Return a short recording with two keyframes."""
    room = record(Bay, 11, before=30, ticks=40)
    room.recorder.write_keyframe()
    RandomLife(room, 12).run(20)
    room.recorder.stop("the test ends")
    return bytes(room.data)


def read_all(data: bytes) -> None:
    """Read and replay a file as far as it goes."""
    try:
        replay = Replay(Recording(data), Bay)
        for number in range(len(replay.recording.keyframes)):
            replay.seek(replay.recording.keyframes[number].tick)
            while replay.step() is not None:
                pass
        replay.verify()
    except (RecordingDamaged, ReplayFailed):
        return


@settings(max_examples=30)
@given(length=st.floats(0, 1))
def test_intact_prefix_of_a_recording_is_used(length: float) -> None:
    data = sample()
    prefix = data[: int(length * len(data))]
    try:
        recording = Recording(prefix)
    except RecordingDamaged:
        assert len(prefix) < Recording(data).keyframes[0].offset + 10_000  # without an intact keyframe
        return
    assert Replay(recording, Bay).verify().divergence is None


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 8))
def test_damaged_bytes_are_found(seed: int, count: int) -> None:
    rng, data = random.Random(seed), bytearray(sample())
    for _ in range(count):
        data[rng.randrange(len(data))] = rng.randrange(256)
    read_all(bytes(data))


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 6))
def test_hostile_payloads_with_valid_checksums_raise_one_error(seed: int, count: int) -> None:
    rng = random.Random(seed)
    frames = list(read_frames(sample()))
    chosen = set(rng.sample(range(len(frames)), min(count, len(frames))))
    built = bytearray(sample()[:8])
    for number, frame in enumerate(frames):
        payload = bytearray(frame.payload)
        if number in chosen and payload:
            for _ in range(rng.randrange(1, 6)):
                at = rng.randrange(len(payload))
                match rng.randrange(4):
                    case 0:
                        payload[at] = rng.randrange(256)
                    case 1:
                        payload[at:at] = rng.choice(
                            [b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x91" * 2000]
                        )
                    case 2:
                        del payload[at : at + rng.randrange(1, 9)]
                    case _:
                        payload[at : at + 9] = b"\xcf" + rng.randbytes(8)
        encoded = encode_frame(frame.kind, bytes(payload))
        built += encoded if frame.kind == HEADER_KIND or rng.random() < 0.5 else encode_block(encoded)
    read_all(bytes(built))


def test_block_that_expands_without_end_is_refused() -> None:
    bomb = zlib.compress(bytes(200 * 1024 * 1024), 9)
    data = sample()[: Recording(sample()).keyframes[0].offset] + encode_frame(ord("Z"), bomb)
    with pytest.raises(RecordingDamaged, match="no intact keyframe"):
        Recording(data)
