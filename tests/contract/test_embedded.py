"""The stores of `tickwire dev`, as real child processes: each has its folder alone, and ends with its parent."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.dev_process import is_alive
from tests.harness.polling import eventually
from tests.harness.store_process import fill_disk, small_disk
from tickwire.server.dev import local_stores as embedded
from tickwire.server.dev.child_process import LOG_BYTES_MAX, EmbeddedError

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys, time
from pathlib import Path
from tickwire.server.dev import local_stores as embedded
services = embedded.start(Path(sys.argv[1]), with_mongo=sys.argv[2] == "both")
print(*services.pids.values(), flush=True)
time.sleep(600)
"""


@contextmanager
def holder(folder: Path, which: str = "redis") -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """Run another process that uses the folder. Yield it and the ids of its stores."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), which], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    try:
        yield process, [int(pid) for pid in process.stdout.readline().split()]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_directory_in_use_is_refused_with_the_process_id(tmp_path: Path) -> None:
    with holder(tmp_path) as (process, _):
        with pytest.raises(
            EmbeddedError, match=rf"redis is in use by process {process.pid}: stop it, or use another"
        ):
            embedded.start(tmp_path, with_mongo=False)
        assert process.poll() is None


async def test_stores_end_with_a_killed_parent_and_release_their_directory(tmp_path: Path) -> None:
    with holder(tmp_path, "both") as (process, pids):
        assert len(pids) == 2
        process.kill()
        process.wait()
        # At once: the stores of the killed one are still writing their last.
        services = await asyncio.to_thread(embedded.start, tmp_path)
        try:
            assert not any(map(is_alive, pids))
            services.check()
        finally:
            await asyncio.to_thread(services.stop)


def test_stale_lock_file_locks_nothing(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / "lock").write_text(str(os.getppid()))
    with embedded.running(tmp_path, with_mongo=False) as services:
        services.check()


@pytest.mark.parametrize("which", ["redis", "mongo"])
def test_a_port_that_was_taken_after_it_was_chosen_is_chosen_again(
    which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = iter([taken.getsockname()[1], embedded.free_port()])
        monkeypatch.setattr(embedded, "free_port", lambda: next(ports))
        with embedded.running(tmp_path, with_redis=which == "redis", with_mongo=which == "mongo") as services:
            services.check()
            assert len(services.pids) == 1


def test_child_whose_parent_was_killed_early_exits() -> None:
    never = subprocess.run([sys.executable, "-c", "print('runs')"], preexec_fn=embedded.end_with(1), check=False)
    assert never.returncode == 1
    done = subprocess.run([sys.executable, "-c", "pass"], preexec_fn=embedded.end_with(os.getpid()), check=False)
    assert done.returncode == 0


async def test_ended_store_is_reported_with_its_log(tmp_path: Path) -> None:
    with embedded.running(tmp_path, with_mongo=False) as services:
        os.kill(services.pids["redis-server"], signal.SIGKILL)
        with pytest.raises(EmbeddedError, match=r"redis-server has ended with exit code -9; see .*redis\.log"):
            await eventually(lambda: services.check() is not None)  # type: ignore[func-returns-value]


def test_reason_of_an_ended_store_is_read_from_its_last_run(tmp_path: Path) -> None:
    folder = tmp_path / "mongo"
    folder.mkdir()
    (folder / "mongod.log").write_text("DBPathInUse: of an earlier run\n")
    (folder / "storage.bson").write_bytes(b"damaged")
    with pytest.raises(EmbeddedError, match="mongod ended during its start"):
        embedded.start(tmp_path, with_redis=False)


def test_large_log_is_rotated(tmp_path: Path) -> None:
    folder = tmp_path / "redis"
    folder.mkdir()
    with (folder / "redis.log").open("wb") as log:
        log.truncate(LOG_BYTES_MAX + 1)
    with embedded.running(tmp_path, with_mongo=False):
        assert (folder / "redis.log").stat().st_size < LOG_BYTES_MAX
        assert (folder / "redis.log.1").stat().st_size > LOG_BYTES_MAX


@pytest.mark.parametrize("which", ["redis", "mongo"])
def test_full_disk_is_reported_in_one_sentence(which: str, tmp_path: Path) -> None:
    disk = small_disk(tmp_path / "disk", 1)
    try:
        disk.__enter__()
    except OSError:
        pytest.skip("this user cannot mount a file system")
    try:
        fill_disk(tmp_path / "disk" / "filler")
        with pytest.raises(EmbeddedError, match=r"space"):
            embedded.start(tmp_path / "disk", with_redis=which == "redis", with_mongo=which == "mongo")
    finally:
        disk.__exit__(None, None, None)


def test_unwritable_directory_is_reported_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(EmbeddedError, match=r"the folder .*file/redis cannot be written: Not a directory"):
        embedded.start(tmp_path / "file")
