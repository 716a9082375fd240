"""A game's modules are loaded from files; each mistake in them is one sentence that says where it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tickwire.server.errors import ConfigError
from tickwire.server.game_modules import load_modes, load_room_types

Write = Callable[..., list[str]]
GARDEN = """
from tickwire import Room
class Garden(Room):
    room_type = "garden"
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write modules, and return their names."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write_modules(*sources: str) -> list[str]:
        names = [f"game_{tmp_path.name}_{number}".replace("-", "_") for number in range(len(sources))]
        for name, source in zip(names, sources, strict=True):
            (tmp_path / f"{name}.py").write_text(source.replace("FIRST", names[0]))
        return names

    yield write_modules
    for name in [name for name in sys.modules if name.startswith(f"game_{tmp_path.name}".replace("-", "_"))]:
        del sys.modules[name]


@pytest.mark.parametrize("rooms", ['{"garden": Garden}', "[Garden]", "(Garden,)", "{Garden}", "iter([Garden])"])
def test_rooms_are_a_dict_or_a_list(write: Write, rooms: str) -> None:
    found = load_room_types(write(f"{GARDEN}\nROOMS = {rooms}"))
    assert [(name, room.__name__) for name, room in found.items()] == [("garden", "Garden")]


def test_room_offered_by_two_modules_is_hosted_once(write: Write) -> None:
    modules = write(f"{GARDEN}\nROOMS = [Garden]", "from FIRST import Garden\nROOMS = [Garden]")
    assert list(load_room_types(modules)) == ["garden"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("", "has no ROOMS"),
        (f"{GARDEN}\nROOMS = Garden", r"the ROOMS of 'game_\w+' are a type; must be a list"),
        (f"{GARDEN}\nROOMS = 'garden'", "are a str; must be a list"),
        (f"{GARDEN}\nROOMS = 5", "are a int; must be a list"),
        (f"{GARDEN}\nROOMS = [Garden, 5]", "hold 5, which is not a subclass of Room"),
        (f"{GARDEN}\nROOMS = {{'garden': 'Garden'}}", "hold 'Garden', which is not a subclass of Room"),
        (
            f"{GARDEN}\nROOMS = {{'lawn': Garden}}",
            r"call game_\w+\.Garden 'lawn', but its room_type is 'garden'",
        ),
        (f"{GARDEN}\nclass Bare(Room): ...\nROOMS = [Bare]", r"game_\w+\.Bare has no room_type"),
        (
            f"{GARDEN}\nclass Other(Garden): ...\nROOMS = [Garden, Other]",
            r"game_\w+\.Garden and game_\w+\.Other have one room_type, 'garden'",
        ),
        ("import sys\nsys.no_such_thing", r"AttributeError: .*no_such_thing.* \(.*game_\w+\.py, line 2\)"),
        ("x = (", r"cannot be loaded: SyntaxError"),
        ("raise SystemExit(3)", r"cannot be loaded: SystemExit: 3 \(.*line 1\)"),
        ("raise ValueError('two\\nlines')", r"ValueError: two lines"),
        ("import no_such_module.inner", r"the module 'game_\w+' needs 'no_such_module', which cannot be found"),
        (
            f"{GARDEN}\nclass Bad(Room):\n    max_players = 0\n",
            r"TypeError: Bad\.max_players is 0; .*game_\w+\.py, line 6\)",
        ),
    ],
)
def test_mistake_in_a_module_is_reported_in_a_sentence(write: Write, source: str, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"^rooms: .*{words}") as raised:
        load_room_types(write(source))
    assert "\n" not in str(raised.value)


def test_two_rooms_with_one_type_are_refused(write: Write) -> None:
    modules = write(f"{GARDEN}\nROOMS = [Garden]", f"{GARDEN}\nROOMS = {{'garden': Garden}}")
    with pytest.raises(ConfigError, match=r"^rooms: game_\w+_0\.Garden and game_\w+_1\.Garden have one room_type"):
        load_room_types(modules)


@pytest.mark.parametrize("name", ["no_such_game", "no_such_game.rooms", "tests.no_such_rooms"])
def test_missing_module_is_named(name: str) -> None:
    missing = name if name.startswith("tests") else "no_such_game"
    with pytest.raises(ConfigError, match=rf"^rooms: the module '{missing}' cannot be found$"):
        load_room_types([name])


@pytest.mark.parametrize(
    ("modes", "words"), [("5", "are a int; must be a list"), ("['duel']", "which is not a Mode")]
)
def test_invalid_modes_are_refused(write: Write, modes: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_modes(write(f"MODES = {modes}"), {})
