"""The sources of the C# client: the core stands alone, and uses nothing that ahead-of-time compilers lack."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.csharp.conftest import COMPILER, FLAGS, PACKAGE

CORE = sorted((PACKAGE / "Runtime" / "Core").glob("*.cs"))
FORBIDDEN = {
    "reflection, which stripped builds lack": r"System\.Reflection|\bActivator\.|\btypeof\(|\bEnum\.",
    "code that is made at run time": r"\bdynamic\b|Expression<|System\.Linq|\.Emit\b",
    "unsafe code, which Unity compiles only with a setting": r"\bunsafe\b|\bstackalloc\b",
    "clocks, threads and sockets, which the caller provides": (
        r"DateTime\.(Utc)?Now|Stopwatch|System\.(Threading|Net|IO)\b|Environment\."
    ),
    "the engine": r"UnityEngine|Godot",
}


@pytest.mark.parametrize("why", FORBIDDEN)
def test_the_core_does_not_use(why: str) -> None:
    found = [
        f"{path.name}: {line.strip()}"
        for path in CORE
        for line in path.read_text().splitlines()
        if re.search(FORBIDDEN[why], line.split("//")[0])
    ]
    assert CORE
    assert not found


def test_the_core_compiles_without_the_other_parts(tmp_path: Path) -> None:
    if COMPILER is None:
        pytest.skip("mono is not installed: apt-get install mono-mcs mono-runtime libmono-cil-dev")
    command = [COMPILER, *FLAGS, "-target:library", f"-out:{tmp_path / 'Core.dll'}", *map(str, CORE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_files_and_lines_stay_short() -> None:
    for path in [*CORE, *(PACKAGE / "Tests~").glob("*.cs")]:
        lines = path.read_text().splitlines()
        assert max(map(len, lines)) <= 140, path
        assert len(lines) <= 400, path
