"""The API of a game, as generators of client code read it: its rooms, and the classes of the game that they use.

It is independent of any programming language. A generator for a language is a function from a GameApi to text. Pure.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tickwire.server.codegen.api_types import ApiType

FORMAT = 1
"""The version of the description's own structure, for programs that read its JSON."""


class FieldApi(msgspec.Struct, frozen=True, omit_defaults=True):
    """A field of an object, or an argument of a command.

    Attributes:
        name: the key on the wire.
        type: the type of the value.
        is_required: the sender must include it. Otherwise the receiver uses the default.
        is_always_sent: the server always includes it.
        default: the default as a plain value; unset without one, and for a computed default.
        doc: the description in the docstring of the command.
    """

    name: str
    type: ApiType
    is_required: bool
    is_always_sent: bool = True
    default: Any = msgspec.UNSET
    doc: str = ""


class ObjectApi(msgspec.Struct, frozen=True, omit_defaults=True):
    """A class of the game, whose values are maps on the wire.

    Attributes:
        name: unique among objects and enumerations.
        fields: in the order of the declaration.
        doc: the first paragraph of the docstring.
        is_from_client, is_from_server: the sides that send values of this class.
    """

    name: str
    fields: tuple[FieldApi, ...]
    doc: str = ""
    is_from_client: bool = False
    is_from_server: bool = False


class EnumApi(msgspec.Struct, frozen=True, omit_defaults=True):
    """An enumeration of the game: the names of its members, and their values on the wire."""

    name: str
    members: tuple[tuple[str, str | int], ...]
    doc: str = ""


class ColumnApi(msgspec.Struct, frozen=True, omit_defaults=True):
    """A field of a table or of an input; see `tickwire.schemas.fields.Field`.

    Attributes:
        name: the name in the game's declaration.
        kind: the name of its FieldKind, in lower case.
        bits: the width; 0 for texts and blobs.
        minimum, maximum: the bounds of the value, in the game's units; None for kinds without bounds.
        step: the resolution of a real number.
        labels: the labels of an enumeration; the value is the index.
        bytes_max: the maximum size of a text or a blob.
    """

    name: str
    kind: str
    bits: int = 0
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    labels: tuple[str, ...] = ()
    bytes_max: int = 0


class GroupApi(msgspec.Struct, frozen=True, omit_defaults=True):
    """Columns that are one value: a vector of its columns, or a quaternion that its columns encode.

    See `tickwire.schemas.groups`. `kind` is the name of its GroupKind, in lower case.
    """

    name: str
    kind: str
    columns: tuple[str, ...]


class TableApi(msgspec.Struct, frozen=True, omit_defaults=True):
    """A table of a room."""

    name: str
    columns: tuple[ColumnApi, ...]
    groups: tuple[GroupApi, ...] = ()
    doc: str = ""


class CommandApi(msgspec.Struct, frozen=True, omit_defaults=True):
    """A command of a room: its payload is a map of the arguments by name."""

    name: str
    arguments: tuple[FieldApi, ...]
    result: ApiType
    doc: str = ""


class EventApi(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event of a room, with the type of its payload."""

    name: str
    payload: ApiType


class RoomApi(msgspec.Struct, frozen=True, omit_defaults=True):
    """A room type.

    Attributes:
        name: the room type, as in Join.
        options: the types of a Join's options, which fit all of them: for the player, and for a room that the Join
            creates. Empty if the room declares none: any map is then accepted.
    """

    name: str
    options: tuple[ApiType, ...]
    tables: tuple[TableApi, ...]
    inputs: tuple[ColumnApi, ...]
    commands: tuple[CommandApi, ...]
    events: tuple[EventApi, ...]
    doc: str = ""


class GameApi(msgspec.Struct, frozen=True):
    """The API of a game. Rooms, objects and enumerations are sorted by name."""

    rooms: tuple[RoomApi, ...]
    objects: tuple[ObjectApi, ...]
    enums: tuple[EnumApi, ...]
    format: int = FORMAT
