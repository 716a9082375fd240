"""The tests of docs/testing.md pass; the bugs of both guides are found as they say, and fixed by their fixes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
RECORD = """
from test_relay import *

with RoomHarness(Relay, seed=8, network=Network(latency_ms=(20, 90), loss=0.05)) as room:
    room.record("match.tickrec")
    for name in ("ann", "bob", "cid"):
        room.join(name)
    room.random_play({random_input: 10, pass_the_baton: 5, leave: 0.1}, steps=100)
"""


def section(guide: str, title: str) -> tuple[list[str], str]:
    """Return the Python blocks and the indented output of a section of a guide."""
    text = (DOCS / guide).read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    rest = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return blocks, "\n".join(re.findall(r"^    (.*)$", rest, re.MULTILINE))


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run Python in a folder, and return its exit code and output."""
    environment = os.environ | {"PYTHONPATH": f"{Path(__file__).parents[2]}{os.pathsep}{folder}"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def without_numbers(line: str) -> str:
    """Return a line of a report without what a change of the engine may change."""
    return " ".join(re.sub(r"\d+", "N", line.removeprefix("E")).split())


def run_pytest(folder: Path, *arguments: str) -> tuple[int, str]:
    installed = ["-p", "no:tickwire", "-p", "tickwire.testing.pytest_plugin"]  # also where an older one is installed
    return run(folder, "-m", "pytest", "-q", *installed, "-c", os.devnull, "--rootdir", str(folder), *arguments)


def test_the_tests_of_the_guide_pass(tmp_path: Path) -> None:
    guide = (DOCS / "testing.md").read_text().partition("## A bug found by a seed")[0]
    blocks = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    assert len(blocks) == 6
    for number, block in enumerate(blocks):
        (tmp_path / f"test_{number}.py").write_text(block)
    code, output = run_pytest(tmp_path, "--tickwire-seeds", "2")
    assert code == 0, output
    assert "6 passed" in output


@pytest.fixture
def relay(tmp_path: Path) -> Path:
    """A folder with the room and the test of the guide."""
    (room, test, _), _ = section("testing.md", "A bug found by a seed")
    (tmp_path / "relay.py").write_text(room)
    (tmp_path / "test_relay.py").write_text(test)
    return tmp_path


def fix(folder: Path) -> None:
    """Apply the fix of the guide."""
    (room, _, fixed), _ = section("testing.md", "A bug found by a seed")
    broken = room[room.index("    def on_leave") : room.index("    def on_input")]
    (folder / "relay.py").write_text(room.replace(broken, f"{fixed}\n"))


def test_a_seed_finds_the_lost_baton_and_the_choices_that_it_needs(relay: Path) -> None:
    _, printed = section("testing.md", "A bug found by a seed")
    code, output = run_pytest(relay, "test_relay.py", "--tickwire-shrink-s", "600")
    assert code == 1, output
    found = [without_numbers(line) for line in output.splitlines()]
    for line in printed.splitlines():
        if line.startswith("E  "):
            assert without_numbers(line) in found
    assert "the failure needs 3 of" in output
    fix(relay)
    code, output = run_pytest(relay, "test_relay.py")
    assert code == 0, output


def test_a_recording_finds_the_lost_baton_and_becomes_a_test(relay: Path) -> None:
    (test,), printed = section("recordings.md", "A bug found by a recording")
    code, output = run(relay, "-c", RECORD)
    assert code == 0, output
    command, *lines = printed.splitlines()
    condition = command.partition('"')[2].partition('"')[0]
    _, output = run(
        relay,
        "-m",
        "tickwire",
        "replay",
        "match.tickrec",
        "--rooms",
        "relay",
        "--bisect",
        condition,
        "--show",
        "runners",
    )
    for line in lines:
        if "bytes" not in line and "build" not in line:
            assert line.strip() in output
    (relay / "test_recorded.py").write_text(test)
    code, output = run_pytest(relay, "test_recorded.py")
    assert code == 1, output
    tick = re.search(r"It fails in tick (\d+)", (DOCS / "recordings.md").read_text())
    assert tick is not None
    assert f"AssertionError: tick {tick[1]}" in output
    fix(relay)
    code, output = run_pytest(relay, "test_recorded.py")
    assert code == 0, output
