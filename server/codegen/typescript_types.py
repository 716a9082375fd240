"""Types of a game's API as TypeScript: expressions and keys. Pure."""

from __future__ import annotations

import re

from tickwire.server.codegen import api_types
from tickwire.server.codegen.api_types import ApiType
from tickwire.server.codegen.descriptions import to_literal
from tickwire.server.codegen.game_api import ColumnApi
from tickwire.server.errors import ConfigError

_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_COLUMN_TYPES = {"text": "string", "blob": "Uint8Array"}


def to_key(name: str) -> str:
    """Return a name as the key of a property, quoted if TypeScript requires it."""
    return name if _IDENTIFIER.fullmatch(name) else to_literal(name)


def to_expression(kind: ApiType) -> str:
    """Return the expression of a type."""
    match kind:
        case api_types.NullType():
            return "null"
        case api_types.BooleanType():
            return "boolean"
        case api_types.IntegerType() | api_types.NumberType():
            return "number"
        case api_types.TextType():
            return "string"
        case api_types.BytesType():
            return "Uint8Array"
        case api_types.TimestampType():
            return "Date"
        case api_types.LiteralType():
            return " | ".join(to_literal(value) for value in kind.values)
        case api_types.ListType():
            item = to_expression(kind.item)
            return f"({item})[]" if "|" in item else f"{item}[]"
        case api_types.TupleType():
            return f"[{', '.join(to_expression(item) for item in kind.items)}]"
        case api_types.MapType():
            key = "number" if isinstance(kind.key, api_types.IntegerType) else "string"
            return f"Record<{key}, {to_expression(kind.value)}>"
        case api_types.UnionType():
            return " | ".join(dict.fromkeys(to_expression(option) for option in kind.options))
        case api_types.ReferenceType():
            return kind.name
        case api_types.AnyType():
            return "unknown"


def to_column_type(column: ColumnApi) -> str:
    """Return the expression of the values of a table's or an input's field."""
    return _COLUMN_TYPES.get(column.kind, "number")


def check_sent(what: str, kind: ApiType) -> None:
    """Check that a client in JavaScript can send the values of a type.

    Raises:
        ConfigError: a map has keys that are not texts.
    """
    for part in api_types.parts_of(kind):
        if isinstance(part, api_types.MapType) and not _is_text(part.key):
            raise ConfigError(
                f"rooms: {what} is a map whose keys are not texts, and JavaScript sends all keys as texts; use a list"
            )


def _is_text(kind: ApiType) -> bool:
    match kind:
        case api_types.LiteralType():
            return all(isinstance(value, str) for value in kind.values)
        case api_types.TextType() | api_types.AnyType() | api_types.ReferenceType():
            return True
        case _:
            return False
