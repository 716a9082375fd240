"""What a game declares is checked when its class is defined, so that a mistake is a sentence at start.

The names that a room or a table keeps for itself are read from `Room` and `Table` themselves. A game may override the
hooks, set the declarations (Room's class variables), and add anything that is called otherwise. Pure.
"""

from __future__ import annotations

import inspect
import math
import re
import types
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

from tickwire.schemas.codec import INPUT_PAYLOAD_BYTES_MAX
from tickwire.schemas.fields import Field, input_bytes
from tickwire.server.replication.columns import Column
from tickwire.server.replication.grid import Grid, GridIndex
from tickwire.server.replication.table import Table
from tickwire.server.rooms.checkpoint import SaveData
from tickwire.server.rooms.tuning import Tuning

if TYPE_CHECKING:
    from tickwire.server.rooms.room import Room

ROOM_TYPE = re.compile(r"[^/\x00-\x1f\x7f]{1,64}")
"""A durable room's key is made of its type, a slash and its name."""
TICK_RATE_HZ_MAX = 1000.0
CHECKSUM_TICKS_MAX = 200
"""Below the age that a baseline may have: so every channel that holds anybody is told of in time."""
_COMPUTED = frozenset(["tables", "input_fields"])
_MORE_HOOKS = frozenset(["can_migrate", "save", "restore"])


def find_tables(cls: type[Room]) -> dict[str, type[Table]]:
    """Return the tables that a room class and its bases declare by annotations.

    Raises:
        TypeError: an annotation cannot be resolved, or names a table in a way that declares none.
    """
    try:
        hints = typing.get_type_hints(cls)
    except NameError as error:
        text = f"{cls.__name__}: {error} in its annotations: import what they name at run time, for the whole module"
        raise TypeError(text) from error
    tables: dict[str, type[Table]] = {}
    for name, hint in hints.items():
        if _is_table(hint):
            tables[name] = hint
        elif get_origin(hint) in (Union, types.UnionType) and any(map(_is_table, get_args(hint))):
            raise TypeError(f"{cls.__name__}.{name}: {hint} declares no table; write `{name}: TheTable`")
    return tables


def find_input_fields(cls: type[Room]) -> tuple[Field, ...]:
    """Return the fields of a room's inputs.

    Raises:
        TypeError: something else is declared.
    """
    if not isinstance(cls.inputs, Mapping) or not all(isinstance(column, Column) for column in cls.inputs.values()):
        raise TypeError(f"{cls.__name__}.inputs: must be fields by name")
    try:
        fields = tuple(column.field(name) for name, column in cls.inputs.items())
        size = input_bytes(fields)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{cls.__name__}.inputs: {error}") from error
    if size > INPUT_PAYLOAD_BYTES_MAX:
        raise TypeError(f"{cls.__name__}.inputs take more than {INPUT_PAYLOAD_BYTES_MAX} bytes")
    return fields


def check_room(cls: type[Room], room: type[Room]) -> None:
    """Check a class that a game has defined.

    Args:
        room: the class Room itself.

    Raises:
        TypeError, ValueError: something is declared that cannot be; in a sentence that names it.
    """
    _check_names(cls, room)
    _check_hooks(cls, room)
    _check_numbers(cls)
    _check_types(cls)
    if cls.grid is not None:
        unknown = set(cls.grid.tables) - cls.tables.keys()
        if unknown:
            raise TypeError(f"{cls.__name__}.grid names {', '.join(sorted(unknown))}: no table of the room")
        GridIndex(cls.grid, [cls.tables[name] for name in cls.grid.tables])


def own_attributes(room: type[Room]) -> frozenset[str]:
    """Return the names of the attributes that every instance of Room has."""
    return frozenset(vars(room(room_id="", name="", seed=0)))


def _check_names(cls: type[Room], room: type[Room]) -> None:
    may_be_set = _declarations(room) | _hooks(room)
    reserved = {name for name in dir(room) if not name.startswith("__")} | own_attributes(room)
    for name in cls.tables:
        if name in reserved or name in may_be_set:
            raise TypeError(f"{cls.__name__}.{name}: a table cannot be called so; the name is Room's own")
    for base in cls.__mro__[: cls.__mro__.index(room)]:
        for name, value in vars(base).items():
            if name in reserved - may_be_set - _COMPUTED:
                raise TypeError(f"{cls.__name__}.{name}: the name is Room's own")
            if name in cls.tables or isinstance(value, Table) or _is_table_by_mistake(base, name, value):
                raise TypeError(f"{cls.__name__}.{name}: a table is declared by an annotation: `{name}: TheTable`")


def _is_table_by_mistake(owner: type, name: str, value: Any) -> bool:
    """Whether a class attribute is a table's class, and neither defined in here nor a class variable."""
    hint = str(inspect.get_annotations(owner).get(name, ""))
    return _is_table(value) and value.__qualname__ != f"{owner.__qualname__}.{name}" and "ClassVar" not in hint


def _check_hooks(cls: type[Room], room: type[Room]) -> None:
    for name in _hooks(room):
        hook = inspect.getattr_static(cls, name)
        if not inspect.isfunction(hook):
            if hook is not inspect.getattr_static(room, name):
                raise TypeError(f"{cls.__name__}.{name}: a hook is a method")
            continue
        if inspect.iscoroutinefunction(hook) or inspect.isgeneratorfunction(hook) or inspect.isasyncgenfunction(hook):
            raise TypeError(f"{cls.__name__}.{name}: a hook is a plain method: it is called, and not awaited")
        signature = inspect.signature(getattr(room, name))
        try:
            inspect.signature(hook).bind(*signature.parameters)
        except TypeError as error:
            expected = ", ".join(signature.parameters)
            raise TypeError(f"{cls.__name__}.{name} is called with ({expected}): {error}") from None
    if {"on_input", "on_inputs"} <= vars(cls).keys():
        raise TypeError(f"{cls.__name__} has on_input and on_inputs: on_input would never be called")


def _check_numbers(cls: type[Room]) -> None:
    limits: tuple[tuple[str, float, float], ...] = (
        ("seats", 1, math.inf),
        ("checksum_ticks", 1, CHECKSUM_TICKS_MAX),
        ("tick_rate_hz", 0.01, TICK_RATE_HZ_MAX),
        ("fan_out_max", 1, math.inf),
        ("linger_s", 0, math.inf),
    )
    for name, low, high in limits:
        value = getattr(cls, name)
        kind = int if name in ("seats", "checksum_ticks") else (int, float)
        if not isinstance(value, kind) or isinstance(value, bool) or not low <= value <= high:
            most = f" to {high:g}" if high < math.inf else " or more"
            what = "a whole number" if kind is int else "a number"
            raise TypeError(f"{cls.__name__}.{name} is {value!r}; must be {what}, {low:g}{most}")


def _check_types(cls: type[Room]) -> None:
    if not isinstance(cls.room_type, str) or not (cls.room_type == "" or ROOM_TYPE.fullmatch(cls.room_type)):
        limits = "must be 1 to 64 characters, no slash and no control characters"
        raise TypeError(f"{cls.__name__}.room_type is {cls.room_type!r}; {limits}")
    for name in ("durable", "uses_ledger", "ticks_when_empty"):
        if not isinstance(getattr(cls, name), bool):
            raise TypeError(f"{cls.__name__}.{name} is {getattr(cls, name)!r}; must be True or False")
    kinds: tuple[tuple[str, type], ...] = (("saves", SaveData), ("tunes", Tuning))
    for name, kind in kinds:
        value = getattr(cls, name)
        if not (isinstance(value, type) and issubclass(value, kind)):
            raise TypeError(f"{cls.__name__}.{name}: must be a subclass of {kind.__name__}")
        for field in value.__struct_fields__:  # type: ignore[attr-defined]
            if hasattr(kind, field):
                raise TypeError(f"{value.__name__}.{field}: the name is {kind.__name__}'s own")
    if cls.grid is not None and not isinstance(cls.grid, Grid):
        raise TypeError(f"{cls.__name__}.grid: must be a Grid or None")


def _declarations(room: type[Room]) -> frozenset[str]:
    """The class variables of Room that a game may set."""
    annotations = inspect.get_annotations(room)
    return frozenset(name for name, hint in annotations.items() if str(hint).startswith("ClassVar")) - _COMPUTED


def _hooks(room: type[Room]) -> frozenset[str]:
    return frozenset(name for name in vars(room) if name.startswith("on_")) | _MORE_HOOKS


def _is_table(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Table)
