"""Messages round trip, agree with the code of flatc, and the precomputed layouts equal the builder's."""

from __future__ import annotations

import enum
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import flatbuffers
import msgspec
import pytest

from tests.harness.flatbuffers_reference import build_server
from tickwire.schemas import codec, messages
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.flat_tables import Reader, layout_from_struct
from tickwire.schemas.generated import client_generated, server_generated
from tickwire.schemas.messages import (
    CLIENT_BODY,
    SERVER_BODY,
    Error,
    ErrorCode,
    FieldDescription,
    FieldKind,
    Goodbye,
    Hello,
    Input,
    ListedRoom,
    Message,
    Pong,
    QueueState,
    StateDescription,
    StateFrame,
    TableDescription,
)
from tickwire.schemas.table_frames import encode_table_ack, encode_table_state

pytestmark = pytest.mark.usefixtures("each_kernel")

SCHEMAS = Path(codec.__file__).parent
DESCRIPTION = StateDescription(
    tables=(
        TableDescription("ships", (FieldDescription("x", FieldKind.REAL, 10, -1.0, 1.0, 0.5),)),
        TableDescription("flags", (FieldDescription("team", FieldKind.ENUM, 2, labels=("red", "blue", "none")),)),
    ),
    inputs=(FieldDescription("fire", FieldKind.BOOL, 1),),
)


def filled(kind: type[msgspec.Struct]) -> Any:
    """A message whose every field differs from its default."""
    values: dict[str, Any] = {}
    for number, slot in enumerate(layout_from_struct(kind).slots, start=3):
        match slot.encoding:
            case "string":
                values[slot.name] = f"text {number} ß"
            case "bytes":
                values[slot.name] = bytes(range(number))
            case "bool":
                values[slot.name] = True
            case "table":
                values[slot.name] = DESCRIPTION
            case "tables":
                values[slot.name] = (ListedRoom("one", 1, 2, b"\x80"), ListedRoom("two", 3, 4))
            case "f32" | "f64":
                values[slot.name] = number + 0.5
            case _:
                values[slot.name] = list(slot.inner)[-1] if slot.inner else number
    return kind(**values)


@pytest.mark.parametrize("kind", CLIENT_BODY, ids=lambda kind: kind.__name__)
def test_every_client_message_round_trips(kind: type[Message]) -> None:
    for message in (kind(), filled(kind)):
        assert codec.decode_client(codec.encode_client(message)) == message


@pytest.mark.parametrize("kind", SERVER_BODY, ids=lambda kind: kind.__name__)
def test_every_server_message_round_trips(kind: type[Message]) -> None:
    for message in (kind(), filled(kind)):
        assert codec.decode_server(codec.encode_server(message)) == message


@pytest.mark.parametrize(
    ("members", "union"),
    [(CLIENT_BODY, client_generated.ClientBody), (SERVER_BODY, server_generated.ServerBody)],
)
def test_union_tags_are_those_of_the_schema(members: tuple[type[Message], ...], union: Any) -> None:
    tags = {name: value for name, value in numbers(union).items() if value}
    assert tags == {member.__name__: place for place, member in enumerate(members, start=1)}


def camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


@pytest.mark.parametrize(
    ("kind", "module"),
    [(kind, client_generated) for kind in CLIENT_BODY]
    + [(kind, server_generated) for kind in (*SERVER_BODY, StateDescription, TableDescription, FieldDescription)],
    ids=lambda value: getattr(value, "__name__", "").rpartition(".")[2],
)
def test_fields_of_a_struct_have_the_order_of_the_schema(kind: type[Message], module: Any) -> None:
    source = Path(module.__file__).read_text()
    added = re.findall(rf"^def {kind.__name__}Add(\w+)\(.*?Slot\((\d+),", source, re.MULTILINE)
    in_schema = [name for name, _ in sorted(added, key=lambda pair: int(pair[1]))]
    assert in_schema == [camel(name) for name in kind.__struct_fields__]


@pytest.mark.parametrize("kind", [ErrorCode, FieldKind, QueueState])
def test_enumerations_are_those_of_the_schema(kind: type[enum.IntEnum]) -> None:
    generated = getattr(server_generated, kind.__name__)
    assert numbers(generated) == {member.name: member.value for member in kind}


def numbers(generated: type) -> dict[str, int]:
    """Return the numbers of a generated class, without those that Python 3.13 and newer add."""
    members = vars(generated).items()
    return {name: value for name, value in members if isinstance(value, int) and not name.startswith("__")}


def test_generated_code_decodes_messages_of_the_codec() -> None:
    hello = client_generated.Hello()
    root = client_generated.ClientMessage.GetRootAs(codec.encode_client(Hello(7, "build 1", "secret")))
    hello.Init(root.Body().Bytes, root.Body().Pos)
    assert (hello.SchemaVersion(), hello.Build(), hello.Token()) == (7, b"build 1", b"secret")


def test_a_pong_equals_the_builders() -> None:
    for pong in (Pong(), Pong(1, 2, 3), Pong(2**64 - 1, 2**64 - 2, 2**32 - 1)):
        assert codec.encode_server(pong) == build_server(pong)
        assert codec.decode_server(codec.encode_server(pong)) == pong


@pytest.mark.parametrize("size", [*range(17), 60, 64, 65, 200])
def test_an_input_from_the_precomputed_layout_equals_the_general_one(size: int) -> None:
    for numbers in ((0, 0), (1, 2), (0xFFFFFFFF, 0x01020304)):
        message = Input(*numbers, bytes(range(size % 250)) or b"")
        data = codec.encode_input(message.seq, message.tick, message.payload)
        assert data == codec.encode_client(message)
        assert codec.decode_client(data) == message


def test_many_references_to_one_string_do_not_expand_a_small_message() -> None:
    builder = flatbuffers.Builder(0)
    text = builder.CreateString("x" * 1000)
    server_generated.FieldDescriptionStartLabelsVector(builder, 500)
    for _ in range(500):
        builder.PrependUOffsetTRelative(text)
    labels = builder.EndVector()
    server_generated.FieldDescriptionStart(builder)
    server_generated.FieldDescriptionAddLabels(builder, labels)
    field = server_generated.FieldDescriptionEnd(builder)
    server_generated.TableDescriptionStartFieldsVector(builder, 1)
    builder.PrependUOffsetTRelative(field)
    fields = builder.EndVector()
    builder.StartObject(2)
    builder.PrependUOffsetTRelativeSlot(1, fields, 0)
    builder.Finish(builder.EndObject())
    data = bytes(builder.Output())
    reader = Reader(data)
    with pytest.raises(MalformedMessage, match="refers to more bytes than its own size"):
        reader.table(layout_from_struct(TableDescription), reader.root())


@pytest.mark.skipif(shutil.which("flatc") is None, reason="flatc is not installed")
@pytest.mark.parametrize(
    ("schema", "data", "wanted"),
    [
        ("client.fbs", codec.encode_client(Hello(3, "b")), '"build": "b"'),
        ("server.fbs", codec.encode_server(Error(ErrorCode.ROOM_FULL, "no seat")), '"code": "ROOM_FULL"'),
        ("server.fbs", codec.encode_server(Goodbye(come_back=True)), '"come_back": true'),
        ("server.fbs", encode_table_state(StateFrame(77, 2, 1, 0, b"abc")), '"tick": 77'),
        ("server.fbs", encode_table_ack(5, 6), '"seq": 6'),
    ],
)
def test_flatc_decodes_our_messages(schema: str, data: bytes, wanted: str, tmp_path: Path) -> None:
    binary = tmp_path / "message.bin"
    binary.write_bytes(data)
    command = ["flatc", "--json", "--strict-json", "--raw-binary", "-o", str(tmp_path), str(SCHEMAS / schema), "--"]
    subprocess.run([*command, str(binary)], check=True, capture_output=True)
    assert wanted in (tmp_path / "message.json").read_text()


def test_unions_contain_all_messages() -> None:
    declared = {kind for kind in vars(messages).values() if isinstance(kind, type) and issubclass(kind, Message)}
    assert declared - {Message} == {*CLIENT_BODY, *SERVER_BODY}
