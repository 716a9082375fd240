"""Comments and names in generated code that are equal in all languages: bounds, defaults, type names. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable

import msgspec

from tickwire.server.codegen import api_types
from tickwire.server.codegen.api_types import ApiType
from tickwire.server.codegen.game_api import ColumnApi, FieldApi
from tickwire.server.errors import ConfigError


def to_pascal_case(text: str) -> str:
    """Return a name of the game as the name of a type."""
    name = "".join(part[:1].upper() + part[1:] for part in re.split(r"[\W_]+", text))
    return name if name[:1].isalpha() else f"_{name}"


def check_type_names(language: str, names: Collection[str]) -> None:
    """Check that each type of a language has a name of its own.

    Raises:
        ConfigError: two types would have one name.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ConfigError(f"rooms: two types in {language} would be called {name}; rename a class or a table")
        seen.add(name)


def check_members(language: str, owner: str, names: Iterable[str]) -> None:
    """Check that the members of a class have different names.

    Raises:
        ConfigError: two members would have one name.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ConfigError(f"rooms: two members of {owner} would be called {name} in {language}; rename a field")
        seen.add(name)


def to_literal(value: object) -> str:
    """Return a plain value as an expression."""
    return json.dumps(value, ensure_ascii=False)


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


def _range(low: float | None, high: float | None) -> str:
    if low is None:
        return "" if high is None else f"at most {_number(high)}"
    return f"at least {_number(low)}" if high is None else f"{_number(low)} to {_number(high)}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.15g}"
