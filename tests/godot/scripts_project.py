"""A project of Godot with the addon, its autoload and scripts, and the lines that a script prints."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.harness.godot_cases import RUN_S_MAX, create_project, run_script

SCRIPTS = Path(__file__).parent / "scripts"
_AUTOLOAD = '\n[autoload]\n\nTickwire="*res://addons/tickwire/tickwire.gd"\n'


def create_scripts_project(folder: Path) -> Path:
    """Create the project, and return its folder."""
    project = folder / "project"
    create_project(project)
    shutil.copytree(SCRIPTS, project / "scripts")
    with (project / "project.godot").open("a") as file:
        file.write(_AUTOLOAD)
    return project


async def run_lines(
    godot: list[str], project: Path, script: str, *arguments: str
) -> tuple[list[dict[str, Any]], str]:
    """Run a script; return its lines of JSON, and its whole output."""
    output = await asyncio.to_thread(run_script, godot, project, f"res://scripts/{script}", *arguments)
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")], output


def errors_in(output: str) -> list[str]:
    """Return the errors that Godot reported."""
    return [line for line in output.splitlines() if "ERROR" in line or "Parse Error" in line]


def import_project(godot: list[str], project: Path) -> str:
    """Open a project as the editor does, which reads all scenes, scripts and pictures; return the output."""
    home = project.parent / "home"
    home.mkdir(exist_ok=True)
    environment = {"HOME": str(home), "XDG_DATA_HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    result = subprocess.run(
        [*godot, "--path", str(project), "--import"],
        check=False,  # the output has the reason
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=RUN_S_MAX,
    )
    return result.stdout
