"""Writes the commands of a room as methods of GDScript, and its events as signals. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tickwire.server.codegen.api_types import NullType
from tickwire.server.codegen.descriptions import check_members, to_literal
from tickwire.server.codegen.game_api import CommandApi, EventApi, FieldApi, RoomApi
from tickwire.server.codegen.gdscript_names import OBJECT_METHODS, to_member
from tickwire.server.codegen.gdscript_objects import describe_value, is_always_sent, to_nullable, to_sent
from tickwire.server.codegen.gdscript_text import escape_tags, to_comment
from tickwire.server.codegen.gdscript_types import ClassNames, has_literal_default, to_initial_value

_VARIABLES = ("arguments", "reply", "_room")
"""The variables that a command's method uses."""
_EVENT_MEMBERS = OBJECT_METHODS | {"_receive"}
"""The names that a signal of an event cannot have."""


def command_class_lines(room: RoomApi, names: ClassNames) -> Iterator[str]:
    """Yield the lines of the class with the commands of a room as methods."""
    yield "var _room: _Room"
    yield ""
    yield ""
    yield "func _init(joined: _Room) -> void:"
    yield "\t_room = joined"
    methods = [to_member(command.name, OBJECT_METHODS) for command in room.commands]
    check_members("GDScript", f"the commands of {room.name}", ["_room", *methods])
    reserved = {*methods, *_VARIABLES}  # a parameter with the name of a method would be a warning of Godot
    for command in room.commands:
        yield ""
        yield ""
        members = {each.name: to_member(each.name, reserved) for each in command.arguments}
        check_members("GDScript", f"the command {command.name}", members.values())
        yield from _command_lines(command, names, members)


def _command_lines(command: CommandApi, names: ClassNames, members: Mapping[str, str]) -> Iterator[str]:
    arguments = sorted(command.arguments, key=lambda argument: not argument.is_required)
    notes = ((argument, describe_value(argument, names)) for argument in arguments)
    parameters = [f"[param {members[argument.name]}] {note}" for argument, note in notes if note]
    is_void = isinstance(command.result, NullType)
    result = [] if is_void else [f"The reply's value: {names.describe(command.result)}"]
    yield from to_comment([escape_tags(command.doc), *parameters, *result])
    signature = ", ".join(_parameter(each, names, members[each.name]) for each in arguments)
    yield f"func {to_member(command.name, OBJECT_METHODS)}({signature}) -> _Reply:"
    sent = [argument for argument in arguments if is_always_sent(argument, names)]
    pairs = ", ".join(
        f"{to_literal(argument.name)}: {to_sent(argument, names, members[argument.name])}" for argument in sent
    )
    yield f"\tvar arguments := {{{pairs}}}"
    for argument in arguments:
        if argument not in sent:
            yield f"\tif {members[argument.name]} != null:"
            yield f"\t\targuments[{to_literal(argument.name)}] = {to_sent(argument, names, members[argument.name])}"
    call = f"await _room.command({to_literal(command.name)}, arguments)"
    if names.is_plain(command.result):
        yield f"\treturn {call}"
        return
    yield f"\tvar reply: _Reply = {call}"
    yield "\tif reply.is_ok:"
    yield f"\t\treply.value = {names.to_conversion(command.result, 'reply.value')}"
    yield "\treturn reply"


def _parameter(argument: FieldApi, names: ClassNames, member: str) -> str:
    annotation = names.to_annotation(argument.type)
    if argument.is_required:
        return f"{member}: {annotation}"
    if not has_literal_default(annotation, argument):
        return f"{member}: {to_nullable(annotation)} = null"
    return f"{member}: {annotation} = {to_initial_value(annotation, argument)}"


def event_class_lines(events: tuple[EventApi, ...], names: ClassNames) -> Iterator[str]:
    """Yield the lines of the class with the events of a room as signals."""
    signals = {event.name: to_member(event.name, _EVENT_MEMBERS) for event in events}
    check_members("GDScript", "the events of a room", signals.values())
    for event in events:
        yield f"signal {signals[event.name]}(payload: {names.to_annotation(event.payload)})"
    yield from ("", "") if events else ()
    yield "func _init(joined: _Room) -> void:"
    yield "\tjoined.event.connect(_receive)"
    yield ""
    yield ""
    yield "func _receive(name: String, payload: Variant) -> void:"
    if not events:
        yield "\tpass # the room declares no events"
        return
    yield "\tmatch name:"
    for event in events:
        yield f"\t\t{to_literal(event.name)}:"
        yield f"\t\t\t{signals[event.name]}.emit({names.to_conversion(event.payload, 'payload')})"
