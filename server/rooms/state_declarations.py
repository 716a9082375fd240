"""Checks the classes that a room declares for its saved state and its tuning, when the room is defined. Pure.

A field whose type has no stored form passes a save and fails at the restore, perhaps days later.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

import msgspec

from tickwire.server.rooms.checkpoint import SaveData
from tickwire.server.rooms.plain_types import check_plain_struct
from tickwire.server.rooms.tuning import Tuning

_USE = "saved and read again"


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
    check_plain_struct(f"{cls.__name__}.save_type", cls.save_type, SaveData, _USE)
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
    check_plain_struct(f"{cls.__name__}.tuning_type", kind, Tuning, _USE)
    for field in msgspec.structs.fields(kind):
        if field.required:
            raise TypeError(f"{kind.__name__}.{field.name}: a tuning value must have a default")
    try:
        msgspec.convert(msgspec.to_builtins(kind()), kind)
    except msgspec.ValidationError as error:
        raise TypeError(f"{kind.__name__}: a default is outside of its limits: {error}") from error
    except NameError:
        pass  # refers to a class that is defined later
