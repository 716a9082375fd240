"""`tickwire new`: which names it accepts, and that it never overwrites a folder."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tickwire.server import __version__
from tickwire.server.dev.game_template import FILES, TEMPLATE, create_game
from tickwire.server.errors import ConfigError


def test_all_files_of_the_template_are_created_with_the_name(tmp_path: Path) -> None:
    created = create_game("gold_rush", tmp_path)
    assert set(FILES) <= set(created)
    for name in created:
        text = (tmp_path / "gold_rush" / name).read_text()
        assert "{{" not in text
    assert "gold_rush" in (tmp_path / "gold_rush" / "tickwire.toml").read_text()
    image = (tmp_path / "gold_rush" / "Dockerfile").read_text()
    assert f"FROM tickwire:{__version__}" in image
    assert "COPY tickwire.toml *.py /game/" in image, "the image of a game with a second module would not start"


def test_each_file_of_the_template_belongs_to_a_game() -> None:
    sources = {str(path.relative_to(TEMPLATE)) for path in TEMPLATE.rglob("*.in")}
    assert sources == set(FILES.values())


@pytest.mark.parametrize("is_file", [False, True])
def test_an_existing_folder_is_not_overwritten(is_file: bool, tmp_path: Path) -> None:
    folder = tmp_path / "gold_rush"
    if is_file:
        folder.write_text("notes")
    else:
        folder.mkdir()
        (folder / "rooms.py").write_text("mine")
    with pytest.raises(ConfigError, match="gold_rush exists: choose another name"):
        create_game("gold_rush", tmp_path)
    assert folder.is_file() or (folder / "rooms.py").read_text() == "mine"


@pytest.mark.parametrize("name", ["", "9lives", "Gold", "gold-rush", "../up", "a/b", "a" * 41, "gold rush", "ü"])
def test_a_name_that_is_no_identifier_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must have 1 to 40 lower-case letters"):
        create_game(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["class", "json", "asyncio", "tickwire", "admin", "local"])
def test_a_name_that_python_mongodb_or_tickwire_uses_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is used by Python, MongoDB or Tickwire"):
        create_game(name, tmp_path)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written: No such file or directory"):
        create_game("gold_rush", tmp_path / "missing")


def test_a_game_that_could_not_be_written_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes

    def fill_the_disk(path: Path, data: bytes) -> int:
        if path.name == "tickwire.toml":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", fill_the_disk)
        with pytest.raises(ConfigError, match="cannot be written: No space left on device"):
            create_game("gold_rush", tmp_path)
    assert create_game("gold_rush", tmp_path)
