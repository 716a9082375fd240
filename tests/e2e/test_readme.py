"""The README's room and client run as they are printed."""

from __future__ import annotations

import asyncio
import importlib
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.harness.shard_process import running
from tickwire.server.config import Settings

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


async def test_smallest_room_and_client_of_the_readme_run(
    shard_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room, client = BLOCKS
    address = "ws://127.0.0.1:8080"
    assert address in client
    (tmp_path / "readme_squares.py").write_text(room.replace('"field"', '"readme-field"'))
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    async with running(msgspec.structs.replace(shard_settings, rooms=["readme_squares"])) as shard:
        program = client.replace('"field"', '"readme-field"').replace(address, shard.url)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), 90)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert (process.returncode, output.decode().strip()) == (0, "{'x': 1.0}")
