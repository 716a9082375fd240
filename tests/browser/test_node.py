"""The built package in Node, with the package `ws`, against a real shard: requests are answered or given back."""

from __future__ import annotations

import asyncio
import importlib
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.browser.conftest import ROOT
from tests.harness.polling import eventually
from tests.harness.shard_process import ShardProcess, admin, running, with_short_lease
from tests.harness.tokens import AUTH, token_of
from tickwire.client.client import connect
from tickwire.server.config import Settings
from tickwire.server.shard import Shard

HEAD = """
import { connect } from "./sdk/dist/tickwire.js";
import WebSocket from "ws";
const socket = (url, protocol) => new WebSocket(url, protocol);
const open = (options = {}) => connect(process.argv[1], { socket, ...options });
const print = (value) => console.log(JSON.stringify(value));
const lines = process.stdin[Symbol.asyncIterator]();
"""


class NodeProgram:
    """A Node program that prints lines of JSON, and continues on request."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def printed(self) -> Any:
        """Return the next line."""
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 60)
        assert line, await self._complaints()
        return msgspec.json.decode(line)

    def proceed(self) -> None:
        """Continue a program that waits for `lines.next()`."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")

    async def ended(self) -> None:
        """Return once the program has ended by itself, without an error."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert await asyncio.wait_for(self._process.wait(), 60) == 0, await self._complaints()

    async def _complaints(self) -> str:
        assert self._process.stderr is not None
        return (await self._process.stderr.read()).decode()


@asynccontextmanager
async def node(shard: Shard | ShardProcess, program: str) -> AsyncIterator[NodeProgram]:
    process = await asyncio.create_subprocess_exec(
        "node", "--input-type=module", "-e", HEAD + program, f"{shard.url}/",
        cwd=ROOT / "web", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield NodeProgram(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_events_received_with_the_seat_reach_listeners_added_after_the_join(
    shard_settings: Settings, built: Path
) -> None:
    program = """
const client = await open();
await client.join("garden");
const { name } = await new Promise((resolve) => client.on("event", resolve));
print(name);
client.close();
"""
    async with running(shard_settings) as shard, node(shard, program) as client:
        assert await client.printed() == "came"
        await client.ended()


async def test_three_hundred_commands_at_once_are_run_and_answered_once_each_through_a_cut(
    shard_settings: Settings, built: Path
) -> None:
    program = """
const client = await open();
await client.join("diary");
const answers = Array.from({ length: 300 }, (_, at) => client.command("note", at));
await answers[150];
client.drop();
print((await Promise.all(answers)).map(([payload]) => payload));
print([client.resumes, client.sessionsLost]);
await lines.next();
client.close();
"""
    async with running(shard_settings) as shard, node(shard, program) as client:
        assert await client.printed() == list(range(300))
        assert await client.printed() == [1, 0]
        (simulation,) = shard.parts.host
        assert sorted(simulation.room.runs) == list(range(300))  # type: ignore[attr-defined]
        client.proceed()
        await client.ended()


async def test_error_of_another_request_ends_no_match_and_close_releases_its_position(
    shard_settings: Settings, built: Path
) -> None:
    program = """
const client = await open();
await client.join("garden");
let ended = "";
client.match("trios").catch((error) => { ended = error.name; });
for (let count = 0; count < 300; count++) client.sendInput({ dx: 0 });
const refused = await client.join("garden").then(() => "", (error) => error.code);
print([refused, ended]);
await lines.next();
client.close();
"""
    async with running(shard_settings) as shard, node(shard, program) as client:

        async def waiting(count: int) -> bool:
            status = await admin(shard.parts.operations.port, "GET", "/queues/trios")
            return bool(status["waiting"] == count)

        assert await client.printed() == ["OUT_OF_ORDER", ""]
        await eventually(lambda: waiting(1))
        client.proceed()
        await eventually(lambda: waiting(0), what="close leaves the queue, long before the resume window is over")
        await eventually(lambda: sum(len(simulation.seats) for simulation in shard.parts.host) == 0)
        await client.ended()


async def test_abandoned_match_request_releases_its_queue_position(shard_settings: Settings, built: Path) -> None:
    program = """
const client = await open();
print(await client.match("trios", {}, 6000).then(() => "", (error) => error.message));
await lines.next();
client.close();
"""
    async with running(shard_settings) as shard, node(shard, program) as client:

        async def waiting(count: int) -> bool:
            status = await admin(shard.parts.operations.port, "GET", "/queues/trios")
            return bool(status["waiting"] == count)

        await eventually(lambda: waiting(1))
        assert await client.printed() == "no match was found within 6 s"
        await eventually(lambda: waiting(0))
        client.proceed()
        await client.ended()


async def test_a_message_above_the_limit_is_refused_locally_and_the_session_stays(
    shard_settings: Settings, built: Path
) -> None:
    program = """
const client = await open();
await client.join("garden");
print(await client.command("plant", { x: "x".repeat(20_000) }).then(() => "", (error) => error.name));
print([await client.command("planted"), client.state, client.resumes]);
client.close();
"""
    async with running(shard_settings) as shard, node(shard, program) as client:
        assert await client.printed() == "MessageTooLarge"
        assert await client.printed() == [0, "connected", 0]
        await client.ended()


async def test_join_that_is_redirected_to_a_dead_shard_ends_with_a_seat(
    shard_settings: Settings, built: Path, tmp_path: Path
) -> None:
    program = """
const client = await open();
let room;
while (!room) {
  room = await client.join("garden", { name: "far" }).catch((error) => {
    if (!error.isRetryable) throw error;
  });
  await new Promise((resolve) => setTimeout(resolve, 200));
}
print([room.roomName, client.url === process.argv[1]]);
client.close();
"""
    shards = [ShardProcess(with_short_lease(shard_settings), tmp_path) for _ in range(2)]
    try:
        for shard in shards:
            await shard.ready()
        async with connect(shards[0].url) as bot:
            await bot.join("garden", name="far")
            (dead,) = (shard for shard in shards if bot.url == shard.url)
            (survivor,) = (shard for shard in shards if shard is not dead)
            dead.kill()
        async with node(survivor, program) as client:
            assert await client.printed() == ["far", True]
            await client.ended()
    finally:
        for shard in shards:
            shard.kill()


CALENDAR = """
from datetime import UTC, datetime
from tickwire import Room

class Calendar(Room):
    room_type = "calendar"

    def on_join(self, player, options):
        player.send("now", {"at": datetime(2024, 1, 1, 12, 30, 15, 250_000, tzinfo=UTC)})

    def on_command(self, player, name, payload):
        return [type(payload).__name__, payload]

ROOMS = {"calendar": Calendar}
"""


async def test_dates_pass_in_events_replies_and_commands(
    shard_settings: Settings, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = """
const client = await open();
await client.join("calendar");
const { payload } = await new Promise((resolve) => client.on("event", resolve));
const [kind, same] = await client.command("echo", new Date("1969-07-20T20:17:40.500Z"));
print([payload.at instanceof Date, payload.at, kind, same instanceof Date, same]);
client.close();
"""
    (tmp_path / "calendar_rooms.py").write_text(CALENDAR)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    settings = msgspec.structs.replace(shard_settings, rooms=["calendar_rooms"])
    async with running(settings) as shard, node(shard, program) as client:
        assert await client.printed() == [
            True, "2024-01-01T12:30:15.250Z", "datetime", True, "1969-07-20T20:17:40.500Z",
        ]  # fmt: skip
        await client.ended()


async def test_a_listener_that_throws_stops_nothing(shard_settings: Settings, built: Path) -> None:
    program = """
const client = await open();
const reported = [];
client.on("error", ({ event, error }) => reported.push(`${event}: ${error.message}`));
client.on("joined", () => { throw new Error("a mistake of the game"); });
await client.join("garden");
print([await client.command("planted"), reported]);
client.close();
"""
    async with running(shard_settings) as shard, node(shard, program) as client:
        assert await client.printed() == [0, ["joined: a mistake of the game"]]
        await client.ended()


async def test_guest_logs_in_and_the_client_renews_the_token(shard_settings: Settings, built: Path) -> None:
    program = """
let isGuest = true;
const client = await open({ token: () => (isGuest ? "" : NEW) });
await client.join("bank");
print(await client.authenticate("nonsense").catch((error) => error.code));
print(await client.authenticate(FIRST));
isGuest = false;
await lines.next();
client.drop();
await new Promise((resolve) => client.on("reconnected", resolve));
print([client.resumes, client.sessionsLost, client.room !== null]);
await lines.next();
client.close();
"""
    settings = msgspec.structs.replace(shard_settings, auth=AUTH)
    async with running(settings) as shard:
        tokens = f"const FIRST = {token_of('ann', ttl_s=8)!r}, NEW = {token_of('ann')!r};\n"
        async with node(shard, tokens + program) as client:
            assert await client.printed() == "UNAUTHORIZED"
            assert await client.printed() == "ann"
            counters = shard.parts.edge.counters
            await eventually(lambda: counters.authentications == {"unauthorized": 1, "adopted": 1, "renewed": 1})
            client.proceed()
            assert await client.printed() == [1, 0, True]
            assert [session.player_id for session in shard.parts.edge.registry] == ["ann"]
            client.proceed()
            await client.ended()
