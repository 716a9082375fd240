"""Reads annotations without types inside of them into types of a game's API. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import inspect

from tickwire.server.codegen import api_types
from tickwire.server.codegen.api_types import ApiType
from tickwire.server.errors import ConfigError

_TEXT_FORMATS: Mapping[type, Any] = {
    inspect.DateType: "date",
    inspect.TimeType: "time",
    inspect.TimeDeltaType: "duration",
    inspect.UUIDType: "uuid",
    inspect.DecimalType: "decimal",
}
_BYTES = (inspect.BytesType, inspect.ByteArrayType, inspect.MemoryViewType)


def read_scalar(info: inspect.Type) -> ApiType:
    """Return the type of an annotation, as msgspec describes it.

    Raises:
        ConfigError: the annotation has no form on the wire.
    """
    match info:
        case inspect.AnyType() | inspect.RawType():
            return api_types.AnyType()
        case inspect.NoneType():
            return api_types.NullType()
        case inspect.BoolType():
            return api_types.BooleanType()
        case inspect.IntType():
            return api_types.IntegerType(_whole(info.ge, info.gt, 1), _whole(info.le, info.lt, -1))
        case inspect.FloatType():
            return api_types.NumberType(info.ge, info.le, info.gt, info.lt)
        case inspect.StrType():
            return api_types.TextType(info.min_length, info.max_length, info.pattern)
        case inspect.LiteralType():
            return api_types.LiteralType(info.values)
        case inspect.DateTimeType():
            naive, aware = api_types.TextType(format="date-time"), api_types.TimestampType()
            return api_types.UnionType((aware, naive)) if info.tz is None else aware if info.tz else naive
    if isinstance(info, _BYTES):
        return api_types.BytesType(info.min_length, info.max_length)
    if text_format := _TEXT_FORMATS.get(type(info)):
        return api_types.TextType(format=text_format)
    what = getattr(info, "cls", type(info)).__name__
    raise ConfigError(
        f"rooms: a {what} has no form that all clients know; use numbers, texts, containers or a struct"
    )


def _whole(inclusive: int | None, exclusive: int | None, step: int) -> int | None:
    return inclusive if exclusive is None else exclusive + step
