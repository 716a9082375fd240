"""Runs the test cases of the GDScript client: all of them in one process of Godot, which takes a second to start.

A file in tests/godot/cases extends test_case.gd. Each of its functions `test_*` is a case. A function `vector_*` with
a comment `# vectors: PATTERN` on the line before it is called with the path of each file that matches the pattern.
"""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import subprocess
from pathlib import Path

import msgspec

from tests.harness.client_vectors import create_vectors
from tests.harness.godot_differential import create_changed

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "godot" / "cases"
ADDON = ROOT / "clients" / "godot" / "addons" / "tickwire"
RUN_S_MAX = 200
"""For all cases, on an overloaded machine."""
SCRIPT_S_MAX = 90
_TEST = re.compile(r"^func (test_\w+)\(\)", re.MULTILINE)
_VECTORS = re.compile(r"^# vectors: (\S+)\nfunc (vector_\w+)\(", re.MULTILINE)
_PROJECT = '[application]\n\nconfig/name="Tickwire tests"\n'


class GodotCase(msgspec.Struct, frozen=True):
    """One case.

    Args:
        name: its name in reports.
        script: its file in tests/godot/cases.
        function: its function.
        path: the vector, if it has one.
    """

    name: str
    script: str
    function: str
    path: str = ""


class GodotResult(msgspec.Struct, frozen=True):
    """The result of one case; `failures` has a line for each check that failed."""

    name: str
    failures: tuple[str, ...]


def list_cases() -> list[GodotCase]:
    """Return all cases, without starting Godot."""
    cases: list[GodotCase] = []
    for script in sorted(CASES.glob("*_test.gd")):
        text = script.read_text()
        cases += [GodotCase(f"{script.stem}::{function}", script.name, function) for function in _TEST.findall(text)]
        for pattern, function in _VECTORS.findall(text):
            for path in sorted(ROOT.glob(pattern)):
                name = f"{script.stem}::{function}::{path.relative_to(ROOT)}"
                cases.append(GodotCase(name, script.name, function, str(path)))
    return cases


def run_cases(godot: list[str], folder: Path) -> dict[str, GodotResult]:
    """Run all cases once, and return their results by name. Processes that share the folder share the run.

    Args:
        godot: the command that starts Godot.
        folder: for the project and the results.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        output = folder / "results.jsonl"
        if not output.exists():
            output.write_text(_run(godot, folder / "project"))
    results = [msgspec.json.decode(line, type=GodotResult) for line in output.read_text().splitlines()]
    return {result.name: result for result in results}


def create_project(folder: Path) -> None:
    """Create a project with the addon and the cases."""
    shutil.copytree(ADDON, folder / "addons" / "tickwire")
    shutil.copytree(CASES, folder / "cases")
    (folder / "project.godot").write_text(_PROJECT)


def run_script(godot: list[str], project: Path, script: str, *arguments: str, timeout_s: float = SCRIPT_S_MAX) -> str:
    """Run a script of a project, and return its output; both streams. The script must end the process.

    A script that cannot be loaded, or whose function ends with an error, does not: the last line then says so.
    """
    home = project.parent / "home"
    home.mkdir(exist_ok=True)
    command = [*godot, "--path", str(project), "--script", script, "--", *arguments]
    environment = {"HOME": str(home), "XDG_DATA_HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    with (project / "output.txt").open("w+") as output:
        try:
            subprocess.run(
                command,
                check=False,  # the output has the reason
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired:
            output.write(f"\nERROR: {script} did not end within {timeout_s:g} s\n")
        output.seek(0)
        return output.read()


def _run(godot: list[str], project: Path) -> str:
    shutil.rmtree(project, ignore_errors=True)  # of a test process that was stopped
    create_project(project)
    cases = list_cases()
    (project / "plan.json").write_text(json.dumps(msgspec.to_builtins(cases)))
    (project / "vectors.json").write_text(json.dumps(create_vectors()))
    golden = [
        path
        for path in (ROOT / "schemas" / "golden").rglob("*.json")
        if path.stem not in ("acknowledgements", "authentication")
    ]
    (project / "changed.json").write_text(json.dumps(create_changed(golden)))
    output = run_script(godot, project, "res://cases/run_cases.gd", timeout_s=RUN_S_MAX)
    results = project / "results.jsonl"
    text = results.read_text() if results.exists() else ""
    done = {msgspec.json.decode(line, type=GodotResult).name for line in text.splitlines()}
    lines = [text]
    for case in cases:
        if case.name not in done:
            missing = GodotResult(case.name, (f"the case did not run; Godot reported:\n{output[-4000:]}",))
            lines.append(msgspec.json.encode(missing).decode() + "\n")
    return "".join(lines)
