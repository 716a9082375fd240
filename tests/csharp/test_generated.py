"""The C# that is generated from games compiles without warnings, and reads and writes the values of the wire."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
import pytest

from tests.csharp.conftest import COMPILER, FLAGS, PACKAGE, RUNTIME
from tests.harness.bazaar_rooms import Bazaar, Currency, Listing
from tests.harness.sample_rooms import Diary, Garden
from tickwire import Player, Room, command
from tickwire.server.codegen.csharp import generate_csharp
from tickwire.server.codegen.game_reader import read_game
from tickwire.server.game_modules import load_room_types


class Wares(msgspec.Struct):
    by_level: dict[int, str]
    equals: int


class Names(Room):
    """Has names that generated code could use itself, and types that are rare."""

    room_type = "names"

    @command
    def invite(self, player: Player, room: str, v0: list[int], get_type: int = 0) -> dict[str, list[int]]:
        return {}

    @command
    def sell(self, player: Player, wares: Wares, prices: dict[int, list[int]]) -> tuple[int]:
        return (0,)


GAMES = ("arena", "cards", "market", "minimal", "plaza", "tag")

pytestmark = pytest.mark.skipif(COMPILER is None or RUNTIME is None, reason="mono is not installed")


def compile_with_client(target: Path, *options: str, sources: list[Path]) -> None:
    """Compile sources together with the client. Warnings are errors."""
    paths = [*sorted(PACKAGE.glob("Runtime/**/*.cs")), *sources]
    command = [str(COMPILER), *FLAGS, *options, f"-out:{target}", *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_generated_code_compiles_against_the_client(tmp_path: Path) -> None:
    games = {game: load_room_types([f"tickwire.examples.{game}"]) for game in GAMES}
    games["samples"] = {room.room_type: room for room in (Bazaar, Garden, Diary, Names)}
    for name, rooms in games.items():
        (tmp_path / f"{name}.cs").write_text(generate_csharp(read_game(rooms), f"Game.{name}"))
    compile_with_client(tmp_path / "games.dll", "-target:library", sources=sorted(tmp_path.glob("*.cs")))


def test_generated_classes_read_and_write_the_values_of_the_wire(tmp_path: Path) -> None:
    types = tmp_path / "Bazaars.cs"
    types.write_text(generate_csharp(read_game({"grand-bazaar": Bazaar}), "Bazaars"))
    program = tmp_path / "program.exe"
    compile_with_client(program, sources=[types, Path(__file__).with_name("generated_program.cs")])
    done = subprocess.run([str(RUNTIME), str(program)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    written, *lines, options, error = done.stdout.splitlines()
    listing = msgspec.msgpack.decode(bytes.fromhex(written), type=Listing)
    assert listing == Listing("sword", 9, Currency.GEMS, [Listing("hilt", 2)])
    assert lines == [
        "sword 9 Gems hilt",
        "False False",
        "Unknown",
        "1.5 2 2026-01-02",
        "1 2",
        "ann",
        "False",
        "True",
    ]
    name, _, packed = options.partition(" ")
    assert (name, msgspec.msgpack.decode(bytes.fromhex(packed))) == ("lobby", {"nickname": "ann", "season": "spring"})
    assert error == "price: expected an integer, not String"
