"""The commands for stored data, run as an operator runs them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from tests.harness.dev_process import run_command
from tests.harness.polling import eventually
from tests.harness.shard_process import running
from tickwire.client.client import connect
from tickwire.client.errors import CommandFailed
from tickwire.server.config import Settings
from tickwire.server.shard import Shard
from tickwire.server.storage import VERSION

Command = Callable[..., Awaitable[subprocess.CompletedProcess[str]]]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def tickwire(shard_settings: Settings) -> Command:
    """Run a command on the tests' database."""

    async def run(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        environ = {
            "TICKWIRE__MONGO__URL": shard_settings.mongo.url,
            "TICKWIRE__MONGO__DATABASE": shard_settings.mongo.database,
        }
        return await asyncio.to_thread(run_command, *arguments, given=given, **environ)

    return run


async def test_shard_waits_until_the_database_is_migrated(shard_settings: Settings, tickwire: Command) -> None:
    by_hand = msgspec.structs.replace(shard_settings.mongo, migrate=False)
    shard = Shard(msgspec.structs.replace(shard_settings, mongo=by_hand))
    await shard.start()
    try:
        wanted = f"the database is at schema version 0; this build needs {VERSION}: run tickwire migrate-db"
        await eventually(lambda: shard.parts.health.reasons.get("mongo") == wanted)
        done = await tickwire("migrate-db")
        assert (done.returncode, done.stdout) == (0, f"migrated: step {', '.join(map(str, range(1, VERSION + 1)))}\n")
        await eventually(lambda: shard.parts.health.is_ready, 15)
        assert (await tickwire("migrate-db")).stdout == "the database is up to date\n"
    finally:
        await shard.stop()


async def test_world_and_player_are_exported_and_imported(shard_settings: Settings, tickwire: Command) -> None:
    async with running(shard_settings) as shard, connect(shard.url) as gardener, connect(shard.url) as earner:
        await gardener.join("garden", name="home")
        await gardener.command("plant", {"x": 7.0})
        await earner.join("estate", name="home")
        for _ in range(3):
            await earner.command("work")
        rooms = {simulation.room.room_type: simulation.room for simulation in shard.parts.host}
        (player,) = rooms["estate"].players
        await eventually(lambda: shard.parts.write_behind.saves > 1 and len(shard.parts.write_behind) == 0)
        world = await tickwire("export", "world", "garden/home")
        assert world.returncode == 0, world.stderr
        person = await tickwire("export", "player", player)
        assert person.stdout.count("\n") == 5, "the header, the player, three entries"

        await gardener.command("plant", {"x": 8.0})
        refused = await tickwire("import", "-", given=world.stdout)
        assert (refused.returncode, refused.stderr) == (
            1,
            "tickwire: world garden/home exists already: use --replace to replace it\n",
        )
        done = await tickwire("import", "-", "--replace", given=world.stdout)
        assert (done.returncode, done.stdout) == (0, "imported garden/home\n")
        # The shard that ran the world is fenced off at its next save, and its player finds the imported world.
        with suppress(CommandFailed, TimeoutError):
            await gardener.command("plant", {"x": 9.0})
        await gardener.wait_for(lambda: gardener.resumes == 1 and gardener.is_connected, 15)
        await gardener.wait_for(lambda: gardener.world.table("flowers").column("x").tolist() == [7.0])

    forgotten = await tickwire("delete-player", player)
    assert (forgotten.returncode, forgotten.stdout) == (
        0,
        "1 players, 3 ledger entries, 0 sessions, 0 other documents\n",
    )
    done = await tickwire("import", "-", given=person.stdout)
    assert (done.returncode, done.stdout) == (0, f"imported {player}\n")
    again = await tickwire("export", "player", player)
    assert '"gold": {"$numberInt": "3"}' in again.stdout.splitlines()[1]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("export", "world", "garden"), 2, "tickwire: requires `world TYPE/NAME` or `player ID`"),
        (("export", "thing", "a/b"), 2, "tickwire: requires `world TYPE/NAME` or `player ID`"),
        (
            ("export", "world", "garden/nowhere"),
            1,
            "tickwire: world garden/nowhere does not exist: it was never saved",
        ),
        (("export", "player", "missing"), 1, "tickwire: player 'missing' does not exist: it was never saved"),
        (("import", "-"), 1, "tickwire: the lines are not a valid export"),
    ],
)
async def test_failed_export_or_import_prints_one_sentence(
    tickwire: Command, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    done = await tickwire(*arguments)
    assert done.returncode == code
    assert done.stderr.startswith(sentence)
    assert done.stderr.count("\n") == 1


def test_unreachable_mongodb_is_reported_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKWIRE__MONGO__DEADLINE_S", "1.5")
    done = subprocess.run(
        [sys.executable, "-m", "tickwire", "migrate-db"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, "TICKWIRE__MONGO__URL": "mongodb://127.0.0.1:1/?directConnection=true"},
    )
    assert done.returncode == 1
    assert done.stderr.startswith(
        "tickwire: MongoDB at 127.0.0.1:1 cannot be used: 127.0.0.1:1: [Errno 111] Connection"
    )
