"""The types of values in commands, results, events and options, independent of any programming language.

They are the forms that MessagePack and the clients know. A class of the game is an ObjectApi or an EnumApi, and types
refer to it by name. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias, Union

import msgspec


class _ApiType(msgspec.Struct, frozen=True, tag_field="kind", omit_defaults=True):
    pass


class AnyType(_ApiType, frozen=True, tag="any"):
    """Any value."""


class NullType(_ApiType, frozen=True, tag="null"):
    """None in Python."""


class BooleanType(_ApiType, frozen=True, tag="boolean"):
    """True or false."""


class IntegerType(_ApiType, frozen=True, tag="integer"):
    """A whole number, with inclusive bounds."""

    minimum: int | None = None
    maximum: int | None = None


class NumberType(_ApiType, frozen=True, tag="number"):
    """A real number, with inclusive or exclusive bounds."""

    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: float | None = None
    exclusive_maximum: float | None = None


class TextType(_ApiType, frozen=True, tag="text"):
    """A text.

    Attributes:
        length_min, length_max: the bounds of its length, in characters.
        pattern: a regular expression that occurs in it.
        format: the form of a value that is not a text in Python: date, time, duration, uuid or decimal.
    """

    length_min: int | None = None
    length_max: int | None = None
    pattern: str | None = None
    format: Literal["", "date", "time", "date-time", "duration", "uuid", "decimal"] = ""


class BytesType(_ApiType, frozen=True, tag="bytes"):
    """Bytes."""

    length_min: int | None = None
    length_max: int | None = None


class TimestampType(_ApiType, frozen=True, tag="timestamp"):
    """A point in time, as MessagePack's extension type -1."""


class LiteralType(_ApiType, frozen=True, tag="literal"):
    """One of some constants."""

    values: tuple[str | int | bool | None, ...]


class ListType(_ApiType, frozen=True, tag="list"):
    """Any number of values of one type."""

    item: ApiType
    length_min: int | None = None
    length_max: int | None = None


class TupleType(_ApiType, frozen=True, tag="tuple"):
    """A list with one type for each position."""

    items: tuple[ApiType, ...]


class MapType(_ApiType, frozen=True, tag="map"):
    """A map with arbitrary keys."""

    key: ApiType
    value: ApiType


class UnionType(_ApiType, frozen=True, tag="union"):
    """A value of one of several types."""

    options: tuple[ApiType, ...]


class ReferenceType(_ApiType, frozen=True, tag="reference"):
    """A value of an object or an enumeration of the game, by its name."""

    name: str


ApiType: TypeAlias = Union[  # noqa: UP007 - msgspec resolves the forward references above with it
    AnyType,
    NullType,
    BooleanType,
    IntegerType,
    NumberType,
    TextType,
    BytesType,
    TimestampType,
    LiteralType,
    ListType,
    TupleType,
    MapType,
    UnionType,
    ReferenceType,
]


def parts_of(kind: ApiType) -> Iterator[ApiType]:
    """Yield a type and the types inside of it, without those of objects that it refers to."""
    yield kind
    match kind:
        case ListType():
            inner: tuple[ApiType, ...] = (kind.item,)
        case MapType():
            inner = (kind.key, kind.value)
        case TupleType():
            inner = kind.items
        case UnionType():
            inner = kind.options
        case _:
            inner = ()
    for part in inner:
        yield from parts_of(part)
