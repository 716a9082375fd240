"""Checks the declarations of a game's room when its class is defined, so that a mistake is an error at start.

The reserved names are read from `Room` and `Table` themselves. A game may override the hooks, set the declarations
(the class variables of Room), and add attributes with other names. Pure.
"""

from __future__ import annotations

import inspect
import math
import re
import typing
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, get_args, get_origin

from tickwire.schemas.codec import INPUT_PAYLOAD_BYTES_MAX
from tickwire.schemas.fields import Field, input_bytes
from tickwire.server.replication.grid import Grid, GridIndex
from tickwire.server.replication.table import Table
from tickwire.server.rooms.command_declarations import CommandRoom
from tickwire.server.rooms.error_policy import ERROR_POLICIES, ErrorPolicy
from tickwire.server.rooms.event_types import EventDeclarations, check_events
from tickwire.server.rooms.history_declarations import HISTORY_NUMBERS, HistoryDeclarations, check_history
from tickwire.server.rooms.input_types import Input
from tickwire.server.rooms.room_members import check_members
from tickwire.server.rooms.schema_changes import SchemaChanges
from tickwire.server.rooms.state_declarations import StateDeclarations, check_save_type, check_tuning_type

ROOM_TYPE = re.compile(r"[^/\x00-\x1f\x7f]{1,64}")
"""No slash, because the key of a durable room consists of its type, a slash and its name."""
TICK_RATE_HZ_MIN = 0.01
TICK_RATE_HZ_MAX = 1000.0
FLIGHT_RECORDER_S_MAX = 600.0
CHECKSUM_TICKS_MAX = 200
"""Below the maximum age of a baseline, so that every channel with entities is sent in time."""
_COMPUTED = frozenset(["tables", "input_fields", "commands", "options_type", "create_options_type"])
_MORE_HOOKS = frozenset(["can_migrate", "save", "restore"])


class RoomDeclarations(StateDeclarations, EventDeclarations, CommandRoom, HistoryDeclarations, Protocol):
    """The declarations of a room class. `tickwire.server.rooms.room.Room` has them."""

    room_type: ClassVar[str]
    input_type: ClassVar[type[Input]]
    flight_recorder_s: ClassVar[float]
    error_policy: ClassVar[ErrorPolicy]
    grid: ClassVar[Grid | None]
    schema_changes: ClassVar[SchemaChanges]
    tables: ClassVar[Mapping[str, type[Table]]]

    def __init__(self, *, room_id: str, name: str, seed: int) -> None: ...


def find_tables(cls: type[RoomDeclarations]) -> dict[str, type[Table]]:
    """Return the tables that a room class and its bases declare by annotations.

    Raises:
        TypeError: an annotation cannot be resolved, or contains a table without declaring one.
    """
    try:
        hints = typing.get_type_hints(cls)
    except NameError as error:
        text = f"{cls.__name__}: {error} in its annotations: import the name at run time, at the top of the module"
        raise TypeError(text) from error
    tables: dict[str, type[Table]] = {}
    for name, hint in hints.items():
        if _is_table(hint) and hint is not Table:
            tables[name] = hint
        elif _contains_table(hint):
            raise TypeError(f"{cls.__name__}.{name}: {hint} declares no table; write `{name}: TheTable`")
    return tables


def find_input_fields(cls: type[RoomDeclarations]) -> tuple[Field, ...]:
    """Return the fields of a room's inputs.

    Raises:
        TypeError: `input_type` is not a subclass of Input, or its fields are too large.
    """
    kind = cls.input_type
    if not (isinstance(kind, type) and issubclass(kind, Input)):
        raise TypeError(f"{cls.__name__}.input_type must be a subclass of Input")
    try:
        fields = tuple(column.field(name) for name, column in kind.columns.items())
        size = input_bytes(fields)
        kind(*[0] * len(fields))  # as the tick creates it
    except (TypeError, ValueError) as error:
        raise TypeError(f"{kind.__name__}: {error}") from error
    if size > INPUT_PAYLOAD_BYTES_MAX:
        limit = f"at most {INPUT_PAYLOAD_BYTES_MAX} are allowed"
        raise TypeError(f"the fields of {kind.__name__} have {size} bytes; {limit}")
    return fields


def check_room(cls: type[RoomDeclarations], room: type[RoomDeclarations]) -> None:
    """Check a room class that a game has defined.

    Args:
        cls: the class of the game.
        room: the class Room itself.

    Raises:
        TypeError, ValueError: a declaration is invalid; the message names it.
    """
    _check_names(cls, room)
    _check_hooks(cls, room)
    check_members(cls, room, find_hooks(room), _declarations(room))
    _check_numbers(cls)
    _check_types(cls)
    check_save_type(cls, room)
    check_tuning_type(cls)
    check_events(cls)
    check_history(cls)
    if cls.grid is not None:
        unknown = set(cls.grid.tables) - cls.tables.keys()
        if unknown:
            raise TypeError(
                f"{cls.__name__}.grid contains {', '.join(sorted(unknown))}, which is not a table of the room"
            )
        try:
            GridIndex(cls.grid, [cls.tables[name] for name in cls.grid.tables])
        except ValueError as error:
            raise TypeError(f"{cls.__name__}.grid: {error}") from error


def own_attributes(room: type[RoomDeclarations]) -> frozenset[str]:
    """Return the names of the attributes that every instance of Room has."""
    return frozenset(vars(room(room_id="", name="", seed=0)))


def _check_names(cls: type[RoomDeclarations], room: type[RoomDeclarations]) -> None:
    may_be_set = _declarations(room) | find_hooks(room)
    reserved = {name for name in dir(room) if not name.startswith("__")} | own_attributes(room)
    for name in cls.tables:
        if name in reserved or name in may_be_set:
            raise TypeError(f"{cls.__name__}.{name}: a table cannot have this name, because Room uses it")
    for base in cls.__mro__[: cls.__mro__.index(room)]:
        for name, value in vars(base).items():
            if name in reserved - may_be_set - _COMPUTED:
                raise TypeError(f"{cls.__name__}.{name}: Room uses this name itself")
            if name in cls.tables or isinstance(value, Table) or _is_table_by_mistake(base, name, value):
                raise TypeError(f"{cls.__name__}.{name}: a table is declared by an annotation: `{name}: TheTable`")


def _is_table_by_mistake(owner: type, name: str, value: Any) -> bool:
    """Return whether a class attribute is a table class that is neither defined in the class nor a ClassVar."""
    hint = str(inspect.get_annotations(owner).get(name, ""))
    return _is_table(value) and value.__qualname__ != f"{owner.__qualname__}.{name}" and "ClassVar" not in hint


def _check_hooks(cls: type[RoomDeclarations], room: type[RoomDeclarations]) -> None:
    for name in find_hooks(room):
        hook = inspect.getattr_static(cls, name)
        if not inspect.isfunction(hook):
            if hook is not inspect.getattr_static(room, name):
                raise TypeError(f"{cls.__name__}.{name}: a hook must be a method")
            continue
        if inspect.iscoroutinefunction(hook) or inspect.isgeneratorfunction(hook) or inspect.isasyncgenfunction(hook):
            raise TypeError(f"{cls.__name__}.{name}: a hook must be a plain method, not async and not a generator")
        signature = inspect.signature(getattr(room, name))
        try:
            inspect.signature(hook).bind(*signature.parameters)
        except TypeError as error:
            expected = ", ".join(signature.parameters)
            raise TypeError(f"{cls.__name__}.{name} is called with ({expected}): {error}") from None
    if {"on_input", "on_inputs"} <= vars(cls).keys():
        raise TypeError(f"{cls.__name__} has on_input and on_inputs: on_input would never be called")


def _check_numbers(cls: type[RoomDeclarations]) -> None:
    limits: tuple[tuple[str, float, float], ...] = (
        ("max_players", 1, math.inf),
        ("checksum_ticks", 1, CHECKSUM_TICKS_MAX),
        ("tick_rate_hz", TICK_RATE_HZ_MIN, TICK_RATE_HZ_MAX),
        ("fan_out_max", 1, math.inf),
        ("empty_timeout_s", 0, math.inf),
        ("flight_recorder_s", 0, FLIGHT_RECORDER_S_MAX),
        *HISTORY_NUMBERS,
    )
    for name, low, high in limits:
        value = getattr(cls, name)
        kind = int if name in ("max_players", "checksum_ticks") else (int, float)
        if not isinstance(value, kind) or isinstance(value, bool) or not low <= value <= high:
            most = f" to {high:g}" if high < math.inf else " or more"
            what = "a whole number" if kind is int else "a number"
            raise TypeError(f"{cls.__name__}.{name} is {value!r}; must be {what}, {low:g}{most}")


def _check_types(cls: type[RoomDeclarations]) -> None:
    if not isinstance(cls.room_type, str) or not (cls.room_type == "" or ROOM_TYPE.fullmatch(cls.room_type)):
        limits = "must be 1 to 64 characters, no slash and no control characters"
        raise TypeError(f"{cls.__name__}.room_type is {cls.room_type!r}; {limits}")
    for name in ("durable", "uses_ledger", "ticks_when_empty"):
        if not isinstance(getattr(cls, name), bool):
            raise TypeError(f"{cls.__name__}.{name} is {getattr(cls, name)!r}; must be True or False")
    if cls.error_policy not in ERROR_POLICIES:
        known = ", ".join(f'"{policy}"' for policy in ERROR_POLICIES)
        raise TypeError(f"{cls.__name__}.error_policy is {cls.error_policy!r}; must be one of {known}")
    if cls.grid is not None and not isinstance(cls.grid, Grid):
        raise TypeError(f"{cls.__name__}.grid: must be a Grid or None")
    if not isinstance(cls.schema_changes, SchemaChanges):
        raise TypeError(f"{cls.__name__}.schema_changes: must be a SchemaChanges")


def _declarations(room: type[RoomDeclarations]) -> frozenset[str]:
    """Return the class variables of Room that a game may set."""
    annotations = inspect.get_annotations(room)
    return frozenset(name for name, hint in annotations.items() if str(hint).startswith("ClassVar")) - _COMPUTED


def find_hooks(room: type[RoomDeclarations]) -> frozenset[str]:
    """Return the names of the hooks of Room."""
    return frozenset(name for name in vars(room) if name.startswith("on_")) | _MORE_HOOKS


def _contains_table(hint: Any) -> bool:
    """Return whether an annotation is, or has as a part, a table's instances. Classes of tables do not count."""
    if get_origin(hint) in (type, ClassVar):
        return False
    return _is_table(hint) or any(_contains_table(part) for part in get_args(hint))


def _is_table(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Table)
