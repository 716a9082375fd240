"""Tables and inputs of a room as C#: structs that read a row of the world, and structs with the fields of an input.

Reading and sending them allocates nothing. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tickwire.server.codegen.csharp_text import block, summary
from tickwire.server.codegen.csharp_types import CLIENT, check_members, to_identifier, to_member_name, to_text
from tickwire.server.codegen.descriptions import describe_column, to_pascal_case
from tickwire.server.codegen.game_api import ColumnApi, GroupApi, TableApi

Declaration = tuple[str, list[str]]


def table_declarations(table: TableApi, name: str) -> Iterator[Declaration]:
    """Yield the struct of a table's rows, and the enumerations of its columns."""
    encoded = {column for group in table.groups if group.kind == "quaternion" for column in group.columns}
    columns = [column for column in table.columns if column.name not in encoded]
    items: tuple[ColumnApi | GroupApi, ...] = (*columns, *table.groups)
    members = [to_member_name(each.name, name) for each in items]
    check_members(name, ["Id", "In", *members])
    yield from _enum_declarations(columns, name)
    names = ", ".join(to_text(each.name) for each in items)
    reader = f"{CLIENT}.TableReader"
    lines = [
        f"private static readonly string[] Names_ = {{ {names} }};",
        f"private readonly {reader} reader_;",
        "private readonly int row_;",
        "",
        *block(f"private {name}({reader} reader, int row)", ["reader_ = reader;", "row_ = row;"]),
        "",
        *summary("The entity."),
        "public uint Id => reader_.Id(row_);",
    ]
    for index, (member, item) in enumerate(zip(members, items, strict=True)):
        read, kind, note = _group(item) if isinstance(item, GroupApi) else _column(item, name)
        lines += ["", *summary(note), f"public {kind} {member} => {read.format(f'(row_, {index})')};"]
    lines += [
        "",
        *block(
            f"internal static {CLIENT}.TypedTable<{name}> In({CLIENT}.Room room)",
            [
                f"return new {CLIENT}.TypedTable<{name}>("
                f"room, {to_text(table.name)}, Names_, (reader, row) => new {name}(reader, row));"
            ],
        ),
    ]
    doc = table.doc or f"A row of the table {table.name}."
    yield name, [*summary(f"{doc} Valid until the next state."), *block(f"public readonly struct {name}", lines)]


def inputs_declarations(inputs: Iterable[ColumnApi], name: str) -> Iterator[Declaration]:
    """Yield the struct of a room's inputs, and the enumerations of its fields."""
    columns = list(inputs)
    members = [to_member_name(column.name, name) for column in columns]
    check_members(name, members)
    yield from _enum_declarations(columns, name)
    lines = [f"private static readonly string[] Names_ = {{ {', '.join(to_text(each.name) for each in columns)} }};"]
    getters, setters = [], []
    unknown = "throw new global::System.ArgumentOutOfRangeException(nameof(index));"
    for index, (member, column) in enumerate(zip(members, columns, strict=True)):
        _, kind, note = _column(column, name)
        lines += ["", *summary(note), f"public {kind} {member} {{ get; set; }}"]
        value = f"{member} ? 1 : 0" if kind == "bool" else f"(double){member}"
        getters.append(f"case {index}: return {value};")
        read = "value != 0" if kind == "bool" else f"({kind})value"
        setters.append(f"case {index}: {member} = {read}; return;")
    lines += [
        "",
        f"string[] {CLIENT}.IInputs.Names => Names_;",
        "",
        *block(
            f"double {CLIENT}.IInputs.ValueAt(int index)",
            [*block("switch (index)", getters), unknown],
        ),
        "",
        *block(
            f"void {CLIENT}.IInputs.SetValueAt(int index, double value)",
            [*block("switch (index)", setters), unknown],
        ),
    ]
    text = "The inputs of the room. Fields that are not set are zero."
    yield name, [*summary(text), *block(f"public struct {name} : {CLIENT}.IInputs", lines)]


def _enum_declarations(columns: Iterable[ColumnApi], owner: str) -> Iterator[Declaration]:
    for column in columns:
        if column.kind == "enum":
            name = _enum_name(column, owner)
            members = [to_identifier(to_pascal_case(label)) for label in column.labels]
            check_members(name, members)
            yield name, block(f"public enum {name}", (f"{member} = {at}," for at, member in enumerate(members)))


def _enum_name(column: ColumnApi, owner: str) -> str:
    return f"{owner}{to_identifier(to_pascal_case(column.name))}Value"


def _column(column: ColumnApi, owner: str) -> tuple[str, str, str]:
    """Return how a column is read, its type and its comment. `{}` stands for the arguments of the call."""
    match column.kind:
        case "bool":
            return "reader_.Integer{} != 0", "bool", ""
        case "enum":
            kind = _enum_name(column, owner)
            return f"({kind})reader_.Integer{{}}", kind, ""
        case "uint" | "int" | "entity":
            return "reader_.Integer{}", "long", describe_column(column)
        case "text":
            return "reader_.Text{}", "string", describe_column(column)
        case "blob":
            return "reader_.Bytes{}", "byte[]", describe_column(column)
        case _:
            return "reader_.Number{}", "double", describe_column(column)


def _group(group: GroupApi) -> tuple[str, str, str]:
    if group.kind == "quaternion":
        return "reader_.Rotation{}", f"{CLIENT}.Rotation", "of length 1"
    size = len(group.columns)
    return f"reader_.Vec{size}{{}}", f"{CLIENT}.Vec{size}", ""
