"""`tickwire replay --serve` as a process: it prints its address, serves the recording, and ends with Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.harness.arena_recordings import TICKS, record_arena
from tickwire.server.viewer.server import PAGE

ROOT = Path(__file__).parents[2]
WAIT_S = 120
ROOMS = ("--rooms", "tickwire.examples.arena")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recordings") / "arena.tickrec"
    path.write_bytes(record_arena(pilots=3).data)
    return path


async def read_url(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(WAIT_S):
        async for line in process.stdout:
            if line.startswith(b"http://127.0.0.1:"):
                return line.decode().strip()
    raise AssertionError("the command has ended without a URL")


@pytest.mark.skipif(not (PAGE / "index.html").is_file(), reason="the page is not built: make web")
async def test_the_command_serves_a_recording_until_ctrl_c(recording: Path) -> None:
    command = [sys.executable, "-m", "tickwire", "replay", str(recording), *ROOMS, "--serve"]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    try:
        url = await read_url(process)
        timeout = aiohttp.ClientTimeout(WAIT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            async with session.get(f"{url}api/recording") as response:
                assert (await response.json())["last_tick"] == TICKS
            async with session.get(f"{url}api/states?from=7&to=7") as response:
                assert (await response.json())[0]["tick"] == 7
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), WAIT_S) == 0
    finally:
        if process.returncode is None:
            process.kill()


ENDLESS_ROOMS = """
from tickwire.examples import arena


class Arena(arena.Arena):
    def on_tick(self, dt):
        super().on_tick(dt)
        while self.tick == 30:
            if not is_reported:
                print("endless", flush=True)
                is_reported.append(True)


is_reported = []
ROOMS = [Arena]
"""


@pytest.mark.skipif(not (PAGE / "index.html").is_file(), reason="the page is not built: make web")
async def test_ctrl_c_ends_the_command_while_the_code_of_the_game_never_returns(
    recording: Path, tmp_path: Path
) -> None:
    (tmp_path / "endless_rooms.py").write_text(ENDLESS_ROOMS)
    command = [sys.executable, "-m", "tickwire", "replay", str(recording), "--rooms", "endless_rooms", "--serve"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, env=environ, stdout=asyncio.subprocess.PIPE
    )
    try:
        url = await read_url(process)
        assert process.stdout is not None
        async with aiohttp.ClientSession() as session:
            request = asyncio.create_task(session.get(f"{url}api/states?from=40&to=40"))
            assert await asyncio.wait_for(process.stdout.readline(), WAIT_S) == b"endless\n"
            process.send_signal(signal.SIGINT)
            assert await asyncio.wait_for(process.wait(), WAIT_S) == 0
            with pytest.raises(aiohttp.ClientError):
                await request
    finally:
        if process.returncode is None:
            process.kill()


@pytest.mark.parametrize(
    ("content", "rooms", "problem"),
    [
        (b"no recording", ROOMS, "the file is not a recording of a room"),
        (None, ("--rooms", "tickwire.examples.cards"), "no room has the type 'arena'"),
    ],
)
def test_a_file_that_cannot_be_replayed_is_refused_with_a_line(
    recording: Path, tmp_path: Path, content: bytes | None, rooms: tuple[str, str], problem: str
) -> None:
    path = recording
    if content is not None:
        path = tmp_path / "other.tickrec"
        path.write_bytes(content)
    command = [sys.executable, "-m", "tickwire", "replay", str(path), *rooms, "--serve"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert done.returncode != 0
    assert problem in done.stderr
    assert len(done.stderr.splitlines()) == 1
