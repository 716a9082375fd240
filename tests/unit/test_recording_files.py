"""The directory of recordings, the names of its files, and the thread that writes them."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import stat
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from tickwire.server.errors import Unavailable
from tickwire.server.recording.recording_directory import TEMPORARY_ENDING, RecordingDirectory
from tickwire.server.recording.recording_names import Trigger, create_name, is_name, trigger_of
from tickwire.server.recording.recording_writer import JOBS_MAX, RecordingWriter


def name_at(second: int, trigger: Trigger = "failure") -> str:
    return create_name(1_800_000_000 + second, "arena", "room-1", 7, trigger)


def test_names_sort_by_time_and_name_the_room_the_tick_and_the_trigger() -> None:
    first, second = name_at(1), name_at(2, "report")
    assert first < second
    assert first.endswith("-arena-room-1-t7-failure.tickrec")
    assert (trigger_of(first), trigger_of(second), trigger_of("mine.tickrec")) == ("failure", "report", "operator")


@pytest.mark.parametrize("text", ["../../etc/passwd", "/", "a/b", "\x00", "ñ" * 300, "", ".", "t1-report.tickrec"])
def test_names_of_any_room_are_names_of_files(text: str) -> None:
    name = create_name(0.5, text, text, 1, "operator")
    assert is_name(name)
    assert Path(name).name == name
    assert trigger_of(name) == "operator"


@pytest.mark.parametrize(
    "text",
    [
        *("../a.tickrec", "a/../b.tickrec", "/etc/passwd", ".hidden.tickrec", "a.tickrec\n", "a.tickrec/", "a", ""),
        *("a\x00.tickrec", "b" * 300 + ".tickrec", "..tickrec", "a.tickrec/.."),
    ],
)
def test_a_text_that_could_leave_the_directory_is_no_name(text: str, tmp_path: Path) -> None:
    assert not is_name(text)
    with pytest.raises(LookupError, match="does not exist"):
        RecordingDirectory(tmp_path, 1 << 20).read(text)


def test_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    directory = RecordingDirectory(tmp_path / "new" / "recordings", 1 << 20)
    assert directory.list_files() == []
    assert directory.write(name_at(1), [b"abc", b"de"]) == 5
    (file,) = directory.list_files()
    assert (file.name, file.size) == (name_at(1), 5)
    assert directory.read(file.name) == b"abcde"
    assert stat.S_IMODE((directory.path / file.name).stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700


def test_what_is_no_file_is_neither_listed_nor_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("token")
    directory = RecordingDirectory(tmp_path / "recordings", 1 << 20)
    directory.write(name_at(1), [b"a"])
    (directory.path / name_at(2)).symlink_to(secret)
    os.mkfifo(directory.path / name_at(3))
    (directory.path / name_at(4)).mkdir()
    assert [file.name for file in directory.list_files()] == [name_at(1)]
    open_before = len(os.listdir("/dev/fd"))
    for name in (name_at(2), name_at(3), name_at(4)):
        with pytest.raises(LookupError):
            directory.read(name)
    assert len(os.listdir("/dev/fd")) == open_before


def test_the_oldest_files_are_removed_until_a_new_one_fits(tmp_path: Path) -> None:
    directory = RecordingDirectory(tmp_path, 100)
    for second in range(5):
        directory.write(name_at(second), [b"x" * 40])
        assert sum(file.size for file in directory.list_files()) <= 100
    assert [file.name for file in directory.list_files()] == [name_at(4), name_at(3)]
    with pytest.raises(OSError, match="exceeds") as caught:
        directory.write(name_at(6), [b"x" * 101])
    assert caught.value.errno == errno.EFBIG
    assert len(directory.list_files()) == 2


def test_reports_of_players_do_not_remove_the_recordings_of_failures(tmp_path: Path) -> None:
    directory = RecordingDirectory(tmp_path, 100)
    directory.write(name_at(0), [b"x" * 40])
    for second in range(1, 20):
        directory.write(name_at(second, "report"), [b"x" * 20])
    names = [file.name for file in directory.list_files()]
    assert names == [name_at(19, "report"), name_at(18, "report"), name_at(0)]


def test_a_disk_without_space_raises_an_error_and_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    directory = RecordingDirectory(tmp_path, 1 << 30)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, limits[1]))  # as a full disk, for files that are larger
    try:
        with pytest.raises(OSError, match="too large"):
            directory.write(name_at(1), [b"a" * 1024] * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_temporary_files_of_ended_processes_are_removed_and_those_of_others_stay(tmp_path: Path) -> None:
    directory = RecordingDirectory(tmp_path, 1 << 20)
    old, new = (tmp_path / f".{name}.1{TEMPORARY_ENDING}" for name in (name_at(1), name_at(2)))
    old.write_bytes(b"a")
    new.write_bytes(b"a")
    os.utime(old, (0, 0))
    directory.write(name_at(3), [b"b"])
    assert not old.exists()
    assert new.exists()


async def test_the_thread_returns_results_and_exceptions() -> None:
    writer = RecordingWriter(60.0)
    assert await writer.run(lambda: threading.current_thread().name) == "write recordings"
    with pytest.raises(LookupError, match="nothing"):
        await writer.run(lambda: {}["nothing"])
    assert await writer.run(lambda: 1) == 1
    writer.stop()
    writer.stop()


async def test_a_thread_that_cannot_start_is_started_by_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    writer, written = RecordingWriter(60.0), []

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(Unavailable, match="cannot start"):
            await writer.run(lambda: written.append("first"))
    await writer.run(lambda: written.append("second"))
    assert written == ["second"]
    writer.stop()


async def test_a_disk_that_hangs_is_given_up_at_the_deadline_and_blocks_nothing() -> None:
    writer, released, started = RecordingWriter(0.05), threading.Event(), threading.Event()
    written: list[int] = []

    def hang() -> None:
        started.set()
        released.wait(60)

    try:
        while not started.is_set():  # the thread of a busy machine may start after the deadline
            with pytest.raises(Unavailable, match="within"):
                await writer.run(hang)
        results = await asyncio.gather(
            *(writer.run(lambda: written.append(1)) for _ in range(JOBS_MAX + 1)), return_exceptions=True
        )
        assert all(isinstance(result, Unavailable) for result in results)
        assert any("waiting" in str(result) for result in results)
    finally:
        released.set()
    ended = threading.Event()
    while not ended.is_set():
        with suppress(Unavailable):
            await writer.run(ended.set)
    assert written == []  # what was given up while it was queued is never written
    writer.stop()
