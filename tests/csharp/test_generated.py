"""The C# that is generated from the example games compiles, without warnings, and is the same for each run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.csharp.conftest import COMPILER, FLAGS, PACKAGE
from tests.harness.bazaar_rooms import Bazaar
from tests.harness.sample_rooms import Diary, Garden
from tickwire.server.codegen.csharp import generate_csharp
from tickwire.server.codegen.game_reader import read_game
from tickwire.server.game_modules import load_room_types

GAMES = ("arena", "cards", "market", "minimal", "plaza", "tag")


@pytest.mark.skipif(COMPILER is None, reason="mono is not installed")
def test_generated_code_compiles_against_the_client(tmp_path: Path) -> None:
    games = {game: load_room_types([f"tickwire.examples.{game}"]) for game in GAMES}
    games["samples"] = {room.room_type: room for room in (Bazaar, Garden, Diary)}
    for name, rooms in games.items():
        (tmp_path / f"{name}.cs").write_text(generate_csharp(read_game(rooms), f"Game.{name}"))
    sources = [*map(str, sorted(PACKAGE.glob("Runtime/**/*.cs"))), *map(str, sorted(tmp_path.glob("*.cs")))]
    command = [str(COMPILER), *FLAGS, "-target:library", f"-out:{tmp_path / 'games.dll'}", *sources]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
