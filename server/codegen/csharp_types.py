"""Types of a game's API as C#: expressions, names, and how values are read from and written to MessagePack. Pure.

All types of the .NET libraries have their full names, because a class of the game may be called Action or Task.
"""

from __future__ import annotations

import functools
import re

from tickwire.server.codegen import api_types
from tickwire.server.codegen.api_types import ApiType
from tickwire.server.codegen.descriptions import check_members as check_members_in
from tickwire.server.codegen.descriptions import to_pascal_case
from tickwire.server.codegen.game_api import EnumApi, FieldApi, GameApi, ObjectApi

CLIENT = "global::Tickwire"
WIRE = f"{CLIENT}.WireValues"
TASK = "global::System.Threading.Tasks.Task"
_COLLECTIONS = "global::System.Collections.Generic"
_VALUE_TYPES = (
    api_types.BooleanType,
    api_types.IntegerType,
    api_types.NumberType,
    api_types.TimestampType,
    api_types.TupleType,
)
_KEYWORDS = """
abstract as base bool break byte case catch char checked class const continue decimal default
delegate do double else enum event explicit extern false finally fixed float for foreach goto if
implicit in int interface internal is lock long namespace new null object operator out override
params private protected public readonly ref return sbyte sealed short sizeof stackalloc static
string struct switch this throw true try typeof uint ulong unchecked unsafe ushort using virtual
void volatile while
"""
_OBJECT_MEMBERS = frozenset(
    {"Equals", "Finalize", "GetHashCode", "GetType", "MemberwiseClone", "ReferenceEquals", "ToString"}
)
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NOT_IN_IDENTIFIER = re.compile(r"[^A-Za-z0-9_]")

check_members = functools.partial(check_members_in, "C#")


def to_member_name(name: str, owner: str) -> str:
    """Return a name of the game as a property.

    C# forbids the name of its class, and warns about one that hides a member of all objects.
    """
    member = to_identifier(to_pascal_case(name))
    return f"{member}_" if member == owner or member in _OBJECT_MEMBERS else member


def to_parameter_name(name: str) -> str:
    """Return a name of the game as a parameter."""
    member = to_identifier(to_pascal_case(name))
    parameter = member[:1].lower() + member[1:]
    return f"@{parameter}" if parameter in _KEYWORDS.split() else parameter


def to_identifier(name: str) -> str:
    """Return a name without the characters that C# does not allow."""
    clean = _NOT_IN_IDENTIFIER.sub("_", name)
    return clean if _IDENTIFIER.fullmatch(clean) else f"_{clean}"


def to_text(value: str) -> str:
    """Return a text as a literal."""
    escaped = "".join(_escape(character) for character in value)
    return f'"{escaped}"'


def _escape(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if " " <= character <= "~":
        return character
    return f"\\U{ord(character):08x}"


class CsharpTypes:
    """The expressions of types, for the objects and enumerations of one game."""

    def __init__(self, api: GameApi, namespace: str) -> None:
        self._enums = {enum.name: enum for enum in api.enums}
        self._objects = {record.name: record for record in api.objects}
        self._namespace = namespace

    def expression(self, kind: ApiType) -> str:
        """Return the expression of a type."""
        match kind:
            case api_types.BooleanType():
                return "bool"
            case api_types.IntegerType():
                return "long"
            case api_types.NumberType():
                return "double"
            case api_types.TextType():
                return "string"
            case api_types.BytesType():
                return "byte[]"
            case api_types.TimestampType():
                return "global::System.DateTime"
            case api_types.ListType():
                return f"{_COLLECTIONS}.List<{self.expression(kind.item)}>"
            case api_types.TupleType() if kind.items:
                inner = ", ".join(self.expression(item) for item in kind.items)
                return f"({inner})" if len(kind.items) > 1 else f"global::System.ValueTuple<{inner}>"
            case api_types.MapType():
                return f"{_COLLECTIONS}.Dictionary<{self._key(kind)}, {self.expression(kind.value)}>"
            case api_types.ReferenceType():
                return f"global::{self._namespace}.{kind.name}"
            case api_types.LiteralType() | api_types.UnionType():
                inner_kind, is_nullable = self._inner(kind)
                inner = self.expression(inner_kind)
                return f"{inner}?" if is_nullable and self._is_value(inner_kind) else inner
            case _:
                return "object"

    def read(self, kind: ApiType, value: str, depth: int = 0) -> str:
        """Return the expression that reads a decoded value as its type."""
        name = f"v{depth}_"
        match kind:
            case api_types.BooleanType():
                return f"{WIRE}.ToBoolean({value})"
            case api_types.IntegerType():
                return f"{WIRE}.ToInteger({value})"
            case api_types.NumberType():
                return f"{WIRE}.ToNumber({value})"
            case api_types.TextType():
                return f"{WIRE}.ToText({value})"
            case api_types.BytesType():
                return f"{WIRE}.ToBytes({value})"
            case api_types.TimestampType():
                return f"{WIRE}.ToTime({value})"
            case api_types.ListType():
                return f"{WIRE}.ToList({value}, {name} => {self.read(kind.item, name, depth + 1)})"
            case api_types.MapType():
                method = "ToNumberedMap" if self._key(kind) == "long" else "ToMap"
                return f"{WIRE}.{method}({value}, {name} => {self.read(kind.value, name, depth + 1)})"
            case api_types.TupleType() if kind.items:
                size = len(kind.items)
                parts = (
                    self.read(item, f"{WIRE}.Item({value}, {index}, {size})", depth)
                    for index, item in enumerate(kind.items)
                )
                return f"({', '.join(parts)})" if size > 1 else f"new {self.expression(kind)}({next(parts)})"
            case api_types.ReferenceType():
                return f"{self._owner(kind)}.FromWire({value})"
            case api_types.UnionType() if (tagged := self._tagged(kind)) is not None:
                return self._read_tagged(tagged, value, name)
            case api_types.LiteralType() | api_types.UnionType():
                inner, is_nullable = self._inner(kind)
                if not is_nullable or self.expression(inner) == "object":
                    return self.read(inner, value, depth)
                return (
                    f"{WIRE}.OrNull({value}, {name} => ({self.expression(kind)}){self.read(inner, name, depth + 1)})"
                )
            case _:
                return value

    def write(self, kind: ApiType, value: str, depth: int = 0) -> str:
        """Return the expression that turns a value of a type into one that MessagePack encodes."""
        name = f"v{depth}_"
        match kind:
            case api_types.ListType():
                return f"{WIRE}.FromList({value}, {name} => {self.write(kind.item, name, depth + 1)})"
            case api_types.MapType():
                return f"{WIRE}.FromMap({value}, {name} => {self.write(kind.value, name, depth + 1)})"
            case api_types.TupleType() if kind.items:
                parts = (self.write(item, f"{value}.Item{index + 1}", depth) for index, item in enumerate(kind.items))
                return f"new object[] {{ {', '.join(parts)} }}"
            case api_types.ReferenceType() if kind.name in self._enums:
                return f"{self._owner(kind)}.ToWire({value})"
            case api_types.ReferenceType():
                return f"{WIRE}.FromObject({value})"
            case api_types.LiteralType() | api_types.UnionType():
                inner, is_nullable = self._inner(kind)
                if self.expression(inner) == "object":
                    return f"{WIRE}.FromObject({value})"
                if not is_nullable:
                    return self.write(inner, value, depth)
                unwrapped = f"{value}.Value" if self._is_value(inner) else value
                return f"({value} == null ? null : {self.write(inner, unwrapped, depth)})"
            case api_types.AnyType():
                return f"{WIRE}.FromObject({value})"
            case _:
                return f"(object){value}"

    def _owner(self, kind: api_types.ReferenceType) -> str:
        """Return the class with the methods that convert an object or an enumeration."""
        return f"global::{self._namespace}.{kind.name}{'Values' if kind.name in self._enums else ''}"

    def _key(self, kind: api_types.MapType) -> str:
        return "long" if isinstance(kind.key, api_types.IntegerType) else "string"

    def _is_value(self, kind: ApiType) -> bool:
        is_enum = isinstance(kind, api_types.ReferenceType) and kind.name in self._enums
        return is_enum or isinstance(kind, _VALUE_TYPES)

    def _inner(self, kind: api_types.LiteralType | api_types.UnionType) -> tuple[ApiType, bool]:
        """Return the one type of a union or of constants, without null, and whether it may be null."""
        if isinstance(kind, api_types.LiteralType):
            options = {_type_of_constant(value) for value in kind.values}
        else:
            options = set(kind.options)
        is_nullable = api_types.NullType() in options
        options.discard(api_types.NullType())
        if len(options) != 1:
            return api_types.AnyType(), False
        inner = options.pop()
        if isinstance(inner, api_types.LiteralType | api_types.UnionType):
            inner, is_inner_nullable = self._inner(inner)
            return inner, is_nullable or is_inner_nullable
        return inner, is_nullable

    def _tagged(self, kind: api_types.UnionType) -> list[tuple[str, str, str]] | None:
        """Return key, tag and class of each option, if they are objects that a constant text tells apart."""
        found = []
        for option in kind.options:
            if isinstance(option, api_types.NullType):
                continue
            record = self._objects.get(option.name) if isinstance(option, api_types.ReferenceType) else None
            tag = None if record is None else _tag_of(record)
            if record is None or tag is None:
                return None
            found.append((*tag, record.name))
        return found if len(found) > 1 and len({key for key, _, _ in found}) == 1 else None

    def _read_tagged(self, tagged: list[tuple[str, str, str]], value: str, name: str) -> str:
        read = f"{name} => global::{self._namespace}.{{}}.FromWire({name})"
        readers = ", ".join(
            f"new {CLIENT}.TaggedReader({to_text(tag)}, {read.format(record)})" for _, tag, record in tagged
        )
        return f"{WIRE}.ToTagged({value}, {to_text(tagged[0][0])}, {readers})"


def constant_of(field: FieldApi) -> str:
    """Return the only value of a field as a literal; empty if it may have others."""
    is_constant = isinstance(field.type, api_types.LiteralType) and len(field.type.values) == 1
    value = field.type.values[0] if isinstance(field.type, api_types.LiteralType) and is_constant else None
    if isinstance(value, bool):
        return str(value).lower()
    return to_text(value) if isinstance(value, str) else "" if value is None else f"{value}L"


def is_text_enum(enum: EnumApi) -> bool:
    """Return whether the values of an enumeration are not all integers."""
    return any(isinstance(value, str) for _, value in enum.members)


def _tag_of(record: ObjectApi) -> tuple[str, str] | None:
    for field in record.fields:
        if isinstance(field.type, api_types.LiteralType) and len(field.type.values) == 1:
            (value,) = field.type.values
            return (field.name, value) if isinstance(value, str) else None
    return None


def _type_of_constant(value: str | int | bool | None) -> ApiType:
    if value is None:
        return api_types.NullType()
    if isinstance(value, bool):
        return api_types.BooleanType()
    return api_types.IntegerType() if isinstance(value, int) else api_types.TextType()
