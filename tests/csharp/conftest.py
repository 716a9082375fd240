"""Builds the test program of the C# client with mono, once per session. Tests are skipped if mono is missing."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import shard_settings

__all__ = ["shard_settings"]  # a fixture of those tests, used here, too

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "clients" / "csharp"
COMPILER = shutil.which("mcs")
RUNTIME = shutil.which("mono")
SOURCES = ("Runtime", "Tests~")
FLAGS = ("-langversion:latest", "-nologo", "-warnaserror+", "-warn:4", "-r:System.Net.Http")


def sources() -> list[str]:
    """Return the paths of the client and its tests. Unity's editor and samples need Unity."""
    return [str(path) for folder in SOURCES for path in sorted((PACKAGE / folder).rglob("*.cs"))]


def run(program: Path, *arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """Run the test program with the repository's root and further arguments."""
    return subprocess.run(
        [str(RUNTIME), str(program), str(ROOT), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def build(folder: Path) -> Path:
    """Compile the test program, unless the folder has it. Warnings are errors."""
    built = folder / "Tickwire.Tests.exe"
    with (folder / "csharp.lock").open("w") as lock:  # the workers of one run share the folder
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            command = [str(COMPILER), *FLAGS, f"-out:{built}", *sources()]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
    return built


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled test program."""
    if COMPILER is None or RUNTIME is None:
        pytest.skip("mono is not installed: apt-get install mono-mcs mono-runtime libmono-cil-dev")
    folder = tmp_path_factory.getbasetemp()
    return build(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder)
