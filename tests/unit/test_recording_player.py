"""The viewer plays a recorded arena: the states of all ticks, in any order, and the timeline."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness.arena_recordings import (
    FAILING_TICK,
    LEAVE_TICK,
    SAY_TICK,
    TICKS,
    DivergedArena,
    FailingArena,
    record_arena,
)
from tests.harness.polling import eventually
from tickwire import uint
from tickwire.examples.arena import Arena, Ships
from tickwire.server.recording.reader import Recording
from tickwire.server.recording.replay import Replay
from tickwire.server.viewer import replayed_states
from tickwire.server.viewer.player import RecordingPlayer
from tickwire.server.viewer.replayed_states import TICKS_MAX, ReplayedStates
from tickwire.server.viewer.tables import DIGITS
from tickwire.server.viewer.timeline import Timeline


class Hulls(Ships):
    shield = uint(bits=4)


class LaterArena(Arena):
    ships: Hulls


def reader() -> ReplayedStates:
    recording = Recording(record_arena().data)
    keyframes = [keyframe.tick for keyframe in recording.keyframes]
    return ReplayedStates(Replay(recording, Arena), keyframes, recording.last_tick)


def ships(state: dict[str, Any]) -> dict[int, tuple[float, float, int]]:
    (table,) = [table for table in state["tables"] if table["name"] == "ships"]
    columns = table["columns"]
    rows = zip(columns["x"], columns["y"], columns["hp"], strict=True)
    return dict(zip(table["ids"], rows, strict=True))


def is_equal(state: dict[str, Any]) -> bool:
    """Whether a state has the ships of the room, to the digits of the page."""
    expected = record_arena().states[state["tick"]]
    return ships(state) == {id: (round(x, DIGITS), round(y, DIGITS), hp) for id, (x, y, hp) in expected.items()}


@pytest.fixture(params=["forward", "backward", "random"])
def order(request: pytest.FixtureRequest) -> Iterator[int]:
    ticks = list(range(1, TICKS + 1))
    if request.param == "random":
        ticks = random.Random(3).sample(ticks, 60)
    return iter(reversed(ticks) if request.param == "backward" else ticks)


def test_states_are_those_of_the_room_in_any_order(order: Iterator[int]) -> None:
    states = reader()
    for tick in order:
        (state,) = json.loads(states.read(tick, tick))
        assert state["tick"] == tick
        assert is_equal(state)


def test_stepping_back_replays_a_tick_a_few_times_only(monkeypatch: pytest.MonkeyPatch) -> None:
    states, steps = reader(), []
    step = Replay.step
    monkeypatch.setattr(Replay, "step", lambda self: steps.append(1) or step(self))
    for tick in range(99, 0, -1):
        states.read(tick, tick)
    assert 99 <= len(steps) < 300


def test_a_range_is_limited_by_ticks_bytes_and_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    states = reader()
    assert [state["tick"] for state in json.loads(states.read(TICKS - 1, TICKS + 50))] == [TICKS - 1, TICKS]
    assert json.loads(states.read(TICKS + 1, TICKS + 50)) == []
    assert len(json.loads(states.read(0, 10**9))) == TICKS_MAX
    monkeypatch.setattr(replayed_states, "RESPONSE_BYTES_MAX", 10_000)
    some = json.loads(states.read(200, 300))
    assert 1 <= len(some) < 10
    assert some[0]["tick"] == 200
    monkeypatch.setattr(replayed_states, "RESPONSE_BYTES_MAX", 1)
    assert len(json.loads(states.read(200, 300))) == 1, "at least one"


def test_the_window_of_kept_states_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replayed_states, "WINDOW_BYTES_MAX", 50_000)
    states = reader()
    for tick in range(TICKS):
        states.read(tick, tick)
        assert states.window_bytes <= 50_000
    (state,) = json.loads(states.read(5, 5))
    assert is_equal(state)


async def play(player: RecordingPlayer) -> Timeline:
    player.start()
    await eventually(lambda: player.timeline.is_complete, 60)
    await player.stop()
    return player.timeline


async def test_the_timeline_has_joins_commands_events_and_leaves() -> None:
    player = RecordingPlayer(Recording(record_arena().data), Arena, "arena.tickrec")
    timeline = await play(player)
    overview = timeline.count(1)
    assert (overview.problem, overview.divergence, overview.replayed_to) == ("", None, TICKS)
    assert overview.buckets[0]["join"] == 8
    said = [(one.kind, one.text) for one in timeline.find(SAY_TICK, SAY_TICK, 100).entries]
    assert [kind for kind, _ in said if kind in ("command", "event")] == ["command", "event"]
    assert all("hello" in text for kind, text in said if kind in ("command", "event"))
    (left,) = [one for one in timeline.find(0, TICKS, 1000).entries if one.kind == "leave"]
    assert left.tick == LEAVE_TICK
    assert "bot 7" in left.text


async def test_requests_are_answered_while_the_timeline_is_filled() -> None:
    player = RecordingPlayer(Recording(record_arena().data), Arena, "arena.tickrec")
    player.start()
    (state,) = json.loads(await player.read_states(300, 300))
    assert is_equal(state)
    await player.stop()


async def test_a_replay_with_other_rules_reports_its_first_divergence() -> None:
    timeline = await play(RecordingPlayer(Recording(record_arena().data), DivergedArena, "arena.tickrec"))
    divergence = timeline.count(1).divergence
    assert divergence is not None
    first_hit = record_arena().first_hit
    assert divergence.tick == first_hit
    assert "ships" in divergence.text


async def test_ticks_that_are_damaged_in_the_middle_are_reported_and_later_ones_are_replayed() -> None:
    data = bytearray(record_arena().data)
    keyframes = Recording(bytes(data)).keyframes
    data[keyframes[2].offset - 200] ^= 0xFF
    player = RecordingPlayer(Recording(bytes(data)), Arena, "damaged.tickrec")
    player.start()
    await eventually(lambda: player.timeline.is_complete, 60)
    (gap,) = player.timeline.gaps
    assert keyframes[1].tick < gap[0] < gap[1] == keyframes[2].tick
    overview = player.timeline.count(1)
    assert overview.problem == f"the file is damaged: ticks {gap[0]} to {gap[1]} are missing"
    assert [one.tick for one in player.timeline.find(0, TICKS, 1000).entries if one.kind == "leave"] == [LEAVE_TICK]
    assert json.loads(await player.read_states(gap[0], gap[1])) == []
    (state,) = json.loads(await player.read_states(gap[1] + 1, gap[1] + 1))
    assert is_equal(state)
    await player.stop()


async def test_entries_without_a_tick_after_them_are_in_the_timeline() -> None:
    player = RecordingPlayer(Recording(record_arena(ticks=0, pilots=3).data), Arena, "short.tickrec")
    timeline = await play(player)
    assert [one.kind for one in timeline.find(0, 10, 100).entries].count("join") == 3


async def test_the_recording_of_a_failed_room_ends_with_its_error() -> None:
    data, states = record_arena(room_class=FailingArena)
    player = RecordingPlayer(Recording(data), FailingArena, "failed.tickrec")
    player.start()
    await eventually(lambda: player.timeline.is_complete, 60)
    overview = player.timeline.count(1)
    assert (overview.problem, overview.divergence) == ("", None)
    (error,) = [one for one in player.timeline.find(0, TICKS, 1000).entries if one.kind == "error"]
    assert error.tick == FAILING_TICK
    assert "on_tick: ZeroDivisionError" in error.text
    (state,) = json.loads(await player.read_states(FAILING_TICK - 1, FAILING_TICK - 1))
    assert ships(state).keys() == states[FAILING_TICK - 1].keys()
    await player.stop()


def test_the_summary_describes_the_room_and_its_keyframes() -> None:
    summary = RecordingPlayer(Recording(record_arena().data), Arena, "arena.tickrec").summary
    assert (summary.file, summary.room_type, summary.room_name) == ("arena.tickrec", "arena", "lobby")
    assert (summary.first_tick, summary.last_tick, summary.tick_rate_hz) == (0, TICKS, 20.0)
    assert sorted(set(summary.keyframes)) == [0, 99, 199, 299, 399]
    assert [table.name for table in summary.tables] == ["ships", "bullets"]
    assert (summary.ended, summary.not_compared) == ("the test has ended", ())


def test_the_summary_names_tables_that_are_not_compared_and_a_file_that_was_cut_off() -> None:
    data = record_arena().data
    cut = Recording(data[: len(data) * 3 // 4])
    summary = RecordingPlayer(cut, LaterArena, "cut.tickrec").summary
    assert (summary.ended, list(summary.not_compared)) == ("the file was cut off", ["ships"])
    assert 0 < summary.last_tick < TICKS
