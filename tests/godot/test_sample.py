"""The sample project: it loads without errors, plays in the arena, and its generated code is current."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from tests.e2e.conftest import shard_settings
from tests.godot.scripts_project import SCRIPTS, errors_in, import_project, run_lines
from tests.harness.godot_cases import ROOT
from tests.harness.shard_process import running
from tickwire.server.codegen.game_reader import read_game
from tickwire.server.codegen.gdscript import generate_gdscript
from tickwire.server.config import Settings
from tickwire.server.game_modules import load_room_types

__all__ = ["shard_settings"]  # a fixture, used here

SAMPLE = ROOT / "clients" / "godot"


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A copy of the sample project, with the scripts of these tests."""
    project = tmp_path / "sample"
    shutil.copytree(SAMPLE, project, ignore=shutil.ignore_patterns(".godot"))
    shutil.copytree(SCRIPTS, project / "scripts")
    return project


def test_generated_code_of_the_sample_is_current() -> None:
    made = generate_gdscript(read_game(load_room_types(["tickwire.examples.arena"])))
    assert (SAMPLE / "arena" / "rooms.gd").read_text() == made, "run `make godot-types`"


def test_sample_is_imported_by_the_editor_without_errors(godot: list[str], sample: Path) -> None:
    output = import_project(godot, sample)
    assert errors_in(output) == [], output


async def test_sample_plays_in_the_arena(godot: list[str], sample: Path, shard_settings: Settings) -> None:
    settings = msgspec.structs.replace(shard_settings, rooms=["tickwire.examples.arena"])
    async with running(settings) as shard:
        lines, output = await run_lines(godot, sample, "play_arena.gd", f"--server={shard.url}/", "--name=ann")
    assert errors_in(output) == [], output
    (line,) = lines
    arena = line["arena"]
    assert arena["moved"] > 30
    assert arena["error"] < 15, "the predicted ship is ahead of the world by the inputs in flight"
    assert arena["bullets"] >= 1
    assert arena["names"] == ["ann"]
    assert arena["status"].startswith("1 ships")
    assert arena["lines"] == ["ann: hello"]
