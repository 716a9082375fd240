"""A game that `tickwire new` has created: its tests pass, and it runs."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.harness.dev_process import dev
from tickwire.client.client import connect

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "first-game.md"
ENVIRON = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


def run_python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, **ENVIRON},
    )


def run_tests(game: Path) -> subprocess.CompletedProcess[str]:
    return run_python(game, "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(game))


def follow_guide(game: Path) -> None:
    """Add the rule and the test of docs/first-game.md: the test fails without the rule, and passes with it."""
    rule, test = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    rooms, tests = game / "rooms.py", game / "test_rooms.py"
    tests.write_text(f"{tests.read_text()}\n\n{test}")
    without_rule = run_tests(game)
    assert "1 failed, 4 passed" in without_rule.stdout, without_rule.stdout + without_rule.stderr
    end_of_tick = "    def spawn_coin"
    rooms.write_text(rooms.read_text().replace(end_of_tick, f"{rule}\n{end_of_tick}"))
    with_rule = run_tests(game)
    assert "5 passed" in with_rule.stdout, with_rule.stdout + with_rule.stderr


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read().decode())


@pytest.mark.timeout(400)  # it starts five processes, one after the other
async def test_created_game_passes_its_tests_and_runs_with_the_plain_command(tmp_path: Path) -> None:
    created = await asyncio.to_thread(run_python, tmp_path, "tickwire", "new", "gold_rush")
    assert created.returncode == 0, created.stderr
    assert created.stdout.splitlines()[-1] == "next: cd gold_rush && tickwire dev"
    game = tmp_path / "gold_rush"
    again = await asyncio.to_thread(run_python, tmp_path, "tickwire", "new", "gold_rush")
    assert again.returncode == 2
    assert again.stderr.endswith("gold_rush exists: choose another name, or move it away\n")
    tested = await asyncio.to_thread(run_tests, game)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "4 passed" in tested.stdout
    await asyncio.to_thread(follow_guide, game)
    checked = await asyncio.to_thread(run_python, game, "tickwire", "check")
    assert "rooms = ['rooms']" in checked.stdout, checked.stderr

    with dev(tmp_path / "data", cwd=game, **ENVIRON) as running:
        await running.says("players connect to")
        address = f"127.0.0.1:{running.port}"
        page = await asyncio.to_thread(fetch, f"http://{address}/")
        assert "<title>gold_rush</title>" in page
        assert 'import("./tickwire.js")' in await asyncio.to_thread(fetch, f"http://{address}/client.js")
        async with connect(f"ws://{address}") as client:
            joined = await client.join("field", options={"name": "ann"})
            await client.wait_for(lambda: len(client.world.table("coins")) == 8, timeout_s=60)
            before = client.world.table("walkers").entity(joined.entity)["x"]
            await client.send_input({"dx": 1.0})
            await client.wait_for(
                lambda: client.world.table("walkers").entity(joined.entity)["x"] > before, timeout_s=60
            )
            await client.command("say", {"words": "hello"})
