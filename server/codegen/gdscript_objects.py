"""Writes the classes and the enumerations of a game as GDScript. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from tickwire.server.codegen.descriptions import check_members, describe_field, to_literal
from tickwire.server.codegen.game_api import EnumApi, FieldApi, ObjectApi
from tickwire.server.codegen.gdscript_names import OBJECT_MEMBERS, to_class_name, to_member
from tickwire.server.codegen.gdscript_text import to_class, to_comment
from tickwire.server.codegen.gdscript_types import INITIAL_VALUES, ClassNames, has_literal_default, to_initial_value


def to_object_class(record: ObjectApi, names: ClassNames) -> list[str]:
    """Return the lines of the class of an object."""
    name = to_class_name(record.name)
    check_members("GDScript", name, map(_member, record.fields))
    lines = list(_object_members(record, names))
    if record.is_from_server:
        lines += ["", "", *_from_value(record, name, names)]
    if record.is_from_client:
        lines += ["", "", *_to_value(record, names)]
    return to_class(name, record.doc, lines)


def _object_members(record: ObjectApi, names: ClassNames) -> Iterator[str]:
    for field in record.fields:
        yield from to_comment([describe_value(field, names)])
        annotation = _member_annotation(record, field, names)
        yield f"var {_member(field)}: {annotation} = {to_initial_value(annotation, field)}"


def _member_annotation(record: ObjectApi, field: FieldApi, names: ClassNames) -> str:
    """Return the type of a member. It may be null if the client leaves the field out unless the game sets it."""
    annotation = names.to_annotation(field.type)
    can_be_left_out = record.is_from_client and not is_always_sent(field, names)
    return to_nullable(annotation) if can_be_left_out else annotation


def _from_value(record: ObjectApi, name: str, names: ClassNames) -> Iterator[str]:
    yield f"static func from_value(value: Variant) -> {name}:"
    yield f"\tvar made := {name}.new()"
    if not record.fields:
        yield "\treturn made"
        return
    yield "\tvar fields: Dictionary = value if value is Dictionary else {}"
    for field in record.fields:
        key = to_literal(field.name)
        yield f"\tif fields.has({key}):"
        yield f"\t\tmade.{_member(field)} = {names.to_conversion(field.type, f'fields[{key}]')}"
    yield "\treturn made"


def _to_value(record: ObjectApi, names: ClassNames) -> Iterator[str]:
    sent = [field for field in record.fields if is_always_sent(field, names)]
    yield "func to_value() -> Dictionary:"
    pairs = ", ".join(f"{to_literal(field.name)}: {to_sent(field, names, _member(field))}" for field in sent)
    yield f"\tvar fields := {{{pairs}}}"
    for field in record.fields:
        if field not in sent:
            yield f"\tif {_member(field)} != null:"
            yield f"\t\tfields[{to_literal(field.name)}] = {to_sent(field, names, _member(field))}"
    yield "\treturn fields"


def to_enum_class(enum: EnumApi) -> list[str]:
    """Return the lines of the class with the values of an enumeration."""
    check_members("GDScript", to_class_name(enum.name), [to_member(name) for name, _ in enum.members])
    lines = [f"const {to_member(name)} := {to_literal(value)}" for name, value in enum.members]
    return to_class(to_class_name(enum.name), enum.doc, lines)


def is_always_sent(field: FieldApi, names: ClassNames) -> bool:
    """Return whether the client sends a field in any case: it is required, or has a default that the client knows."""
    return field.is_required or has_literal_default(names.to_annotation(field.type), field)


def to_sent(field: FieldApi, names: ClassNames, member: str) -> str:
    """Return the expression of a field's value as MessagePack sends it."""
    return member if names.is_plain(field.type) else f"_Values.to_plain({member})"


def to_nullable(annotation: str) -> str:
    """Return a type that has null, too."""
    return "Variant" if annotation in INITIAL_VALUES else annotation


def describe_value(field: FieldApi, names: ClassNames) -> str:
    """Return the comment of an argument, with the type if the annotation says less."""
    kind = names.describe(field.type)
    return "; ".join(
        part for part in (kind if kind != names.to_annotation(field.type) else "", describe_field(field)) if part
    )


def _member(field: FieldApi) -> str:
    return to_member(field.name, OBJECT_MEMBERS)
