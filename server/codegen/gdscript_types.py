"""Types of a game's API as GDScript: annotations, initial values, and the conversion of received values. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tickwire.server.codegen import api_types
from tickwire.server.codegen.api_types import ApiType
from tickwire.server.codegen.descriptions import to_literal
from tickwire.server.codegen.game_api import EnumApi, FieldApi, ObjectApi
from tickwire.server.codegen.gdscript_names import to_class_name

INITIAL_VALUES = {
    "bool": "false",
    "int": "0",
    "float": "0.0",
    "String": '""',
    "PackedByteArray": "PackedByteArray()",
    "Array": "[]",
    "Dictionary": "{}",
}
"""The initial values of the types that cannot be null; all others begin with null."""

_LITERALS: dict[str, tuple[type, ...]] = {"bool": (bool,), "int": (int,), "float": (int, float), "String": (str,)}


class ClassNames(msgspec.Struct, frozen=True):
    """The classes and the enumerations that types refer to, by their names in the game."""

    objects: Mapping[str, ObjectApi]
    enums: Mapping[str, EnumApi]

    def to_annotation(self, kind: ApiType) -> str:
        """Return the narrowest type of GDScript that has all values of a type."""
        match kind:
            case api_types.BooleanType():
                return "bool"
            case api_types.IntegerType():
                return "int"
            case api_types.NumberType():
                return "float"
            case api_types.TextType():
                return "String"
            case api_types.BytesType():
                return "PackedByteArray"
            case api_types.TimestampType():
                return "_Timestamp"
            case api_types.LiteralType():
                return _type_of_values(kind.values)
            case api_types.ListType() | api_types.TupleType():
                return "Array"
            case api_types.MapType():
                return "Dictionary"
            case api_types.ReferenceType() if kind.name in self.enums:
                return _type_of_values(tuple(value for _, value in self.enums[kind.name].members))
            case api_types.ReferenceType():
                return to_class_name(kind.name)
            case api_types.UnionType():
                return self._union_annotation(kind)
            case _:
                return "Variant"

    def _union_annotation(self, kind: api_types.UnionType) -> str:
        """A class of Godot may be null, so that "an object or null" has a type. Other values may not be null."""
        names = {self.to_annotation(option) for option in kind.options if not isinstance(option, api_types.NullType)}
        has_null = any(isinstance(option, api_types.NullType) for option in kind.options)
        if len(names) != 1:
            return "Variant"
        (name,) = names
        return "Variant" if has_null and name in INITIAL_VALUES else name

    def describe(self, kind: ApiType) -> str:
        """Return a type for a comment, in more detail than its annotation."""
        match kind:
            case api_types.NullType():
                return "null"
            case api_types.ListType():
                return f"Array of {self.describe(kind.item)}"
            case api_types.TupleType():
                return f"Array: {', '.join(map(self.describe, kind.items))}"
            case api_types.MapType():
                return f"Dictionary of {self.describe(kind.key)} to {self.describe(kind.value)}"
            case api_types.LiteralType():
                return " or ".join(map(to_literal, kind.values))
            case api_types.UnionType():
                return " or ".join(dict.fromkeys(map(self.describe, kind.options)))
            case api_types.ReferenceType():
                return to_class_name(kind.name)
            case _:
                return self.to_annotation(kind)

    def is_plain(self, kind: ApiType) -> bool:
        """Return whether a received value needs no conversion: it contains no object of the game."""
        parts = api_types.parts_of(kind)
        return not any(isinstance(part, api_types.ReferenceType) and part.name in self.objects for part in parts)

    def to_conversion(self, kind: ApiType, value: str) -> str:
        """Return an expression that converts a received value to objects of the game."""
        if self.is_plain(kind):
            return value
        match kind:
            case api_types.ReferenceType():
                return f"{to_class_name(kind.name)}.from_value({value})"
            case api_types.ListType():
                return f"_Values.convert_list({value}, {self._function(kind.item)})"
            case api_types.MapType():
                return f"_Values.convert_map({value}, {self._function(kind.value)})"
            case api_types.TupleType():
                functions = ", ".join(map(self._function, kind.items))
                return f"_Values.convert_tuple({value}, [{functions}])"
            case api_types.UnionType():
                return self._union_conversion(kind, value)
            case _:
                return value

    def _function(self, kind: ApiType) -> str:
        if isinstance(kind, api_types.ReferenceType) and kind.name in self.objects:
            return f"{to_class_name(kind.name)}.from_value"
        return f"func(value: Variant) -> Variant: return {self.to_conversion(kind, 'value')}"

    def _union_conversion(self, kind: api_types.UnionType, value: str) -> str:
        """Choose the class of a map by its tag. Without tags, only one class can be known."""
        names = [option.name for option in kind.options if isinstance(option, api_types.ReferenceType)]
        records = [self.objects[name] for name in names if name in self.objects]
        if len(records) == 1:
            return f"_Values.convert_object({value}, {to_class_name(records[0].name)}.from_value)"
        tags = {record.name: _tag_of(record) for record in records}
        keys = {tag[0] for tag in tags.values() if tag}
        if len(keys) != 1 or not all(tags.values()):
            return value
        cases = ", ".join(
            f"{to_literal(tag[1])}: {to_class_name(name)}.from_value" for name, tag in tags.items() if tag is not None
        )
        return f"_Values.convert_tagged({value}, {to_literal(keys.pop())}, {{{cases}}})"


def to_initial_value(annotation: str, field: FieldApi) -> str:
    """Return the initial value of a variable or a parameter: the game's default, if it is a literal in GDScript."""
    if has_literal_default(annotation, field):
        return to_number(field.default) if annotation == "float" else to_literal(field.default)
    if isinstance(field.type, api_types.LiteralType) and len(field.type.values) == 1:
        return to_literal(field.type.values[0])
    return INITIAL_VALUES.get(annotation, "null")


def has_literal_default(annotation: str, field: FieldApi) -> bool:
    """Return whether the game's default is a literal of this type, so that the client can send it."""
    kinds = _LITERALS.get(annotation, ())
    return isinstance(field.default, kinds) and (annotation == "bool" or not isinstance(field.default, bool))


def to_number(value: object) -> str:
    """Return a real number as an expression, which must have a point."""
    text = repr(float(value)) if isinstance(value, int | float) else "0.0"
    return {"inf": "INF", "-inf": "-INF", "nan": "NAN"}.get(text, text)


def _tag_of(record: ObjectApi) -> tuple[str, str | int | bool | None] | None:
    """Return the field that has one constant value, with that value."""
    for field in record.fields:
        if isinstance(field.type, api_types.LiteralType) and len(field.type.values) == 1:
            return field.name, field.type.values[0]
    return None


def _type_of_values(values: tuple[object, ...]) -> str:
    kinds = {type(value) for value in values}
    return {str: "String", int: "int", bool: "bool"}.get(kinds.pop(), "Variant") if len(kinds) == 1 else "Variant"
