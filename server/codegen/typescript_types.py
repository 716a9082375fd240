"""Types of a game's API as TypeScript: expressions, names and comments. Pure."""

from __future__ import annotations

import json
import re

import msgspec

from tickwire.server.codegen import api_types
from tickwire.server.codegen.api_types import ApiType
from tickwire.server.codegen.game_api import ColumnApi, FieldApi
from tickwire.server.errors import ConfigError

_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_COLUMN_TYPES = {"text": "string", "blob": "Uint8Array"}


def to_pascal_case(text: str) -> str:
    """Return a name of the game as the name of a type."""
    name = "".join(part[:1].upper() + part[1:] for part in re.split(r"[\W_]+", text))
    return name if name[:1].isalpha() else f"_{name}"


def to_key(name: str) -> str:
    """Return a name as the key of a property, quoted if TypeScript requires it."""
    return name if _IDENTIFIER.fullmatch(name) else to_literal(name)


def to_literal(value: object) -> str:
    """Return a plain value as an expression."""
    return json.dumps(value, ensure_ascii=False)


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


def describe_column(column: ColumnApi) -> str:
    """Return the comment of a table's or an input's field."""
    match column.kind:
        case "real" | "uint" | "int":
            return _range(column.minimum, column.maximum)
        case "angle":
            return "radians"
        case "enum":
            return ", ".join(f"{number} {label}" for number, label in enumerate(column.labels))
        case "bool":
            return "0 or 1"
        case "entity":
            return "the id of an entity; 0: none"
        case "text":
            return f"at most {column.bytes_max} bytes of UTF-8"
        case _:
            return ""


def describe_field(field: FieldApi) -> str:
    """Return the comment of an argument or of an object's field: its description, its bounds and its default."""
    parts = [field.doc.rstrip("."), describe_bounds(field.type)]
    if not field.is_required and field.default is not msgspec.UNSET:
        parts.append(f"{to_literal(field.default)} by default")
    return "; ".join(part for part in parts if part)


def describe_bounds(kind: ApiType) -> str:
    """Return the bounds of a type; empty without bounds."""
    match kind:
        case api_types.IntegerType():
            return _range(kind.minimum, kind.maximum)
        case api_types.NumberType():
            limits = ((kind.exclusive_minimum, "above"), (kind.exclusive_maximum, "below"))
            parts = [_range(kind.minimum, kind.maximum)]
            parts += [f"{word} {limit:g}" for limit, word in limits if limit is not None]
            return ", ".join(part for part in parts if part)
        case api_types.TextType():
            length = _range(kind.length_min, kind.length_max)
            parts = [f"{length} characters" if length else "", kind.format]
            parts += [f"matches {kind.pattern}"] if kind.pattern else []
            return ", ".join(part for part in parts if part)
        case api_types.BytesType():
            length = _range(kind.length_min, kind.length_max)
            return f"{length} bytes" if length else ""
        case api_types.ListType():
            length = _range(kind.length_min, kind.length_max)
            return f"{length} items" if length else ""
        case _:
            return ""


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


def _range(low: float | None, high: float | None) -> str:
    if low is None:
        return "" if high is None else f"at most {_number(high)}"
    return f"at least {_number(low)}" if high is None else f"{_number(low)} to {_number(high)}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.15g}"
