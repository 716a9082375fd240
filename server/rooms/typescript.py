"""What rooms are made of, as TypeScript: `tickwire codegen typescript` writes it for clients that want their compiler
to know.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tickwire.schemas.fields import Field
from tickwire.schemas.messages import FieldKind
from tickwire.server.rooms.room import Room

_TYPES = {FieldKind.TEXT: "string", FieldKind.BLOB: "Uint8Array"}


def types_of(rooms: Mapping[str, type[Room]]) -> str:
    """The interfaces of some room types, by name."""
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
            return f" // {', '.join(f'{place} {label}' for place, label in enumerate(field.labels))}"
        case FieldKind.BOOL:
            return " // 0 or 1"
        case FieldKind.ENTITY:
            return " // an entity; 0: nobody"
        case _:
            return ""


def _name(text: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in text.replace("-", "_").split("_"))
