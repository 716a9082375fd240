"""A C# program that is started again continues its session: the same entity, and commands that run once."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import msgspec

from tests.csharp.conftest import ROOT, RUNTIME
from tests.harness.shard_process import running
from tickwire.server.config import Settings


async def play(program: Path, url: str, file: Path) -> list[str]:
    """Run the program, and return the words of its line."""
    process = await asyncio.create_subprocess_exec(
        *(str(RUNTIME), str(program), str(ROOT), "restart", url, str(file)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, said.decode()
    return said.decode().split()


async def test_a_program_that_is_started_again_continues_its_session(
    program: Path, shard_settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "session.json"
    settings = msgspec.structs.replace(shard_settings, rooms=["tests.harness.playground_rooms"])
    async with running(settings) as shard:
        first = await play(program, f"{shard.url}/", file)
        second = await play(program, f"{shard.url}/", file)
        stored = json.loads(file.read_text())
        file.write_text(json.dumps(stored | {"player": "another"}))
        third = await play(program, f"{shard.url}/", file)
    entity = first[1]
    assert first == ["joined", entity, "1", "0"]
    assert second == ["resumed", entity, "2", "1"]
    assert third[0] == "joined"
    assert third[1] != entity, "a session of another player is not used"
