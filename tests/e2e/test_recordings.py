"""Recordings of a running shard: a room that fails, an operator's request, a player's report, and a full disk."""

from __future__ import annotations

import asyncio
import stat
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from tests.harness.polling import eventually
from tests.harness.sample_rooms import ROOMS
from tests.harness.shard_process import OPERATIONS_TOKEN, admin, running, scrape
from tickwire.client.client import Client, CommandFailed, connect
from tickwire.schemas.report import REPORT_CHARACTERS_MAX, REPORT_COMMAND
from tickwire.server.cli.app import app
from tickwire.server.config import Settings
from tickwire.server.recording.reader import Recording
from tickwire.server.recording.replay import Replay, ReplayReport
from tickwire.server.recording_settings import RecordingSettings
from tickwire.server.shard import Shard

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def recording_shard(shard_settings: Settings, tmp_path: Path) -> AsyncIterator[Shard]:
    """A shard that writes recordings into the folder of the test."""
    recordings = RecordingSettings(directory=str(tmp_path / "recordings"), write_timeout_s=60.0)
    async with running(msgspec.structs.replace(shard_settings, recordings=recordings)) as shard:
        yield shard


async def ask(shard: Shard, method: str, path: str, body: Any = None) -> Any:
    return await admin(shard.parts.operations.port, method, path, body)


async def download(shard: Shard, name: str) -> bytes:
    """Wait until a recording is complete, and download it."""

    async def is_complete() -> bool:
        return any(one["name"] == name and one["is_complete"] for one in await ask(shard, "GET", "/recordings"))

    await eventually(is_complete, what=f"{name} is complete")
    url = f"http://127.0.0.1:{shard.parts.operations.port}/v1/recordings/{name}"
    headers = {"Authorization": f"Bearer {OPERATIONS_TOKEN}"}
    async with aiohttp.ClientSession(headers=headers) as session, session.get(url) as answer:
        assert (answer.status, answer.content_type) == (200, "application/octet-stream")
        return await answer.read()


def verify(data: bytes, room_type: str) -> ReplayReport:
    report = Replay(Recording(data), ROOMS[room_type]).verify()
    assert report.is_equal, report
    return report


async def play(client: Client, ticks: int) -> None:
    """Send inputs until the room has completed this number of ticks."""
    for _ in range(ticks):
        await client.send_input({"dx": 0.5})
        await client.wait_for(partial(is_after, client, client.world.tick))


def is_after(client: Client, tick: int) -> bool:
    return client.world.tick > tick


# -- failures --------------------------------------------------------------------------------------------------------


async def test_a_room_that_fails_leaves_a_recording_whose_replay_fails_in_the_same_tick(
    recording_shard: Shard,
) -> None:
    async with connect(recording_shard.url) as client:
        room_id = (await client.join("duel")).room_id
        await play(client, 30)
        await client.command("plant", x=3.0, count=2)
        await play(client, 5)
        with capture_logs() as lines:
            await client.send_input({"is_bad": 1.0})
            await client.wait_for(lambda: client.core.joined is None)
            (error,) = await ask(recording_shard, "GET", f"/room-errors?room_id={room_id}")
            report = verify(await download(recording_shard, error["recording"]), "duel")
    assert report.failure is not None
    assert (report.failure.hook, report.failure.error) == ("on_input", "RuntimeError")
    assert report.last_tick == error["tick"]
    assert report.ticks > 20
    (written,) = [line for line in lines if line["event"] == "recording_written"]
    assert (written["recording"], written["trigger"]) == (error["recording"], "failure")
    assert room_id in written["recording"]
    folder = Path(recording_shard.settings.recordings.directory)
    assert stat.S_IMODE((folder / error["recording"]).stat().st_mode) == 0o600


async def test_a_disk_that_cannot_be_written_is_logged_and_counted_and_the_rooms_run_on(
    shard_settings: Settings, tmp_path: Path
) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("no directory can be created below a file")
    recordings = RecordingSettings(directory=str(blocked / "recordings"), write_timeout_s=60.0)
    settings = msgspec.structs.replace(shard_settings, recordings=recordings)
    async with running(settings) as shard, connect(shard.url) as client:
        await client.join("duel")
        await play(client, 10)
        with capture_logs() as lines:
            assert (await client.report("it lags")).is_recorded
            await eventually(lambda: shard.parts.recordings.results["failed"] == 1)
        assert [line["event"] for line in lines if line["log_level"] == "error"] == ["recording_write_failed"]
        await play(client, 10)
        metrics = await asyncio.to_thread(scrape, shard.parts.operations.port)
    assert metrics['tickwire_recordings_total{result="failed"}'] == 1


# -- operators -------------------------------------------------------------------------------------------------------


async def test_an_operator_downloads_the_last_seconds_and_what_follows(recording_shard: Shard) -> None:
    async with connect(recording_shard.url) as client:
        room_id = (await client.join("duel")).room_id
        await play(client, 30)
        last = await ask(recording_shard, "POST", f"/rooms/{room_id}/record", {"last_s": 5})
        following = await ask(recording_shard, "POST", f"/rooms/{room_id}/record", {"seconds": 1})
        assert (last["trigger"], following["is_complete"]) == ("operator", False)
        listed = {one["name"] for one in await ask(recording_shard, "GET", "/recordings")}
        assert following["name"] in listed
        await play(client, 30)
        before = verify(await download(recording_shard, last["name"]), "duel")
        after = verify(await download(recording_shard, following["name"]), "duel")
    assert before.ticks > 20
    assert after.ticks == 20
    assert after.first_tick == before.last_tick


async def test_a_recording_of_what_follows_ends_with_its_room(recording_shard: Shard) -> None:
    async with connect(recording_shard.url) as client:
        room_id = (await client.join("duel")).room_id
        await play(client, 5)
        recording = await ask(recording_shard, "POST", f"/rooms/{room_id}/record", {"seconds": 600})
        await play(client, 5)
        await ask(recording_shard, "POST", f"/rooms/{room_id}/close", {})
        assert verify(await download(recording_shard, recording["name"]), "duel").ticks >= 5


async def test_the_command_records_a_room_and_stores_the_file(recording_shard: Shard, tmp_path: Path) -> None:
    file = tmp_path / "match.tickrec"
    config = tmp_path / "tickwire.toml"
    config.write_text(f'[operations]\nport = {recording_shard.parts.operations.port}\ntoken = "{OPERATIONS_TOKEN}"\n')
    async with connect(recording_shard.url) as client:
        room_id = (await client.join("duel")).room_id
        await play(client, 20)

        def invoke(*arguments: str) -> Any:
            options = ["--config", str(config), "--output", str(file)]
            return CliRunner().invoke(app, ["record", *arguments, *options])

        result = await asyncio.to_thread(invoke, room_id, "--last", "3")
        assert result.exit_code == 0, result.output
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        verify(file.read_bytes(), "duel")
        replayed = ["replay", str(file), "--rooms", "tests.harness.sample_rooms", "--verify"]
        # In a process of its own: the command sets the log level of its process.
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "tickwire", *replayed, cwd=ROOT)
        async with asyncio.timeout(120):
            assert await process.wait() == 0
        assert "File exists" in (await asyncio.to_thread(invoke, room_id)).output
        assert "does not exist" in (await asyncio.to_thread(invoke, "none")).output


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", "/rooms/none/record", {}, 404, "does not exist"),
        ("POST", "/rooms/none/record", {"last_s": 0}, 400, "last_s"),
        ("POST", "/rooms/none/record", {"seconds": 1e9}, 400, "seconds"),
        ("GET", "/recordings/..%2F..%2Fetc%2Fpasswd", None, 404, "does not exist"),
        ("GET", "/recordings/none.tickrec", None, 404, "does not exist"),
    ],
)
async def test_wrong_requests_are_refused_with_a_reason(
    recording_shard: Shard, method: str, path: str, body: Any, status: int, words: str
) -> None:
    found, message = await ask(recording_shard, method, path, body)
    assert found == status
    assert words in message


async def test_a_shard_without_a_directory_records_nothing_and_says_so(shard: Shard) -> None:
    async with connect(shard.url) as client:
        room_id = (await client.join("duel")).room_id
        await play(client, 3)
        for body in ({}, {"seconds": 1}):
            status, message = await ask(shard, "POST", f"/rooms/{room_id}/record", body)
            assert (status, "recordings.directory is not set" in message) == (400, True)
        assert await ask(shard, "GET", "/recordings") == []
        assert not (await client.report("it lags")).is_recorded
        runtime = shard.parts.host.get(room_id)
        assert runtime is not None
        assert runtime.recorder is None


# -- players ---------------------------------------------------------------------------------------------------------


async def test_a_report_is_logged_and_recorded_and_the_room_never_sees_it(recording_shard: Shard) -> None:
    async with connect(recording_shard.url) as client, connect(recording_shard.url) as other:
        room_id = (await client.join("diary")).room_id
        assert (await other.join("diary")).room_id == room_id
        await play(client, 20)
        with capture_logs() as lines:
            reply = await client.report("he walks through walls")
            with pytest.raises(CommandFailed, match="wait"):
                await client.report("again")
            second = await other.report("he walks through walls")
        runtime = recording_shard.parts.host.get(room_id)
        assert runtime is not None
        assert "walls" not in str(runtime.room.runs)  # type: ignore[attr-defined]
        assert (reply.is_recorded, second.is_recorded) == (True, True)
        reports = [line for line in lines if line["event"] == "player_reported"]
        assert [line["report_id"] for line in reports] == [reply.report_id, second.report_id]
        assert reports[0]["reason"] == "he walks through walls"
        assert reports[0]["recording"] == reports[1]["recording"], "one file in half a minute"
        report = verify(await download(recording_shard, reports[0]["recording"]), "diary")
    assert report.ticks > 10
    assert recording_shard.parts.reports.results == {"recorded": 2, "limited": 1}


@pytest.mark.parametrize(
    "payload", [None, {}, {"reason": ""}, {"reason": "x" * (REPORT_CHARACTERS_MAX + 1)}, {"reason": 7}, "text"]
)
async def test_a_report_with_an_invalid_reason_is_refused(recording_shard: Shard, payload: Any) -> None:
    async with connect(recording_shard.url) as client:
        await client.join("duel")
        with pytest.raises(CommandFailed, match=REPORT_COMMAND):
            await client.command(REPORT_COMMAND, payload)
    assert recording_shard.parts.reports.results.total() == 0
