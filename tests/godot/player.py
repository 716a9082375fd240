"""The Godot client as a player: see tests/harness/players.py."""

from __future__ import annotations

from pathlib import Path

from tests.godot.scripts_project import create_scripts_project
from tests.harness.godot import GodotMissing, find_godot
from tests.harness.players import ClientUnavailable


def player_command(folder: Path) -> list[str]:
    """Create the player's project in a folder, and return its command line, without URL ROOM SECONDS NAME.

    Raises:
        ClientUnavailable: Godot is not installed.
    """
    try:
        godot = find_godot()
    except GodotMissing as error:
        raise ClientUnavailable(str(error)) from error
    project = create_scripts_project(folder / "godot")
    return [*godot, "--path", str(project), "--script", "res://scripts/player.gd", "--"]
