"""Runs the scripts of docs/godot.md without changes, in the room of the guide."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import msgspec
import pytest

from tests.e2e.conftest import shard_settings
from tests.godot.scripts_project import create_scripts_project, errors_in, run_lines
from tests.harness.godot_cases import ROOT
from tests.harness.shard_process import running
from tickwire.server.codegen.game_reader import read_game
from tickwire.server.codegen.gdscript import generate_gdscript
from tickwire.server.config import Settings
from tickwire.server.game_modules import load_room_types

__all__ = ["shard_settings"]  # a fixture, used here

NAMES = ("square", "calls", "signals", "world", "prediction", "typed", "restart", "account")


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / "docs" / document).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the scripts of the guide and the types of its room, which can be imported as `squares`."""
    (tmp_path / "squares.py").write_text(
        next(code for code in blocks("clients.md", "python") if "SquareField" in code)
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    project = create_scripts_project(tmp_path)
    (project / "guide").mkdir()
    for name, code in zip(NAMES, blocks("godot.md", "gdscript"), strict=True):
        (project / "guide" / f"{name}.gd").write_text(code)
    (project / "rooms.gd").write_text(generate_gdscript(read_game(load_room_types(["squares"]))))
    return project


async def test_scripts_of_the_guide_play(godot: list[str], guide: Path, shard_settings: Settings) -> None:
    async with running(msgspec.structs.replace(shard_settings, rooms=["squares"])) as shard:
        lines, output = await run_lines(godot, guide, "guide.gd", f"{shard.url}/")
    assert errors_in(output) == [], output
    values = {key: value for line in lines for key, value in line.items()}
    assert values["loaded"] == sorted(f"{name}.gd" for name in NAMES)
    assert values["square"] > 250
    predicted, confirmed = values["prediction"]
    assert predicted == 15
    assert confirmed == pytest.approx(15, abs=0.2)
    assert "1 squares, mine at 200" in output
    assert "reconnecting: dropped" in output
    assert "here again: true" in output
    assert values["restarted"] == [1, "field"]
