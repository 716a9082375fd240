"""Checks that types can be encoded as plain values and read again. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.inspect import CustomType, DataclassType, Field, NamedTupleType, StructType, Type, TypedDictType

_RECORDS = (StructType, DataclassType, NamedTupleType, TypedDictType)


def check_plain_struct(what: str, kind: type[msgspec.Struct], base: type[msgspec.Struct], use: str) -> None:
    """Check that a class is a struct of this base, and that each of its fields has a plain form.

    Args:
        what: the declaration, for the message.
        kind: the class.
        base: the class that it must extend.
        use: the purpose of the plain form, such as "saved and read again".

    Raises:
        TypeError: it is not, or a field has not.
    """
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise TypeError(f"{what}: must be a subclass of {base.__name__}")
    for name in kind.__struct_fields__:
        if hasattr(base, name):
            raise TypeError(f"{kind.__name__}.{name}: {base.__name__} uses this name itself")
    check_plain(f"{what}: {kind.__name__}", kind, use)


def check_plain(what: str, kind: Any, use: str) -> None:
    """Check that a type, with the fields of all its records, has a plain form. See `check_plain_struct`.

    Raises:
        TypeError: it has not.
    """
    try:
        info = msgspec.inspect.type_info(kind)
    except NameError:
        return  # refers to a class that is defined later
    except TypeError as error:
        raise TypeError(f"{what} cannot be read again: {error}") from error
    _check_parts(what, info, use)
    for owner, field in _fields_in(info, set()):
        _check_parts(f"{owner}.{field.name}", field.type, use)


def _check_parts(what: str, info: Type, use: str) -> None:
    for inner in _parts_of(info):
        if isinstance(inner, CustomType):
            others = "use numbers, texts, containers, or a struct of these"
            raise TypeError(f"{what}: a {inner.cls.__name__} cannot be {use}; {others}")


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
    for name in ("type", "item_type", "key_type", "value_type"):
        if isinstance(inner := getattr(info, name, None), Type):
            yield from _parts_of(inner)
    for name in ("types", "item_types"):
        for inner in getattr(info, name, ()):
            yield from _parts_of(inner)
