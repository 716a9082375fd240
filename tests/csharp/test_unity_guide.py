"""Runs the .NET program of docs/unity.md on a server, and compiles its script for Unity, both without changes."""

from __future__ import annotations

import asyncio
import importlib
import re
import subprocess
from pathlib import Path

import msgspec
import pytest

from tests.csharp.conftest import COMPILER, FLAGS, PACKAGE, ROOT, RUNTIME
from tests.harness.polling import eventually
from tests.harness.shard_process import running
from tickwire.server.codegen.csharp import generate_csharp
from tickwire.server.codegen.game_reader import read_game
from tickwire.server.config import Settings
from tickwire.server.game_modules import load_room_types

GUIDE = (ROOT / "docs" / "unity.md").read_text()
ROOM = (ROOT / "docs" / "clients.md").read_text()

pytestmark = pytest.mark.skipif(COMPILER is None or RUNTIME is None, reason="mono is not installed")


def block(text: str, language: str, contained: str) -> str:
    """The code of that language that contains a text."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return next(code for code in blocks if contained in code)


def compile_guide(
    folder: Path, code: str, target: str, *options: str, folders: tuple[str, ...] = ("Runtime",)
) -> Path:
    """Compile a block with the types of the guide's room, as the page says."""
    types = generate_csharp(read_game(load_room_types(["squares"])), "Squares")
    (folder / "Squares.cs").write_text(types)
    (folder / "Guide.cs").write_text(code)
    sources = [str(path) for each in folders for path in sorted((PACKAGE / each).rglob("*.cs"))]
    made = folder / target
    command = [str(COMPILER), *FLAGS, *options, f"-out:{made}", *sources, *map(str, folder.glob("*.cs"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.fixture
def squares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with the guide's room."""
    (tmp_path / "squares.py").write_text(block(ROOM, "python", "class SquareField"))
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    return tmp_path


async def test_the_square_of_the_guide_moves(squares: Path, shard_settings: Settings) -> None:
    program = compile_guide(squares, block(GUIDE, "csharp", "class Program"), "program.exe")
    async with running(msgspec.structs.replace(shard_settings, rooms=["squares"])) as shard:
        process = await asyncio.create_subprocess_exec(
            str(RUNTIME), str(program), f"{shard.url}/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        said, _ = await asyncio.wait_for(process.communicate(), 90)
        place = re.fullmatch(r"the square is at (\S+), 200\n", said.decode())
        assert place is not None, said
        assert float(place[1]) > 300
        await eventually(lambda: len(shard.parts.sessions) == 0, 5.0)  # CloseAsync has ended the session
    assert process.returncode == 0


def test_the_script_of_the_guide_compiles(squares: Path) -> None:
    script = block(GUIDE, "csharp", "class SquareGame")
    options = ("-target:library", "-define:UNITY_5_3_OR_NEWER")
    compile_guide(squares, script, "script.dll", *options, folders=("Runtime", "UnityStandIns~"))


def test_the_account_of_the_guide_compiles(squares: Path) -> None:
    compile_guide(squares, block(GUIDE, "csharp", "class Player"), "account.dll", "-target:library")
