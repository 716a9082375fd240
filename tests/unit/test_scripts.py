"""The build's scripts fail when one of their commands fails."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAILING = re.compile(r"\s*(\{[^{}]*\bexit [1-9]\d*;? *\}|exit [1-9]\d*|false\b|return [1-9]\d*)")
STEPS = ("schemas-check", "lint", "image-test", "web-test", "kernel-check", "fuzz-kernel", "test-python", "test")


def shell_lines(path: Path) -> Iterator[str]:
    """Yield the commands of a file, each on one line, without comments and quoted texts."""
    text = path.read_text()
    if path.name == "package.json":
        text = "\n".join(json.loads(text).get("scripts", {}).values())
    elif path.name == "Makefile":
        text = "\n".join(line for line in re.sub(r"\\\n\s*", " ", text).splitlines() if line.startswith("\t"))
    text = re.sub(r"\\\n\s*", " ", text)
    text = re.sub(r"(&&|\|\|)[ \t]*\n\s*", r"\1 ", text)
    for line in text.splitlines():
        if not line.lstrip().startswith("#"):
            yield re.sub(r"'[^']*'|\"[^\"]*\"", "''", line)


def hidden_failures(line: str) -> list[str]:
    """Return the parts of a line where `A && B || C` turns a failure of A into whatever C returns."""
    found = []
    for part in re.split(r";|\bthen\b|\bdo\b|\(|\)", re.sub(r"\{[^{}]*\}", _group, line)):
        pairs = itertools.pairwise(part.split("||"))
        found += [part for before, after in pairs if "&&" in before and not FAILING.match(after)]
    return found


def _group(match: re.Match[str]) -> str:
    """Keep what a group ends with, and that it is one command."""
    return "{ exit 1 }" if re.search(r"\bexit [1-9]", match[0]) else "group"


def scripts() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = listed.splitlines()
    wanted = [name for name in names if Path(name).name in ("Makefile", "Dockerfile", "package.json")]
    wanted += [
        name for name in names if name.endswith(".sh") or name.startswith((".ci/", "helm/tickwire/templates/"))
    ]
    return [ROOT / name for name in wanted]


@pytest.mark.parametrize("path", scripts(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_script_hides_a_failure_behind_or(path: Path) -> None:
    for line in shell_lines(path):
        assert hidden_failures(line) == [], line


@pytest.mark.parametrize(
    ("line", "hides"),
    [
        ("pip install x && pip uninstall pip || true", True),
        ("apt-get update && apt-get install x || echo no", True),
        ("{ apt-get update && apt-get install x; } || echo no", False),
        ("npm install && npm run build || { cat log; exit 1; }", False),
        ("npm install && npm run build || exit 1", False),
        ("command -v npm || echo none", False),
        ("make a; make b || true", False),
        ("a && b", False),
    ],
)
def test_constructs_that_hide_failures_are_found(line: str, hides: bool) -> None:
    assert bool(hidden_failures(line)) == hides


def test_programs_are_looked_for_one_by_one() -> None:
    """`command -v a b` succeeds when one of them is there."""
    for path in scripts():
        for line in shell_lines(path):
            for arguments in re.findall(r"command -v ([^>&|;)]+)", line):
                assert len(arguments.split()) == 1, line


def test_recipes_stop_at_the_first_command_that_fails(tmp_path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    shell = [line for line in makefile.splitlines() if line.startswith(("SHELL", ".SHELLFLAGS"))]
    recipe = "a:\n\t@false | cat; echo continued\nb:\n\t@for one in 1 2; do false; done; echo continued\n"
    (tmp_path / "Makefile").write_text("\n".join(shell) + "\n" + recipe)
    for target in "ab":
        done = subprocess.run(["make", target], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "continued" not in done.stdout


def ci(folder: Path, failing: str = "", free_gib: int = 100) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run CI with a make, an apt-get and a df of our own; return the process and the targets that it has made."""
    log = folder / "log"
    log.touch()
    programs = {
        "make": f'echo "$1" >> {log}\n[ "$1" != "{failing}" ]',
        "apt-get": "exit 0",
        "df": f"echo Avail; echo {free_gib << 20}",
    }
    for name, lines in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{lines}\n")
        (folder / name).chmod(0o755)
    environ = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run([str(ROOT / ".ci" / "run")], env=environ, capture_output=True, text=True, check=False)
    return done, log.read_text().splitlines()


@pytest.mark.skipif(shutil.which("flatc") is None, reason="apt-get install flatbuffers-compiler")
@pytest.mark.parametrize("failing", [*STEPS, ""])
def test_ci_fails_when_one_of_its_steps_fails(failing: str, tmp_path: Path) -> None:
    done, made = ci(tmp_path, failing)
    assert (done.returncode == 0) == (failing == ""), done.stderr
    assert made == list(STEPS[: STEPS.index(failing) + 1] if failing else STEPS)


@pytest.mark.skipif(shutil.which("flatc") is None, reason="apt-get install flatbuffers-compiler")
def test_ci_without_disk_space_ends_with_a_message(tmp_path: Path) -> None:
    done, made = ci(tmp_path, free_gib=7)
    assert (done.returncode, made) == (1, [])
    assert "the tests need 8 GiB" in done.stderr
    assert "7 GiB are free" in done.stderr
