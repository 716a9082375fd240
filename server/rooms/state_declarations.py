"""Checks the classes that a room declares for its saved state and its tuning, when the room is defined. Pure.

A field whose type has no stored form passes a save and fails at the restore, perhaps days later.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Protocol

import msgspec
from msgspec.inspect import CustomType, DataclassType, Field, NamedTupleType, StructType, Type, TypedDictType

from tickwire.server.rooms.checkpoint import SaveData
from tickwire.server.rooms.tuning import Tuning

_RECORDS = (StructType, DataclassType, NamedTupleType, TypedDictType)


class StateDeclarations(Protocol):
    """The declarations of a room class about its state. `tickwire.server.rooms.room.Room` has them."""

    save_type: ClassVar[type[SaveData]]
    tuning_type: ClassVar[type[Tuning]]

    def save(self) -> SaveData:
        """Return the state to save."""
        ...


def check_save_type(cls: type[StateDeclarations], room: type[StateDeclarations]) -> None:
    """Check the class of a room's saved state.

    Args:
        cls: the class of the game.
        room: the class Room itself.

    Raises:
        TypeError: the class is invalid, or the room never fills it.
    """
    _check_struct(f"{cls.__name__}.save_type", cls.save_type, SaveData)
    if cls.save_type.__struct_fields__ and cls.save is room.save:
        raise TypeError(
            f"{cls.__name__}.save_type is {cls.save_type.__name__}, which has fields, but {cls.__name__} has no "
            "method `save`: each save would lack its state"
        )


def check_tuning_type(cls: type[StateDeclarations]) -> None:
    """Check the class of a room's tuning values.

    Raises:
        TypeError: the class is invalid, a field has no default, or a default is outside of its own limits.
    """
    kind = cls.tuning_type
    _check_struct(f"{cls.__name__}.tuning_type", kind, Tuning)
    for field in msgspec.structs.fields(kind):
        if field.required:
            raise TypeError(f"{kind.__name__}.{field.name}: a tuning value must have a default")
    try:
        msgspec.convert(msgspec.to_builtins(kind()), kind)
    except msgspec.ValidationError as error:
        raise TypeError(f"{kind.__name__}: a default is outside of its limits: {error}") from error
    except NameError:
        pass  # refers to a class that is defined later


def _check_struct(what: str, kind: type[msgspec.Struct], base: type[msgspec.Struct]) -> None:
    """Check that a class is a struct of this base, and that each of its fields has a stored form.

    Raises:
        TypeError: it is not, or a field has not.
    """
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise TypeError(f"{what}: must be a subclass of {base.__name__}")
    for name in kind.__struct_fields__:
        if hasattr(base, name):
            raise TypeError(f"{kind.__name__}.{name}: {base.__name__} uses this name itself")
    try:
        info = msgspec.inspect.type_info(kind)
    except NameError:
        return  # refers to a class that is defined later
    except TypeError as error:
        raise TypeError(f"{what}: {kind.__name__} cannot be read again: {error}") from error
    for owner, field in _fields_in(info, set()):
        for inner in _parts_of(field.type):
            if isinstance(inner, CustomType):
                raise TypeError(
                    f"{owner}.{field.name}: a {inner.cls.__name__} cannot be saved and read again; "
                    "use numbers, texts, containers, or a struct of these"
                )


def _fields_in(info: Type, seen: set[type]) -> Iterator[tuple[str, Field]]:
    """Yield the fields of all records in a type, each with the name of its record."""
    for part in _parts_of(info):
        if isinstance(part, _RECORDS) and part.cls not in seen:
            seen.add(part.cls)
            for field in part.fields:
                yield part.cls.__name__, field
                yield from _fields_in(field.type, seen)


def _parts_of(info: Any) -> Iterator[Type]:
    """Yield a type and the types of its elements, without the fields of records."""
    yield info
    if isinstance(info, _RECORDS):
        return
    for name in ("item_type", "key_type", "value_type"):
        if (inner := getattr(info, name, None)) is not None:
            yield from _parts_of(inner)
    for name in ("types", "item_types"):
        for inner in getattr(info, name, ()):
            yield from _parts_of(inner)
