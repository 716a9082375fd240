"""The TypeScript SDK watches a recorded match with the calls that it has for any room."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import msgspec
import pytest

from tests.browser.conftest import ROOT
from tests.harness.shard_process import running
from tests.harness.watched_rooms import PlayedMatch, record_match
from tickwire.server.config import Settings

PROGRAM = """
import { connect } from "./sdk/dist/tickwire.js";
import WebSocket from "ws";
const client = await connect(process.argv[1], { socket: (url, protocol) => new WebSocket(url, protocol) });
const room = await client.join("arena_replay", { options: { recording: "final" } });
let status = null;
client.on("event", (event) => { if (event.name === "replay_status") status = event.payload; });
await client.command("pause");
await client.command("seek", { tick: Number(process.argv[2]) });
const ships = () => {
  const table = client.world?.table("ships");
  return table ? [...table.ids].map((id) => table.number(id, "x")) : [];
};
const wanted = JSON.parse(process.argv[3]);
await new Promise((resolve) => {
  const end = client.on("state", () => {
    const found = ships().sort((a, b) => a - b);
    if (found.length === wanted.length && found.every((x, n) => Math.abs(x - wanted[n]) < 1e-6)) { end(); resolve(); }
  });
});
console.log(JSON.stringify([room.roomType, status.tick]));
client.close();
"""


@pytest.fixture
def played(tmp_path: Path) -> PlayedMatch:
    """A recorded match in the folder of the test."""
    return record_match(tmp_path)


async def test_the_typescript_sdk_watches_a_match(
    shard_settings: Settings, built: Path, played: PlayedMatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHED_MATCHES", str(played.folder))
    places = str(sorted(x for x, _ in played.ships))
    async with running(msgspec.structs.replace(shard_settings, rooms=["tests.harness.watched_rooms"])) as shard:
        process = await asyncio.create_subprocess_exec(
            "node", "--input-type=module", "-e", PROGRAM, f"{shard.url}/", str(played.tick), places,
            cwd=ROOT / "web", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        printed, errors = await asyncio.wait_for(process.communicate(), 90)
        assert process.returncode == 0, errors.decode()
        assert msgspec.json.decode(printed) == ["arena_replay", played.tick]
