"""Limits, ends and secrets of recordings, and replays with a later build of the game."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from tests.harness.recorded_rooms import Bay, BayBoats, RecordedRoom
from tests.harness.recording_subscriber import RecordingSubscriber
from tickwire import Input, Player, Room, TaskResult, Transaction, real, uint
from tickwire.schemas.messages import Redirect
from tickwire.server.recording import frames as frames_module
from tickwire.server.recording import recorder as recorder_module
from tickwire.server.recording.entries import ENTRIES_MAX, CallEntry, JoinEntry, TickRecord
from tickwire.server.recording.frames import TICK, RecordingDamaged
from tickwire.server.recording.header import decode_header, encode_header
from tickwire.server.recording.reader import Recording
from tickwire.server.recording.recorder import RoomRecorder
from tickwire.server.recording.redaction import redact_payload
from tickwire.server.recording.replay import Replay
from tickwire.server.recording.sinks import FileSink, RecordingLimits
from tickwire.server.rooms.containment import RoomCodeRaised
from tickwire.server.rooms.room_tasks import TASKS_MAX
from tickwire.server.rooms.seat import SeatRequest


def started(room_class: type[Room] = Bay, *names: str) -> RecordedRoom:
    """Return a recorded room with some players."""
    room = RecordedRoom(room_class)
    for name in names:
        room.join(name)
    room.step()
    room.start()
    return room


# -- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (RecordingLimits(bytes_max=20_000), "the limit of 20000 bytes"),
        (RecordingLimits(ticks_max=7), "the limit of ticks"),
    ],
)
def test_recording_ends_at_its_limit_and_the_room_continues(limits: RecordingLimits, reason: str) -> None:
    room = started(Bay, "ann")
    data, ended = bytearray(), list[str]()
    room.recorder.add_sink(FileSink(data.extend, room.recorder.header, limits, ended.append))
    room.recorder.write_keyframe()
    for fill in range(1000):
        room.push("ann", bytes([fill % 200] * 4))
        room.step()
    assert ended == [reason]
    recording = Recording(bytes(data))
    assert recording.reason == reason
    assert len(data) <= limits.bytes_max + 1000
    report = Replay(recording, Bay).verify()
    assert report.divergence is None
    assert 0 < report.ticks < 1000
    assert room.runtime.tick == 1001


def test_file_that_cannot_be_written_ends_the_recording_only() -> None:
    room = started(Bay)
    ended: list[str] = []
    written: list[bytes] = []

    def write(data: bytes) -> None:
        if len(written) > 2:
            raise OSError(28, "No space left on device")
        written.append(data)

    room.recorder.add_sink(FileSink(write, room.recorder.header, on_ended=ended.append))
    for _ in range(3):
        room.recorder.write_keyframe()
        room.step()
    assert ended == ["the file cannot be written: No space left on device"]


def test_too_many_entries_between_two_ticks_end_the_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "ENTRIES_MAX", 5)
    room = started(Bay, "ann")
    for _ in range(6):
        room.call("ann", "say", text="ahoy")
    assert room.runtime.recorder is None
    room.step()
    assert Recording(bytes(room.data)).reason == "more than 5 entries between two ticks"


# -- ends ------------------------------------------------------------------------------------------------------------


def test_recording_ends_when_the_room_ends_moves_or_restarts() -> None:
    closed = started(Bay, "ann")
    closed.runtime.close("over")
    moved = started(Bay, "ann")
    moved.runtime.freeze()
    moved.runtime.release(Redirect("wss://other"))
    restarted = started(Bay, "ann")
    restarted.runtime.discard(RecordedRoom().runtime, "reloaded")
    reasons = [Recording(bytes(room.data)).reason for room in (closed, moved, restarted)]
    assert reasons == ["over", "the room has moved to another shard", "the room has restarted"]
    assert all(room.runtime.recorder is None for room in (closed, moved, restarted))


def test_result_of_a_task_that_cannot_be_recorded_ends_the_recording() -> None:
    room = started(Bay, "ann")
    room.call("ann", "work")
    room.tasks.end(TaskResult(object()))
    room.step()
    recording = Recording(bytes(room.data))
    assert recording.reason == "the result of a task, a object, cannot be recorded"
    assert Replay(recording, Bay).verify().divergence is None


@pytest.mark.parametrize(
    "error", [TimeoutError("late"), KeyError("quest"), UnicodeError("x"), msgspec.ValidationError("y")]
)
def test_errors_of_tasks_are_replayed(error: Exception) -> None:
    seen: list[tuple[str, str]] = []

    class Listening(Bay):
        def worked(self, result: TaskResult) -> None:
            seen.append((type(result.error).__name__, str(result.error)))

    room = started(Listening, "ann")
    room.call("ann", "work")
    room.tasks.end(TaskResult(error=error))
    room.step()
    room.replay().verify()
    recorded, replayed = seen[0], seen[-1]
    assert len(seen) >= 2
    assert replayed == recorded or (replayed[0] == "RecordedError" and recorded[0] in replayed[1])


def test_save_that_raises_prevents_the_recording_only() -> None:
    class Unsavable(Bay):
        def save(self) -> Any:
            raise ValueError("no")

    room = RecordedRoom(Unsavable)
    with pytest.raises(RoomCodeRaised):
        RoomRecorder(room.runtime)
    assert room.runtime.recorder is None
    room.step()


def test_failed_tick_is_the_last_one_and_fails_in_the_replay() -> None:
    class Failing(Bay):
        error_policy = "close"

        def on_tick(self, dt: float) -> None:
            super().on_tick(dt)
            if self.tick == 5:
                self.boats.x[0] = float("nan")  # refused at the end of the tick, outside of a hook

    room = started(Failing, "ann")
    with pytest.raises(RoomCodeRaised):
        room.step(10)
    room.runtime.close("the room's code failed")
    report = room.replay().verify()
    assert report.divergence is None
    assert report.failure is not None
    assert (report.failure.hook, report.failure.error, report.last_tick) == ("tick", "NotANumber", 5)
    fixed = room.replay(Bay).verify()
    assert fixed.divergence is not None
    assert fixed.divergence.reason == "the tick has failed in the recording, not in the replay"


# -- secrets ---------------------------------------------------------------------------------------------------------


class SecretRoom(Room):
    room_type = "safe"

    def on_create(self, options: Any) -> None:
        self.admin_token = "attribute-secret"
        self.services = {"shop": ({"Token": "inner-secret"}, "eyJhbGciOi.eyJzdWIi.jwt-secret"), 7: frozenset("x")}

    def on_join(self, player: Player, options: Any) -> None:
        player.data["resume_key"] = "data-secret"

    def on_command(self, player: Player, name: str, payload: Any) -> None:
        if name == "fetch":
            self.run(self.fetch())

    async def fetch(self) -> None:
        pass


def test_recording_has_no_secrets() -> None:
    room = RecordedRoom(SecretRoom)
    room.runtime.room.code = "private-code-secret"
    sessions = [RecordingSubscriber(player_id) for player_id in ("ann", "bob")]
    for session in sessions:
        session.session_id = "session-id-secret"
    room.runtime.seat(SeatRequest(sessions[0], "ann", {}))
    room.start()
    room.seats["bob"] = room.runtime.seat(SeatRequest(sessions[1], "bob", {"password": "option-secret", "level": 3}))
    room.call("bob", "login", ticket="argument-secret", nested={"list": [{"token": "nested-secret"}]}, words="hello")
    room.call("bob", "show", text="eyJhbGciOi.eyJzdWIi.jwt-secret")
    room.call("bob", "fetch")
    room.tasks.end(TaskResult({"session_token": "task-secret", "level": 4}))
    bought = Transaction(reply={"ticket": "reply-secret"})
    room.runtime.apply_transaction(room.seats["bob"], "buy", bought, {})
    room.step()
    room.recorder.write_keyframe()
    frames: list[bytes] = []
    for number in range(2):
        recording = Recording(bytes(room.data))
        frames.append(msgspec.msgpack.encode(recording.read_keyframe(number)))
        frames += [msgspec.msgpack.encode(record) for record in recording.read_ticks(number)]
    text = b"".join(frames)
    assert b"secret" not in text
    assert b"hello" in text
    assert b"ann" in text
    replayed = Replay(Recording(bytes(room.data)), SecretRoom).room
    assert isinstance(replayed, SecretRoom)
    assert replayed.services == {"shop": ({"Token": "***"}, "***"), 7: frozenset("x")}


def test_redacted_values_keep_their_types() -> None:
    value = {
        "password": "a",
        "token": b"b",
        "secret_number": 5,
        "ticket": [1],
        "resume": {"a": 1},
        "level": 2,
        "x": None,
    }
    assert redact_payload(value) == {
        "password": "***",
        "token": b"***",
        "secret_number": 0,
        "ticket": [],
        "resume": {},
        "level": 2,
        "x": None,
    }


# -- later builds ----------------------------------------------------------------------------------------------------


class WideBoats(BayBoats):
    gold = uint(bits=24)
    crew = uint(bits=8)


class LaterBay(Bay):
    """A later build: a wider column and a new one, whose values are converted and not compared."""

    boats: WideBoats


def test_changed_table_is_converted_and_not_compared() -> None:
    room = started(Bay, "ann", "bob")
    for fill in range(20):
        room.push("ann", bytes([fill] * 4))
        room.step()
    report = room.replay(LaterBay).verify()
    assert report.changed_tables == ("boats",)
    assert report.divergence is None
    replay = room.replay(LaterBay)
    replay.seek(20)
    assert replay.room.boats.name.tolist() == ["ann", "bob"]


def test_changed_behaviour_is_found_at_its_tick() -> None:
    class Faster(Bay):
        def on_tick(self, dt: float) -> None:
            super().on_tick(dt)
            if self.tick >= 15:
                self.boats.x += 1

    room = started(Bay, "ann")
    room.step(12)
    room.recorder.write_keyframe()
    room.step(12)
    room.recorder.write_keyframe()
    report = room.replay(Faster).verify()
    assert report.divergence is not None
    assert (report.divergence.tick, report.divergence.parts) == (15, ("boats",))
    assert report.divergence.difference is not None
    assert report.divergence.difference.where == "boats[1].x"


def test_inputs_of_another_size_are_left_out_with_a_sentence() -> None:
    class LongInput(Input):
        dx = real(-1, 1, step=1 / 64)
        wish = uint(bits=32)

    class Longer(Bay):
        input_type = LongInput

    room = started(Bay, "ann")
    room.push("ann", b"\x05\0\0\0")
    room.step()
    report = room.replay(Longer).verify()
    assert report.divergence is not None
    assert "inputs of 4 bytes do not fit" in report.divergence.reason


def test_recording_of_a_newer_format_is_refused() -> None:
    header = encode_header(RecordedRoom().runtime.room, ())
    newer = header.replace(b"\xa6format\x01", b"\xa6format\x63")
    assert newer != header
    with pytest.raises(RecordingDamaged):
        Recording(newer)


def test_detached_recorder_costs_nothing_and_a_second_one_can_follow() -> None:
    room = started(Bay, "ann")
    room.recorder.stop("first")
    assert room.runtime.room.tasks.recorder is None
    room.step()
    room.data.clear()
    room.start()
    room.join("bob")
    room.step()
    recording = room.recording()
    [record] = [one for one in recording.read_ticks() if hasattr(one, "entries")]
    assert [type(entry) for entry in record.entries] == [JoinEntry]


# -- damage ----------------------------------------------------------------------------------------------------------


def long_recording() -> tuple[bytes, Recording]:
    """Return a recording with several keyframes."""
    room = started(Bay, "ann")
    for fill in range(90):
        room.push("ann", bytes([fill] * 4))
        room.step()
        if fill % 30 == 0:
            room.recorder.write_keyframe()
    recording = room.recording()
    return bytes(room.data), recording


def test_index_and_scan_find_the_same() -> None:
    data, recording = long_recording()
    cut = Recording(data[:-1])  # without an intact index
    assert (cut.keyframes, cut.last_tick, cut.reason) == (recording.keyframes, recording.last_tick, recording.reason)
    assert not Recording(data[: recording.keyframes[-1].offset]).is_complete


def test_keyframes_after_a_damaged_place_can_be_shown() -> None:
    data, recording = long_recording()
    at = recording.keyframes[2].offset - 20  # within the block before the keyframe
    damaged = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    replay = Replay(Recording(damaged), Bay)
    report = replay.verify()
    assert not report.is_equal
    assert report.divergence is None
    assert report.damaged_after is not None
    assert report.damaged_after < recording.keyframes[2].tick
    replay.seek(recording.last_tick)
    assert replay.tick == recording.last_tick


@pytest.mark.parametrize("sizes", [(1000,), (400, 900)])
def test_frames_that_do_not_fit_into_a_block_are_written_without_one(
    sizes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A keyframe at the limit that zlib cannot make smaller, and a tick at the limit after others."""
    monkeypatch.setattr(frames_module, "PAYLOAD_BYTES_MAX", 1000)
    written = bytearray(frames_module.MAGIC)
    sink = FileSink(written.extend, b"")
    for number, size in enumerate(sizes):
        payload = np.random.default_rng(number).bytes(size)
        sink.write(frames_module.encode_frame(frames_module.TICK, payload), number, is_keyframe=False)
    sink.end("the test ends")
    found = [len(frame.payload) for frame in frames_module.read_frames(bytes(written)) if frame.kind == TICK]
    assert found == list(sizes)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_tick_rate_of_a_hostile_header_is_refused(rate: float) -> None:
    header = msgspec.structs.replace(long_recording()[1].header, tick_rate_hz=rate)
    with pytest.raises(RecordingDamaged, match="tick rate"):
        decode_header(msgspec.msgpack.encode(header))


def test_counts_of_a_hostile_file_are_bounded() -> None:
    """An entry of four bytes needs thirty times as much memory."""
    data, recording = long_recording()
    header = data[: recording.keyframes[0].offset]
    keyframe = recording.read_keyframe(0)
    tick = TickRecord(1, True, (CallEntry("can_migrate"),) * (ENTRIES_MAX + 1))
    for kind, payload in (
        (TICK, tick),
        (frames_module.KEYFRAME, msgspec.structs.replace(keyframe, tasks=("",) * (TASKS_MAX + 1))),
    ):
        frame = frames_module.encode_frame(kind, msgspec.msgpack.encode(payload))
        with pytest.raises(RecordingDamaged, match="length <="):
            Recording(header + frame)
