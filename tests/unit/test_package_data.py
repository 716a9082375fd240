"""The data files that an installation needs: pyproject.toml lists them by patterns, which a new folder can miss."""

from __future__ import annotations

import fnmatch
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATTERNS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"][
    "package-data"
]
FOLDERS = sorted(
    {
        (package, pattern.split("/")[0])
        for package, patterns in PATTERNS.items()
        for pattern in patterns
        if "/" in pattern
    }
)


def is_packaged(path: Path, patterns: list[str]) -> bool:
    """Return whether a pattern matches a path as setuptools does: a `*` stays in its folder, and `**` does not."""
    return any(
        fnmatch.fnmatch(str(path), pattern) and ("**" in pattern or pattern.count("/") == str(path).count("/"))
        for pattern in patterns
    )


@pytest.mark.parametrize(("package", "folder"), FOLDERS)
def test_folder_of_data_files_is_packaged_whole(package: str, folder: str) -> None:
    root = ROOT / package.replace(".", "/")
    files = [
        path.relative_to(root)
        for path in (root / folder).rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    ]
    assert [str(path) for path in files if not is_packaged(path, PATTERNS[package])] == []


def test_patterns_name_the_folders_of_scripts() -> None:
    assert ("tickwire.matchmaking", "lua") in FOLDERS
