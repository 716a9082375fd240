"""The base class of a room's inputs.

    class ShipInput(Input):
        thrust = real(-1, 1, step=1 / 64)
        fire = boolean()

    class Arena(Room):
        input_type = ShipInput

        def on_input(self, player: Player, input: ShipInput) -> None: ...
        def on_inputs(self, inputs: InputBatch[ShipInput]) -> None: ...       # or this, once a tick

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from tickwire.server.replication.columns import Column

if TYPE_CHECKING:  # type checkers take a struct's fields from its annotations only
    from builtins import object as _Struct  # noqa: N812
    from builtins import type as _StructMeta  # noqa: N812
else:
    _Struct, _StructMeta = msgspec.Struct, type(msgspec.Struct)


class _InputMeta(_StructMeta):
    """Makes a struct of a class body with columns: an instance is created as fast as a dictionary."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **kwargs: Any) -> Any:
        columns = {key: value for key, value in namespace.items() if isinstance(value, Column)}
        for key in columns:
            if any(hasattr(base, key) and key not in getattr(base, "columns", {}) for base in bases):
                raise TypeError(f"{name}.{key}: Input uses this name itself")
        for key, hint in namespace.get("__annotations__", {}).items():
            if "ClassVar" not in str(hint):
                raise TypeError(f"{name}.{key}: an annotation declares no field; write `{key} = real(...)`")
        inherited = {key: column for base in bases for key, column in getattr(base, "columns", {}).items()}
        hints = namespace.get("__annotations__", {}) | dict.fromkeys(columns, Any)
        body = namespace | dict.fromkeys(columns, 0) | {"__annotations__": hints}
        if "columns" not in columns:
            body["columns"] = inherited | columns
        return super().__new__(mcs, name, bases, body, **kwargs)


class Input(_Struct, metaclass=_InputMeta):
    """One input of a player, or one column of each field for many players. Subclass it to declare the fields.

    Values are in the game's units and clamped to the declared ranges: angles in radians, booleans as bool, labels of
    an enumeration as their index. A test creates an input with values by name; the others are zero.

    Attributes:
        columns: the declared fields, by name.
    """

    columns: ClassVar[Mapping[str, Column]] = {}

    if TYPE_CHECKING:

        def __init__(self, *values: Any, **named: Any) -> None: ...

    def select(self, indices: NDArray[np.int64]) -> Self:
        """Return the inputs of some players, for an input of columns."""
        return type(self)(*[getattr(self, name)[indices] for name in self.columns])
