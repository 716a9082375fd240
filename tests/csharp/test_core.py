"""The tests of the C# client, each as a test of its own: they run in one program, which prints a line for each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.csharp.conftest import PACKAGE, run

NAME = re.compile(r'new Test\("([^"]+)"( \+ name)?')
SEQUENCES = re.compile(r"Sequences =\s*\{([^}]*)\}")


def _names() -> list[str]:
    names: list[str] = []
    for path in sorted((PACKAGE / "Tests~").glob("*.cs")):
        text = path.read_text()
        for name, is_prefix in NAME.findall(text):
            if is_prefix:
                names += [name + each for each in re.findall(r'"(\w+)"', SEQUENCES.findall(text)[0])]
            else:
                names.append(name)
    return names


@pytest.fixture(scope="session")
def results(program: Path) -> dict[str, str]:
    """The line of each test by its name."""
    done = run(program, "run")
    lines = re.split(r"^(?=ok |FAIL )", done.stdout, flags=re.MULTILINE)
    return {re.sub(r"^(ok|FAIL) ", "", line.split(": Tickwire")[0].strip()): line for line in lines if line}


@pytest.mark.parametrize("name", _names())
def test_csharp(results: dict[str, str], name: str) -> None:
    line = results.get(name) or next((line for line in results.values() if line.startswith(f"FAIL {name}:")), "")
    assert line.startswith(f"ok {name}"), line or f"the program did not run {name!r}: {list(results)}"


def test_the_program_runs_the_tests_in_its_sources(program: Path) -> None:
    done = run(program, "list")
    assert sorted(done.stdout.splitlines()) == sorted(_names())
