"""The flight recorder and the recordings of a shard, on a simulated clock, with files in a folder of the test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from tests.harness.null_services import NoSessionRestorer
from tests.harness.recording_subscriber import RecordingSubscriber
from tests.harness.tick_simulation import SimulatedClock
from tickwire import Player, Room, SaveData, Table, real
from tickwire.schemas.messages import Redirect
from tickwire.schemas.report import ReportReply
from tickwire.server.errors import RateLimited, RoomFailed, Unavailable
from tickwire.server.recording.player_reports import PlayerReports
from tickwire.server.recording.reader import Recording
from tickwire.server.recording.recording_limits import LIMITS
from tickwire.server.recording.recording_service import (
    LATE_S_MAX,
    RecordingEnvironment,
    RecordingsDisabled,
    RecordingService,
)
from tickwire.server.recording.replay import Replay, ReplayReport
from tickwire.server.recording_settings import RecordingSettings
from tickwire.server.rooms.factory import RestoreRequest, RoomSpec
from tickwire.server.rooms.host import HostCallbacks, RoomHost
from tickwire.server.rooms.room_restart import create_restart_point
from tickwire.server.rooms.runtime import RoomRuntime
from tickwire.server.rooms.seat import Seat, SeatRequest

RATE_HZ = 20.0


class KiteTable(Table):
    x = real(-1000, 1000, step=1 / 16)


class KiteField(Room):
    """Moves its kites; fails in the tick that `fails_at` names, and in `save` if `save_fails`."""

    room_type = "kites"
    tick_rate_hz = RATE_HZ
    ticks_when_empty = True
    empty_timeout_s = 3600.0
    flight_recorder_s = 2.0
    kites: KiteTable
    fails_at = 0
    save_fails = False
    save_s = 0.0
    clock_of_test: SimulatedClock | None = None

    def on_create(self, options: Mapping[str, Any]) -> None:
        for _ in range(options.get("kites", 3)):
            self.kites.spawn(x=self.random.uniform(-100, 100))

    def on_join(self, player: Player, options: Mapping[str, Any]) -> None:
        player.entity = self.kites.spawn(x=0.0)

    def on_tick(self, dt: float) -> None:
        self.kites.x += self.random.uniform(-1, 1, len(self.kites))
        if self.tick == self.fails_at:
            raise ZeroDivisionError("planned failure")

    def save(self) -> SaveData:
        if self.clock_of_test is not None:
            self.clock_of_test.work(self.save_s)
        if self.save_fails:
            raise ValueError("planned failure of save")
        return SaveData()


class ResilientField(KiteField):
    room_type = "resilient"
    error_policy = "restore"


class ForgetfulField(KiteField):
    room_type = "forgetful"
    flight_recorder_s = 0.0


KINDS: dict[str, type[Room]] = {kind.room_type: kind for kind in (KiteField, ResilientField, ForgetfulField)}


class RecordedShard:
    """A host whose rooms are recorded."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.clock = SimulatedClock()
        self.settings = RecordingSettings(directory=str(folder / "recordings"), write_timeout_s=60.0, **settings)
        self.tasks: list[asyncio.Task[None]] = []
        self.host: RoomHost
        self.service = RecordingService(
            self.settings,
            RecordingEnvironment(
                now_s=self.clock.now_s,
                wall_s=lambda: 1_800_000_000 + self.clock.now_s(),
                until_due_s=lambda: -self.host.tick_scheduler.overdue_s(),
                spawn=self.spawn,
            ),
        )
        self.host = RoomHost(
            KINDS,
            HostCallbacks(
                on_closed=lambda runtime, reason: None,
                tune=lambda room: None,
                observe_tick=lambda duration_s, lateness_s: None,
                commit=lambda runtime: None,
                observer=self.service,
            ),
            clock=self.clock,
        )

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        self.tasks.append(asyncio.get_running_loop().create_task(work, name=name))
        return self.tasks[-1]

    def create(self, kind: type[Room], room_id: str = "r", **options: Any) -> RoomRuntime:
        return self.host.create(RoomSpec(room_id, kind.room_type), options)

    async def files(self) -> list[str]:
        """Return the names of all recordings, once those that are being written are complete."""
        await asyncio.gather(*self.tasks)
        return [file.name for file in await self.service.list_files()]

    async def verify(self, name: str) -> ReplayReport:
        await self.files()
        recording = Recording(await self.service.read(name))
        report = Replay(recording, KINDS[name.split("-")[1]]).verify()
        assert report.is_equal, report
        return report


@pytest.fixture(autouse=True)
def healthy_rooms() -> None:
    """Rooms do not fail unless a test says so."""
    KiteField.fails_at, KiteField.save_fails, KiteField.save_s, KiteField.clock_of_test = 0, False, 0.0, None


async def test_a_restarted_room_leaves_a_recording_and_is_recorded_again(tmp_path: Path) -> None:
    KiteField.fails_at = 101
    shard = RecordedShard(tmp_path)
    shard.create(ResilientField)
    while not (errors := shard.host.counters.recent_errors.list_errors("r")):
        shard.clock.run(1 / RATE_HZ)
    (name,) = await shard.files()
    (error,) = errors
    assert error.recording == name
    report = await shard.verify(name)
    assert report.failure is not None
    assert (report.failure.hook, report.failure.error, report.last_tick) == ("on_tick", "ZeroDivisionError", 101)
    assert 2 * RATE_HZ <= report.ticks <= 4 * RATE_HZ

    KiteField.fails_at = 0  # the restarted room reaches this tick, too
    runtime = shard.host.get("r")
    assert runtime is not None
    shard.clock.run(5.0)
    later = await shard.verify(shard.service.write_last(runtime, 2.0, "operator"))
    assert later.failure is None
    assert later.last_tick == runtime.tick


async def test_a_room_that_closes_or_moves_releases_its_memory(tmp_path: Path) -> None:
    shard = RecordedShard(tmp_path)
    runtimes = [shard.create(KiteField, f"r{number}") for number in range(3)]
    shard.clock.run(3.0)
    assert all(runtime.recorder is not None for runtime in runtimes)
    assert shard.service.memory_bytes > 0
    for runtime in runtimes:
        shard.host.close(runtime.room.room_id, "the test ends")
    assert shard.service.memory_bytes == 0
    assert await shard.files() == []


async def test_the_recorder_of_a_room_that_moves_starts_empty_on_the_target(tmp_path: Path) -> None:
    source, target = RecordedShard(tmp_path), RecordedShard(tmp_path)
    runtime = source.create(KiteField)
    source.clock.run(5.0)
    source.host.freeze(runtime)
    checkpoint = create_restart_point(runtime).checkpoint
    request = RestoreRequest(checkpoint, NoSessionRestorer(), lambda seat: None, {})
    moved = target.host.prepare(RoomSpec("r", KiteField.room_type, epoch=2), request)
    target.host.attach(moved)
    source.host.release(runtime, Redirect("ws://target.example"))
    assert source.service.memory_bytes == 0
    target.clock.run(1.0)
    report = await target.verify(target.service.write_last(moved, 10.0, "operator"))
    assert report.first_tick >= checkpoint.tick
    assert report.last_tick == moved.tick


async def test_a_room_without_a_flight_recorder_is_recorded_on_request_only(tmp_path: Path) -> None:
    KiteField.fails_at = 201
    shard = RecordedShard(tmp_path)
    runtime = shard.create(ForgetfulField)
    shard.clock.run(2.0)
    assert runtime.recorder is None
    with pytest.raises(RecordingsDisabled, match="flight_recorder_s is 0"):
        shard.service.write_last(runtime, 2.0, "operator")
    name = shard.service.start(runtime, 1.0)
    assert shard.service.list_running() == [(name, shard.service.memory_bytes)]
    shard.clock.run(2.0)
    assert runtime.recorder is None, "the recorder stops with its last recording"
    assert (await shard.verify(name)).ticks == RATE_HZ
    shard.clock.run(10.0)
    assert shard.host.get("r") is None
    assert await shard.files() == [name], "the failure was not recorded"


async def test_a_save_that_raises_is_reported_seldom_and_the_room_runs_on(tmp_path: Path) -> None:
    KiteField.save_fails = True
    shard = RecordedShard(tmp_path)
    runtime = shard.create(KiteField)
    shard.clock.run(15.0)
    assert runtime.tick >= 290
    assert 1 <= shard.host.counters.room_errors["kites"] <= 2
    with pytest.raises(Unavailable):
        shard.service.write_last(runtime, 2.0, "operator")
    with pytest.raises(RoomFailed, match="save"):
        shard.service.start(runtime, 1.0)
    assert shard.service.list_running() == []
    KiteField.save_fails = False
    shard.clock.run(10.0)
    await shard.verify(shard.service.write_last(runtime, 2.0, "operator"))


@pytest.mark.parametrize("value", [1 << 70, "\ud800"])
async def test_a_state_that_cannot_be_recorded_ends_the_recording_and_not_the_room(
    tmp_path: Path, value: Any
) -> None:
    shard = RecordedShard(tmp_path)
    runtime = shard.create(KiteField)
    seat = runtime.seat(SeatRequest(RecordingSubscriber("ann"), "ann"))
    seat.player.data = {"seed": value}
    shard.clock.run(3.0)
    assert shard.service.memory_bytes == 0
    with pytest.raises(RoomFailed, match="state of the room cannot be recorded"):
        shard.service.start(runtime, 1.0)
    assert shard.service.list_running() == []
    seat.player.data = {}
    shard.clock.run(10.0)
    await shard.verify(shard.service.write_last(runtime, 2.0, "operator"))
    seat.player.data = {"seed": value}
    runtime.room.close("the round is over")
    shard.clock.run(10.0)
    assert shard.host.get("r") is None


async def test_an_error_whose_text_is_not_unicode_is_recorded_and_closes_the_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(room: KiteField, dt: float) -> None:
        if room.tick == 40:
            raise ZeroDivisionError("\ud800")

    monkeypatch.setattr(KiteField, "on_tick", fail)
    shard = RecordedShard(tmp_path)
    shard.create(KiteField)
    shard.clock.run(3.0)
    assert shard.host.get("r") is None
    (name,) = await shard.files()
    report = await shard.verify(name)
    assert report.failure is not None
    assert (report.failure.error, report.last_tick) == ("ZeroDivisionError", 40)


async def test_a_room_closes_and_ends_its_recordings_whatever_its_recorder_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = RecordedShard(tmp_path)
    runtime = shard.create(KiteField)
    shard.clock.run(1.0)
    live = shard.service.start(runtime, 60.0)

    def fail(*args: Any) -> None:
        raise KeyError("a fault of the recorder")

    monkeypatch.setattr("tickwire.server.recording.recorder.create_keyframe", fail)
    runtime.room.clock.after(2.0, runtime.room.close, "the round is over")
    shard.clock.run(3.0)
    assert shard.host.get("r") is None
    assert shard.service.results["failed"] == 1
    assert shard.service.memory_bytes == 0
    assert await shard.files() == [live]
    monkeypatch.undo()
    assert (await shard.verify(live)).reason == "the recorder has failed"


async def test_a_room_larger_than_a_file_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    shard = RecordedShard(tmp_path, file_bytes_max=64 * 1024, room_bytes_max=1 << 20, shard_bytes_max=1 << 20)
    for kind in (KiteField, ForgetfulField):  # with the recorder of the last seconds, and with one of its own
        runtime = shard.create(kind, kind.room_type, kites=10_000)
        shard.clock.run(1.0)
        is_recorded = runtime.recorder is not None
        with pytest.raises(RoomFailed, match="largest size"):
            shard.service.start(runtime, 1.0)
        assert (runtime.recorder is not None) == is_recorded
    assert shard.service.list_running() == []
    assert await shard.files() == []


async def test_memory_is_bounded_for_the_shard_and_the_parts_dropped_are_counted(tmp_path: Path) -> None:
    shard = RecordedShard(tmp_path, shard_bytes_max=256 * 1024, file_bytes_max=128 * 1024, room_bytes_max=128 * 1024)
    runtimes = [shard.create(KiteField, f"r{number}", kites=200) for number in range(30)]
    keyframe = 0
    for _ in range(30):
        shard.clock.run(0.5)
        largest = max(shard.service.flight.size_of(runtime) for runtime in runtimes)
        keyframe = max(keyframe, largest)
        assert largest <= 128 * 1024
        assert shard.service.memory_bytes <= 256 * 1024 + 30 * 20 * 200, "and the ticks since the last keyframe"
    assert shard.service.flight.parts_dropped > 0
    names = [shard.service.write_last(one, 1.0, "operator") for one in runtimes if shard.service.flight.size_of(one)]
    assert names
    await shard.verify(names[0])


@pytest.mark.parametrize(("rooms", "save_s"), [(100, 0.5e-3), (2, 10e-3)])
async def test_keyframes_make_no_tick_late(tmp_path: Path, rooms: int, save_s: float) -> None:
    shard = RecordedShard(tmp_path)
    KiteField.save_s, KiteField.clock_of_test = save_s, shard.clock
    for number in range(rooms):
        shard.create(KiteField, f"r{number}")
    shard.clock.run(12.0)
    flight = shard.service.flight
    assert flight.keyframes >= rooms * 2
    assert flight.keyframe_seconds >= flight.keyframes * save_s * 0.99
    assert shard.host.counters.ticks_late == 0


async def test_a_type_that_fails_again_and_again_writes_a_bounded_number_of_files(tmp_path: Path) -> None:
    KiteField.fails_at = 30
    shard = RecordedShard(tmp_path)
    most = LIMITS["failure"].most
    for number in range(most + 4):
        shard.create(KiteField, f"r{number}")
        shard.clock.run(2.0)
    assert len(await shard.files()) == most
    assert shard.service.results == {"written": most, "limited": 4}


async def test_the_number_and_the_size_of_live_recordings_are_bounded(tmp_path: Path) -> None:
    shard = RecordedShard(tmp_path, file_bytes_max=64 * 1024, room_bytes_max=64 * 1024, shard_bytes_max=512 * 1024)
    runtime = shard.create(KiteField, kites=100)
    shard.clock.run(1.0)
    assert shard.service.live_max == 8
    names = [shard.service.start(runtime, 3600.0) for _ in range(8)]
    assert len(set(names)) == 8
    with pytest.raises(RateLimited, match="running"):
        shard.service.start(runtime, 1.0)
    shard.clock.run(120.0)
    assert shard.service.list_running() == [(name, 0) for name in names], "complete, and not written yet"
    await shard.files()
    assert shard.service.list_running() == []
    assert (await shard.verify(names[-1])).ticks > 10


async def test_a_recording_of_an_empty_room_ends_although_the_room_does_not_tick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KiteField, "ticks_when_empty", False)
    shard = RecordedShard(tmp_path)
    runtime = shard.create(KiteField)
    shard.clock.run(1.0)
    assert runtime.is_idle
    name = shard.service.start(runtime, 5.0)
    shard.clock.run(5.0 + LATE_S_MAX - 1.0)
    assert [running for running, _ in shard.service.list_running()] == [name]
    shard.clock.run(2.0)
    assert shard.service.memory_bytes > 0
    shard.service.list_running()
    assert await shard.files() == [name]
    assert shard.service.list_running() == []
    assert (await shard.verify(name)).ticks == 0


async def test_a_write_that_the_stop_of_the_shard_cancels_is_logged_and_counted(tmp_path: Path) -> None:
    shard = RecordedShard(tmp_path)
    runtime = shard.create(KiteField)
    shard.clock.run(1.0)
    disk = threading.Event()
    hanging = asyncio.create_task(shard.service._writer.run(disk.wait))
    await asyncio.sleep(0)
    name = shard.service.write_last(runtime, 1.0, "operator")
    await asyncio.sleep(0)
    with capture_logs() as logs:
        shard.tasks[-1].cancel()
        await asyncio.wait(shard.tasks)
    disk.set()
    await hanging
    assert [(line["event"], line["recording"]) for line in logs] == [("recording_write_failed", name)]
    assert shard.service.results == {"failed": 1}
    assert await shard.service.list_files() == []


async def test_reports_are_limited_for_each_player_and_recorded_once_for_a_room(tmp_path: Path) -> None:
    shard = RecordedShard(tmp_path)
    runtime = shard.create(KiteField)
    reports = PlayerReports(shard.service, shard.host.get, shard.clock.now_s)

    def seat(name: str) -> Seat:
        return runtime.seat(SeatRequest(RecordingSubscriber(name), name))

    ann, bob = seat("ann"), seat("bob")
    first = reports.report(ann, "before the first tick")
    assert not first.is_recorded
    shard.clock.run(61.0)
    second, third = reports.report(ann, "he walks through walls"), reports.report(bob, "he does")
    assert second.is_recorded
    assert third.is_recorded
    with pytest.raises(RateLimited, match="wait 60 s"):
        reports.report(ann, "again")
    (name,) = await shard.files()
    assert name.endswith("-report.tickrec")
    await shard.verify(name)
    shard.clock.run(60.5)
    assert reports.report(ann, "again").is_recorded
    assert len(await shard.files()) == 2
    assert reports.results == {"logged": 1, "recorded": 3, "limited": 1}
    assert msgspec.to_builtins(ReportReply("1")) == {"report_id": "1", "is_recorded": False}
