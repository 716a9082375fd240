"""Godot is found where it is, and downloaded from the machine's own mirror; otherwise the reason is said."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from tests.harness import godot

RELEASE = {"ID": "debian", "VERSION_CODENAME": "bookworm"}


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of apt's configuration, on a Debian."""
    monkeypatch.setattr(godot, "APT_FOLDERS", tmp_path)
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: RELEASE)
    (tmp_path / "sources.list.d").mkdir()
    return tmp_path


def _program(folder: Path, output: str) -> str:
    path = folder / "godot"
    path.write_text(f"#!/bin/sh\necho '{output}'\n")
    path.chmod(0o755)
    return str(path)


def test_the_mirror_is_that_of_the_machine(apt: Path) -> None:
    (apt / "sources.list.d" / "debian.sources").write_text(
        "Types: deb\n# a comment\nURIs: http://mirror.example/security\nSuites: bookworm-security\n"
        "Components: main\n\n"
        "Types: deb deb-src\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n"
        "Components: main contrib\nSigned-By: /keys.gpg\n"
    )
    assert godot._sources() == (
        "Types: deb\nURIs: http://mirror.example/debian\nSuites: sid\nComponents: main\nSigned-By: /keys.gpg\n"
    )


def test_the_mirror_is_also_read_from_lists_of_one_line(apt: Path) -> None:
    (apt / "sources.list").write_text(
        "deb http://mirror.example/security bookworm-security main\n"
        "deb [arch=amd64 signed-by=/keys.gpg] http://mirror.example/debian bookworm main contrib\n"
    )
    assert godot._sources() == (
        "Types: deb\nURIs: http://mirror.example/debian\nSuites: sid\nComponents: main\nSigned-By: /keys.gpg\n"
    )


def test_a_machine_without_a_mirror_is_named_as_the_reason(apt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(godot.GodotMissing, match="no entry for bookworm"):
        godot._sources()
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"ID": "fedora"})
    with pytest.raises(godot.GodotMissing, match="on Debian only"):
        godot._sources()


def test_the_program_of_the_environment_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(godot.VARIABLE, _program(tmp_path, "4.7.1.stable"))
    assert godot.find_godot() == [str(tmp_path / "godot"), "--headless"]


@pytest.mark.parametrize(
    ("output", "reason"), [("4.2.1.stable", "the tests need 4.5"), ("no version", "does not start: no version")]
)
def test_a_program_that_cannot_be_used_is_named_as_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, reason: str
) -> None:
    monkeypatch.setenv(godot.VARIABLE, _program(tmp_path, output))
    with pytest.raises(godot.GodotMissing, match=reason):
        godot.find_godot()


def test_without_a_program_the_reason_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(godot.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(godot.GodotMissing, match="make godot"):
        godot.find_godot()
    monkeypatch.setenv(godot.VARIABLE, str(tmp_path / "absent"))
    with pytest.raises(godot.GodotMissing, match="does not start"):
        godot.obtain_godot()
