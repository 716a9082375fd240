"""Writes a room as GDScript: its tables, its inputs, and the class that joins it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from tickwire.server.codegen.api_types import ReferenceType
from tickwire.server.codegen.descriptions import check_members, describe_column, to_literal, to_pascal_case
from tickwire.server.codegen.game_api import ColumnApi, GroupApi, RoomApi, TableApi
from tickwire.server.codegen.gdscript_calls import command_class_lines, event_class_lines
from tickwire.server.codegen.gdscript_names import OBJECT_MEMBERS, OBJECT_METHODS, to_class_name, to_member
from tickwire.server.codegen.gdscript_text import to_class, to_comment
from tickwire.server.codegen.gdscript_types import INITIAL_VALUES, ClassNames

_TABLE_MEMBERS = OBJECT_METHODS.union(
    ("table", "size", "ids", "has", "number", "integer", "boolean", "text", "bytes", "vector")
)
"""The members of the addon's `_TypedTable`."""
_CONSTRUCTOR = ("joined",)
"""The parameter of the constructor of all tables."""
_COLUMN_TYPES = {
    "bool": ("bool", "boolean"),
    "uint": ("int", "integer"),
    "int": ("int", "integer"),
    "enum": ("int", "integer"),
    "entity": ("int", "integer"),
    "real": ("float", "number"),
    "angle": ("float", "number"),
    "text": ("String", "text"),
    "blob": ("PackedByteArray", "bytes"),
}
"""By kind: the type in GDScript, and the method of the addon's `_TypedTable` that reads it."""
_ZEROS = {
    "Vector2": "Vector2.ZERO",
    "Vector3": "Vector3.ZERO",
    "Vector4": "Vector4.ZERO",
    "Quaternion": "Quaternion.IDENTITY",
}


def room_declarations(room: RoomApi, names: ClassNames) -> Iterator[tuple[str, list[str]]]:
    """Yield the name and the lines of each class of a room."""
    prefix = to_pascal_case(room.name)
    yield f"{prefix}Room", to_class(f"{prefix}Room", room.doc, _room_lines(room, prefix))
    for table in room.tables:
        name = to_class_name(f"{prefix} {table.name}")
        yield name, to_class(name, table.doc, _table_lines(table, name), base="_TypedTable")
    yield f"{prefix}Tables", to_class(f"{prefix}Tables", "", _tables_lines(room, prefix))
    yield f"{prefix}Inputs", to_class(f"{prefix}Inputs", "", _input_lines(room.inputs, f"{prefix}Inputs"))
    yield f"{prefix}Commands", to_class(f"{prefix}Commands", "", command_class_lines(room, names))
    yield f"{prefix}Events", to_class(f"{prefix}Events", "", event_class_lines(room.events, names))


def _room_lines(room: RoomApi, prefix: str) -> Iterator[str]:
    yield f"const ROOM_TYPE := {to_literal(room.name)}"
    yield ""
    yield "var room: _Room"
    yield f"var tables: {prefix}Tables"
    yield f"var commands: {prefix}Commands"
    yield f"var events: {prefix}Events"
    yield ""
    yield ""
    yield "func _init(joined: _Room) -> void:"
    yield "\troom = joined"
    yield f"\ttables = {prefix}Tables.new(joined)"
    yield f"\tcommands = {prefix}Commands.new(joined)"
    yield f"\tevents = {prefix}Events.new(joined)"
    yield ""
    yield ""
    yield from _join_lines(room, prefix)
    yield ""
    yield ""
    yield from to_comment(["Sends an input. Returns its number; 0 if it was not sent."])
    yield f"func send_input(inputs: {prefix}Inputs) -> int:"
    yield "\treturn room.send_input(inputs.to_value())"


def _join_lines(room: RoomApi, prefix: str) -> Iterator[str]:
    """Write `join`, with a parameter for each class of options: those of the player, and those of a new room."""
    classes = [to_class_name(kind.name) for kind in room.options if isinstance(kind, ReferenceType)]
    options = dict(zip(("options", "room_options"), classes, strict=False)) or {"options": "Dictionary"}
    parameters = [f"{name}: {kind} = {'{}' if kind == 'Dictionary' else 'null'}" for name, kind in options.items()]
    yield from to_comment(
        [
            "Joins a room of this type. Returns null if that fails: the client's last_error has the reason.",
            "[param join_options] name, room_id, code, is_private, labels, party; see the client's join.",
        ]
    )
    parameters.append("join_options: Dictionary = {}")
    yield f"static func join(client: _Client, {', '.join(parameters)}) -> {prefix}Room:"
    yield "\tvar all := join_options.duplicate()"
    yield f'\tall["options"] = _Values.merge([{", ".join(options)}])'
    yield "\tvar joined: _Room = await client.join(ROOM_TYPE, all)"
    yield f"\treturn {prefix}Room.new(joined) if joined else null"


def _tables_lines(room: RoomApi, prefix: str) -> Iterator[str]:
    members = [
        (to_member(table.name, _CONSTRUCTOR), to_class_name(f"{prefix} {table.name}"), table.name)
        for table in room.tables
    ]
    check_members("GDScript", f"{prefix}Tables", [member for member, _, _ in members])
    for member, kind, _ in members:
        yield f"var {member}: {kind}"
    yield from ("", "") if members else ()
    yield "func _init(joined: _Room) -> void:"
    for member, kind, name in members:
        yield f"\t{member} = {kind}.new(joined, {to_literal(name)})"
    yield from () if members else ("\tpass # the room has no tables",)


def _table_lines(table: TableApi, owner: str) -> Iterator[str]:
    encoded = {name for group in table.groups if group.kind == "quaternion" for name in group.columns}
    columns = [column for column in table.columns if column.name not in encoded]
    members = [column.name for column in columns] + [group.name for group in table.groups]
    check_members("GDScript", owner, [to_member(name, _TABLE_MEMBERS) for name in members])
    if not columns and not table.groups:
        yield "pass"
    for index, column in enumerate(columns):
        kind, method = _COLUMN_TYPES[column.kind]
        yield from ("", "") if index else ()
        yield from to_comment([describe_column(column)])
        yield f"func {to_member(column.name, _TABLE_MEMBERS)}(id: int) -> {kind}:"
        yield f"\treturn {method}(id, {to_literal(column.name)})"
    for index, group in enumerate(table.groups):
        kind = _group_type(group)
        yield from ("", "") if index or columns else ()
        yield f"func {to_member(group.name, _TABLE_MEMBERS)}(id: int) -> {kind}:"
        yield f"\treturn vector(id, {to_literal(group.name)}, {_ZEROS[kind]})"


def _group_type(group: GroupApi) -> str:
    return "Quaternion" if group.kind == "quaternion" else f"Vector{len(group.columns)}"


def _input_lines(inputs: tuple[ColumnApi, ...], owner: str) -> Iterator[str]:
    check_members("GDScript", owner, [to_member(column.name, OBJECT_MEMBERS) for column in inputs])
    for column in inputs:
        kind, _ = _COLUMN_TYPES[column.kind]
        yield from to_comment([describe_column(column)])
        yield f"var {to_member(column.name, OBJECT_MEMBERS)}: {kind} = {INITIAL_VALUES[kind]}"
    yield from ("", "") if inputs else ()
    yield "func to_value() -> Dictionary:"
    pairs = ", ".join(f"{to_literal(column.name)}: {to_member(column.name, OBJECT_MEMBERS)}" for column in inputs)
    yield f"\treturn {{{pairs}}}"
