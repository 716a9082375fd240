"""Generates TypeScript types of room classes, for `tickwire codegen typescript`.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tickwire.schemas.fields import Field
from tickwire.schemas.messages import FieldKind
from tickwire.server.rooms.room import Room

_TYPES = {FieldKind.TEXT: "string", FieldKind.BLOB: "Uint8Array"}


def generate_types(rooms: Mapping[str, type[Room]]) -> str:
    """Return TypeScript interfaces for the tables and inputs of room classes, which are given by room type."""
    parts = ["// Made by `tickwire codegen typescript`; never edited."]
    for room_type, room in sorted(rooms.items()):
        name = _name(room_type)
        for attribute, table in room.tables.items():
            parts.append(_interface(f"{name}{_name(attribute)}", table.fields))
        parts.append(_interface(f"{name}Inputs", room.input_fields, optional=True))
        tables = "; ".join(f"{attribute}: {name}{_name(attribute)}" for attribute in room.tables)
        parts.append(f"export interface {name}Room {{\n  tables: {{ {tables} }};\n  inputs: {name}Inputs;\n}}")
    return "\n\n".join(parts) + "\n"


def _interface(name: str, fields: Iterable[Field], *, optional: bool = False) -> str:
    mark = "?" if optional else ""
    lines = [f"  {field.name}{mark}: {_TYPES.get(field.kind, 'number')};{_note(field)}" for field in fields]
    body = "\n".join(lines)
    return f"export interface {name} {{\n{body}\n}}" if lines else f"export type {name} = Record<string, never>;"


def _note(field: Field) -> str:
    match field.kind:
        case FieldKind.REAL:
            return f" // {field.low:g} to {field.high:g}"
        case FieldKind.ANGLE:
            return " // radians"
        case FieldKind.ENUM:
            return f" // {', '.join(f'{number} {label}' for number, label in enumerate(field.labels))}"
        case FieldKind.BOOL:
            return " // 0 or 1"
        case FieldKind.ENTITY:
            return " // the id of an entity; 0: none"
        case _:
            return ""


def _name(text: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in text.replace("-", "_").split("_"))
