"""The players of test_all_clients.py that are programs: their command lines.

A client in another language adds a function to PROGRAMS. It builds the player and returns its command line, or raises
ClientUnavailable with the reason. tests/harness/players.py describes what a player does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.browser.conftest import ROOT
from tests.csharp import player as csharp_player
from tests.godot.player import player_command as godot_player
from tests.harness.players import ClientUnavailable

SOURCES = Path(__file__).parent / "players"


def bundle(source: str, folder: Path, *options: str) -> Path:
    """Bundle a player with the sources of the SDK."""
    esbuild = ROOT / "web" / "node_modules" / ".bin" / "esbuild"
    target = folder / source.replace(".ts", ".js")
    alias = f"--alias:tickwire={ROOT / 'web' / 'sdk' / 'src' / 'index.ts'}"
    how = ["--bundle", "--format=esm", "--target=es2022", "--log-level=warning", alias, f"--outfile={target}"]
    environment = {**os.environ, "NODE_PATH": str(ROOT / "web" / "node_modules")}
    subprocess.run(
        [str(esbuild), str(SOURCES / source), *how, *options],
        cwd=ROOT / "web",
        env=environment,
        check=True,
        timeout=60,
    )
    return target


def python_player(_: Path) -> list[str]:
    return [sys.executable, "-m", "tests.harness.python_player"]


def node_player(folder: Path) -> list[str]:
    require = "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);"
    return ["node", str(bundle("node.ts", folder, "--platform=node", f"--banner:js={require}"))]


PROGRAMS: dict[str, Callable[[Path], list[str]]] = {
    "python": python_player,
    "node": node_player,
    "csharp": csharp_player.player_command,
    "godot": godot_player,
}
"""The players that are programs: the command lines, for a folder in which they may write."""


def commands(folder: Path) -> dict[str, list[str]]:
    """Return the command lines of the players that run on this machine."""
    found = {}
    for name, command_of in PROGRAMS.items():
        try:
            found[name] = command_of(folder)
        except ClientUnavailable:
            continue  # test_client_of_each_language_can_play skips with the reason
    return found
