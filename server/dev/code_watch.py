"""Finds changes of a game's Python files by their times and sizes, and imports the game again.

A poll of at most FILES_MAX files needs no library, works on every file system, and takes a few milliseconds; see
decision 51. Modules are imported again as a whole: all modules of the game are removed from `sys.modules` first, so
that `from rules import X` in another module of the game gets the new X. If an import fails, the old modules stay.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType

from tickwire.server.game_modules import load_room_types
from tickwire.server.rooms.room import Room

FILES_MAX = 5000
_SKIPPED = frozenset(["__pycache__", "node_modules", "site-packages"])
_OWN_PACKAGE = "tickwire"


class GameCode:
    """The Python files and modules of a game.

    Args:
        modules: the names of the modules with ROOMS, which are imported already.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self._modules = list(modules)
        self._packages = tuple(f"{name.rpartition('.')[0]}." for name in modules if "." in name)
        self.folders = tuple(sorted({folder for name in modules for folder in _folders_of(name)}))
        self._seen = self._scan()

    def find_changes(self) -> list[Path]:
        """Return the files that were changed, added or removed since the last call."""
        before, self._seen = self._seen, self._scan()
        names = before.keys() | self._seen.keys()
        return sorted(path for path in names if before.get(path) != self._seen.get(path))

    def import_rooms(self) -> dict[str, type[Room]]:
        """Import all modules of the game again, and return the rooms by type.

        Raises:
            ConfigError: a module cannot be imported, or its ROOMS are invalid; the old modules are still in place.
        """
        before = self._loaded()
        for name in before:
            del sys.modules[name]
        importlib.invalidate_caches()
        try:
            return load_room_types(self._modules)
        except BaseException:
            for name in self._loaded():
                del sys.modules[name]
            sys.modules.update(before)
            raise

    def _loaded(self) -> dict[str, ModuleType]:
        """Return the modules of the game that are imported."""
        return {name: module for name, module in list(sys.modules.items()) if self._is_of_game(name, module)}

    def _is_of_game(self, name: str, module: ModuleType) -> bool:
        if name == "__main__":
            return False
        if name in self._modules:
            return True
        if name.partition(".")[0] == _OWN_PACKAGE:
            return name.startswith(tuple(package for package in self._packages if package != f"{_OWN_PACKAGE}."))
        return any(_is_source_in(path, folder) for path in _paths_of(module) for folder in self.folders)

    def _scan(self) -> Mapping[Path, tuple[int, int]]:
        found: dict[Path, tuple[int, int]] = {}
        for folder in self.folders:
            for path in _python_files(folder):
                try:
                    status = path.stat()
                except OSError:
                    continue  # removed meanwhile: that is a change
                found[path] = status.st_mtime_ns, status.st_size
                if len(found) == FILES_MAX:
                    return found
        return found


def _folders_of(name: str) -> list[Path]:
    """Return the folders of a module: those of its top-level package, or the one that contains the file."""
    top = name.partition(".")[0]
    module = sys.modules[name if top == _OWN_PACKAGE else top]
    return [path.parent if module.__file__ else path for path in _paths_of(module)]


def _paths_of(module: ModuleType) -> list[Path]:
    """Return the file of a module; the folders of a package without `__init__.py`; nothing for a built-in module."""
    if file := getattr(module, "__file__", None):
        return [Path(file)]
    return [Path(folder) for folder in getattr(module, "__path__", ())]


def _python_files(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        is_environment = "pyvenv.cfg" in files
        folders[:] = [] if is_environment else sorted(one for one in folders if not _is_skipped(one))
        if not is_environment:
            yield from (Path(root, file) for file in sorted(files) if file.endswith(".py"))


def _is_source_in(file: Path, folder: Path) -> bool:
    return file.is_relative_to(folder) and not any(map(_is_skipped, file.relative_to(folder).parts[:-1]))


def _is_skipped(name: str) -> bool:
    return name.startswith(".") or name in _SKIPPED
