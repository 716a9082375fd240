"""Loads the rooms and modes of a game's modules, and reports every mistake in them before a port is opened.

ROOMS = [Arena, Lobby]                     # or {"arena": Arena, "lobby": Lobby}, by room_type
MODES = [Mode("duel", Rules(...))]         # optional
"""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from tickwire.matchmaking.queue import Mode
from tickwire.server.errors import ConfigError
from tickwire.server.rooms.room import Room


def load_room_types(modules: Sequence[str]) -> dict[str, type[Room]]:
    """Import the modules and return their rooms, by type.

    Raises:
        ConfigError: a module cannot be imported, its ROOMS hold something other than rooms, or two rooms have the
            same type.
    """
    found: dict[str, type[Room]] = {}
    for module in modules:
        for room_class in _rooms_of(_load(module), module):
            other = found.setdefault(room_class.room_type, room_class)
            if other is not room_class:
                text = f"{_name_of(other)} and {_name_of(room_class)} have one room_type, {room_class.room_type!r}"
                raise ConfigError(f"rooms: {text}")
    return found


def load_modes(modules: Sequence[str], hosted: Mapping[str, type[Room]]) -> list[tuple[Mode, int]]:
    """Import the modules and return their modes, each with the seats of its room type.

    Raises:
        ConfigError: two modes have the same name, a room type is not hosted, or it has too few seats.
    """
    found: dict[str, tuple[Mode, int]] = {}
    for module in modules:
        for mode in _list_of(getattr(_load(module), "MODES", ()), f"the MODES of {module!r}"):
            if not isinstance(mode, Mode):
                raise ConfigError(f"rooms: the MODES of {module!r} hold {mode!r}, which is not a Mode")
            room_type = mode.rules.room_type
            room_class = hosted.get(room_type)
            if mode.name in found:
                raise ConfigError(f"rooms: two modes are called {mode.name!r}")
            if room_class is None:
                text = f"mode {mode.name!r} requires the room type {room_type!r}, which no module offers"
                raise ConfigError(f"rooms: {text}")
            if room_class.max_players < mode.rules.players_max:
                text = f"mode {mode.name!r} requires {mode.rules.players_max} seats"
                raise ConfigError(f"rooms: {text}; the room type {room_type!r} has {room_class.max_players}")
            found[mode.name] = (mode, room_class.max_players)
    return list(found.values())


def _load(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(f"rooms: the module {error.name!r} cannot be found") from error
        raise ConfigError(f"rooms: the module {name!r} needs {error.name!r}, which cannot be found") from error
    except (Exception, SystemExit) as error:  # the game's code, at import
        where = _where(error)
        what = " ".join(f"{type(error).__name__}: {error}".split())
        text = f"the module {name!r} cannot be loaded: {what} ({where.filename}, line {where.lineno})"
        raise ConfigError(f"rooms: {text}") from error


def _where(error: BaseException) -> traceback.FrameSummary:
    """Return the innermost line of the game's code; the lines below it are checks of the server."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = str(Path(__file__).parent)
    return next((frame for frame in reversed(frames) if not frame.filename.startswith(ours)), frames[-1])


def _rooms_of(module: ModuleType, name: str) -> list[type[Room]]:
    offered = getattr(module, "ROOMS", None)
    if offered is None:
        raise ConfigError(f"rooms: the module {name!r} has no ROOMS")
    classes = _list_of(offered.values() if isinstance(offered, Mapping) else offered, f"the ROOMS of {name!r}")
    for room_class in classes:
        if not (isinstance(room_class, type) and issubclass(room_class, Room)):
            raise ConfigError(f"rooms: the ROOMS of {name!r} hold {room_class!r}, which is not a subclass of Room")
        if not room_class.room_type:
            raise ConfigError(f"rooms: {_name_of(room_class)} has no room_type")
    if isinstance(offered, Mapping):
        for key, room_class in offered.items():
            if key != room_class.room_type:
                text = f"the ROOMS of {name!r} call {_name_of(room_class)} {key!r}"
                raise ConfigError(f"rooms: {text}, but its room_type is {room_class.room_type!r}")
    return classes


def _list_of(offered: Any, what: str) -> list[Any]:
    if isinstance(offered, str | bytes | type) or not isinstance(offered, Iterable):
        raise ConfigError(f"rooms: {what} are a {type(offered).__name__}; must be a list")
    return list(offered)


def _name_of(room_class: type[Room]) -> str:
    return f"{room_class.__module__}.{room_class.__qualname__}"
