"""Which files and modules of a game a reload notices and imports again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tickwire.examples.minimal
from tickwire.server.dev.code_watch import GameCode
from tickwire.server.errors import ConfigError
from tickwire.server.game_modules import load_room_types

GAME = """
from reloaded_rules import RATE
from tickwire import Room

class Quarry(Room):
    room_type = "quarry"
    tick_rate_hz = RATE

ROOMS = [Quarry]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "reloaded_rules.py").write_text("RATE = 10\n")
    (tmp_path / "reloaded_game.py").write_text(GAME)
    load_room_types(["reloaded_game"])
    yield tmp_path
    for name in ("reloaded_game", "reloaded_rules"):
        sys.modules.pop(name, None)


def test_changes_of_all_python_files_of_the_game_are_found_once(folder: Path) -> None:
    code = GameCode(["reloaded_game"])
    assert code.find_changes() == []
    (folder / "reloaded_rules.py").write_text("RATE = 2000\n")
    (folder / "notes.txt").write_text("not code")
    (folder / "new.py").write_text("")
    for name in (".venv", "node_modules", "__pycache__"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "library.py").write_text("")
    (folder / "env").mkdir()
    (folder / "env" / "pyvenv.cfg").write_text("")
    (folder / "env" / "library.py").write_text("")
    assert code.find_changes() == [folder / "new.py", folder / "reloaded_rules.py"]
    assert code.find_changes() == []
    (folder / "new.py").unlink()
    assert code.find_changes() == [folder / "new.py"]


def test_all_modules_of_the_game_are_imported_again(folder: Path) -> None:
    code = GameCode(["reloaded_game"])
    before = sys.modules["reloaded_game"].Quarry
    (folder / "reloaded_rules.py").write_text("RATE = 20\n")
    found = code.import_rooms()
    assert found["quarry"].tick_rate_hz == 20
    assert found["quarry"] is not before
    assert sys.modules["reloaded_game"].Quarry is found["quarry"]


@pytest.mark.parametrize("text", ["RATE = = 1\n", "import no_such_module\n", "raise SystemExit\n", "RATE = -1\n"])
def test_old_modules_stay_if_the_new_ones_are_invalid(folder: Path, text: str) -> None:
    code = GameCode(["reloaded_game"])
    before = {name: sys.modules[name] for name in ("reloaded_game", "reloaded_rules")}
    (folder / "reloaded_rules.py").write_text(text)
    with pytest.raises(ConfigError, match=r"cannot be loaded|needs 'no_such_module'"):
        code.import_rooms()
    assert {name: sys.modules[name] for name in before} == before


@pytest.mark.parametrize("has_init", [True, False])
@pytest.mark.parametrize("line", ["from reloaded_package.rules import RATE", "from reloaded_package import rules"])
def test_modules_of_a_package_are_found_and_imported_again(
    has_init: bool, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    package = tmp_path / "reloaded_package"
    package.mkdir()
    if has_init:
        (package / "__init__.py").write_text("")
    (package / "rules.py").write_text("RATE = 10\n")
    text = GAME.replace("from reloaded_rules import RATE", line)
    (package / "rooms.py").write_text(text.replace("= RATE", "= rules.RATE") if "import rules" in line else text)
    try:
        load_room_types(["reloaded_package.rooms"])
        code = GameCode(["reloaded_package.rooms"])
        assert code.folders == (package,)
        (package / "rules.py").write_text("RATE = 20  # changed\n")
        assert code.find_changes() == [package / "rules.py"]
        assert code.import_rooms()["quarry"].tick_rate_hz == 20
    finally:
        for name in [name for name in sys.modules if name.startswith("reloaded_package")]:
            del sys.modules[name]


def test_an_example_of_tickwire_is_reloaded_without_the_server() -> None:
    name = "tickwire.examples.minimal"
    module, host = sys.modules[name], sys.modules["tickwire.server.rooms.room"]
    code = GameCode([name])
    assert code.folders == (Path(str(tickwire.examples.minimal.__file__)).parent,)
    loaded = {each: sys.modules[each] for each in sys.modules if each.startswith("tickwire.examples.")}
    try:
        assert set(code.import_rooms()) == {"field"}
        assert sys.modules[name] is not module
        assert sys.modules["tickwire.server.rooms.room"] is host
    finally:
        sys.modules.update(loaded)
