"""The code of `tickwire codegen gdscript` in Godot: it is parsed, converts values, and plays in a room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import shard, shard_settings
from tests.godot.scripts_project import create_scripts_project, errors_in, run_lines
from tests.harness.bazaar_rooms import Bazaar
from tests.harness.sample_rooms import ROOMS as SAMPLE_ROOMS
from tests.harness.sample_rooms import Garden
from tests.unit.test_codegen_gdscript import Toolbox
from tickwire.server.codegen.game_reader import read_game
from tickwire.server.codegen.gdscript import generate_gdscript
from tickwire.server.game_modules import load_room_types
from tickwire.server.shard import Shard

__all__ = ["shard", "shard_settings"]  # fixtures, used here

EXAMPLES = ("arena", "cards", "market", "minimal", "plaza", "tag")


@pytest.fixture
def generated(tmp_path: Path) -> Path:
    """A project with generated code in the folder `generated`."""
    project = create_scripts_project(tmp_path)
    folder = project / "generated"
    folder.mkdir()
    for name in EXAMPLES:
        api = read_game(load_room_types([f"tickwire.examples.{name}"]))
        (folder / f"{name}.gd").write_text(generate_gdscript(api))
    games: dict[str, dict[str, Any]] = {
        "bazaar": {"grand-bazaar": Bazaar},
        "garden": {"garden": Garden},
        "sample": SAMPLE_ROOMS,
        "toolbox": {"2 tools": Toolbox},
    }
    for name, rooms in games.items():
        (folder / f"{name}.gd").write_text(generate_gdscript(read_game(rooms)))
    return project


async def test_generated_code_is_parsed_and_converts_values(godot: list[str], generated: Path) -> None:
    lines, output = await run_lines(godot, generated, "generated.gd")
    assert errors_in(output) == [], output
    values = {key: value for line in lines for key, value in line.items()}
    assert values["loaded"] == sorted(path.name for path in (generated / "generated").glob("*.gd"))
    assert values["received"] == {
        "item": "sword",
        "part": "hilt",
        "default": "gold",
        "booth": [1.0, 2.0],
        "gift": "ann",
        "is_gift": True,
        "amount": 2.0,
        "listings": 2,
        "next": None,
        "broken": [],
        "gold": "gold",
    }
    part = {"item": "hilt", "price": 0, "currency": "gold"}
    assert values["sent"] == {
        "listing": {"item": "sword", "price": 5, "currency": "gold", "parts": [part]},
        "inputs": {"walk": 0.5},
        "options": {},
        "room_type": "grand-bazaar",
    }


async def test_generated_room_plays(godot: list[str], generated: Path, shard: Shard) -> None:
    lines, output = await run_lines(godot, generated, "typed_room.gd", f"{shard.url}/")
    assert errors_in(output) == [], output
    (typed,) = [line["typed"] for line in lines]
    id = typed.pop("id")
    assert typed == {
        "refused": [None, "COMMAND_FAILED"],
        "flower": 7.5,
        "walker": 1.0,
        "missing": [0.0, 0],
        "ids": [id],
    }
