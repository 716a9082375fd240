"""Reads the API of a game from its room classes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from tickwire.schemas.event_names import to_event_name
from tickwire.schemas.fields import Field
from tickwire.schemas.messages import FieldKind
from tickwire.server.codegen.docstrings import arguments_of, doc_of, first_paragraph
from tickwire.server.codegen.game_api import ColumnApi, CommandApi, EventApi, GameApi, GroupApi, RoomApi, TableApi
from tickwire.server.codegen.type_reader import TypeReader
from tickwire.server.replication.table import Table
from tickwire.server.rooms.command_declarations import CommandDeclaration
from tickwire.server.rooms.room import Room


def read_game(rooms: Mapping[str, type[Room]]) -> GameApi:
    """Return the API of room classes, which are given by room type.

    Raises:
        ConfigError: a type has no form on the wire, or two classes would have one name in clients.
    """
    types = TypeReader()
    found = tuple(_read_room(name, room, types) for name, room in sorted(rooms.items()))
    return GameApi(found, types.objects, types.enums)


def _read_room(name: str, room: type[Room], types: TypeReader) -> RoomApi:
    declared = (room.options_type, room.create_options_type)
    return RoomApi(
        name,
        options=tuple(types.read(kind, "client") for kind in dict.fromkeys(declared) if kind is not Any),
        tables=tuple(_read_table(attribute, table) for attribute, table in room.tables.items()),
        inputs=_read_columns(room.input_fields),
        commands=tuple(_read_command(command, types) for command in room.commands.values()),
        events=tuple(EventApi(to_event_name(kind), types.read(kind, "server")) for kind in room.events),
        doc=doc_of(room),
    )


def _read_command(command: CommandDeclaration, types: TypeReader) -> CommandApi:
    docs = arguments_of(command.doc)
    arguments = types.read_fields(command.arguments, "client")
    return CommandApi(
        command.name,
        tuple(msgspec.structs.replace(argument, doc=docs.get(argument.name, "")) for argument in arguments),
        types.read(command.result, "server"),
        first_paragraph(command.doc),
    )


def _read_table(name: str, table: type[Table]) -> TableApi:
    groups = (column_group.group for column_group in table.groups.values())
    return TableApi(
        name,
        _read_columns(table.fields),
        tuple(GroupApi(group.name, group.kind.name.lower(), group.parts) for group in groups),
        doc_of(table),
    )


def _read_columns(fields: Iterable[Field]) -> tuple[ColumnApi, ...]:
    return tuple(_read_column(field) for field in fields)


def _read_column(field: Field) -> ColumnApi:
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    match field.kind:
        case FieldKind.UINT | FieldKind.INT:
            minimum, maximum = field.range
        case FieldKind.REAL:
            minimum, maximum, step = field.low, field.high, field.step
    return ColumnApi(
        field.name, field.kind.name.lower(), field.bits, minimum, maximum, step, field.labels, field.bytes_max
    )
