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


def _unpack_fake(folder: Path, output: str) -> list[str]:
    """Write a cached Godot, whose loader prints a version; return its command."""
    libraries = folder / "tickwire" / "godot" / "root" / "usr" / "lib" / "x86_64-linux-gnu"
    libraries.mkdir(parents=True)
    _program(libraries, output)
    (libraries / "godot").rename(libraries / "ld-linux-x86-64.so.2")
    return godot._unpacked_command(folder / "tickwire" / "godot" / "root")


def test_the_downloaded_program_is_used_if_that_of_the_path_is_too_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(tmp_path, "3.5.2.stable")
    monkeypatch.delenv(godot.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(godot.GodotMissing, match=r"is Godot 3.5; the tests need 4.5; .* has no Godot.*make godot"):
        godot.find_godot()
    command = _unpack_fake(tmp_path, "4.6.1.stable")
    assert godot.find_godot() == [*command, "--headless"]


def test_a_downloaded_program_that_does_not_start_is_downloaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(godot.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(godot.shutil, "which", lambda name: None if "godot" in name else f"/usr/bin/{name}")
    monkeypatch.setattr(godot, "_sources", lambda: "")
    command = _unpack_fake(tmp_path, "broken")
    commands: list[str] = []

    def run(name: str, arguments: list[str], **variables: str) -> None:
        commands.append(name)
        if name == "apt-get install":
            (Path(variables["APT_CONFIG"]).parent / "cache/archives/godot.deb").touch()
        elif name == "dpkg-deb --extract":
            libraries = Path(arguments[-1]) / "usr/lib/x86_64-linux-gnu"
            libraries.mkdir(parents=True)
            _program(libraries, "4.6.1.stable")
            (libraries / "godot").rename(libraries / "ld-linux-x86-64.so.2")

    monkeypatch.setattr(godot, "_run", run)
    assert godot.obtain_godot() == [*command, "--headless"]
    assert godot.obtain_godot() == [*command, "--headless"]
    assert commands == ["apt-get update", "apt-get install", "dpkg-deb --extract"]


def test_a_package_that_cannot_be_unpacked_is_named_as_the_reason() -> None:
    with pytest.raises(godot.GodotMissing, match="sh failed: the disk is full"):
        godot._run("sh", ["sh", "-c", "echo the disk is full >&2; exit 2"])


def test_without_a_program_the_reason_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(godot.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(godot.GodotMissing, match="make godot"):
        godot.find_godot()
    monkeypatch.setenv(godot.VARIABLE, str(tmp_path / "absent"))
    with pytest.raises(godot.GodotMissing, match="does not start"):
        godot.obtain_godot()
