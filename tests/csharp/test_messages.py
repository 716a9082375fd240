"""The messages and payloads of the C# client agree with those of Python."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import flatbuffers
import msgspec
import pytest

from tests.csharp.conftest import run
from tickwire.schemas.codec import decode_client, decode_server, encode_client, encode_server
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.messages import (
    Authenticate,
    Authenticated,
    Command,
    EndSession,
    Error,
    ErrorCode,
    Event,
    FieldDescription,
    FieldKind,
    Goodbye,
    GroupDescription,
    Hello,
    Input,
    Join,
    Joined,
    Leave,
    Left,
    ListedRoom,
    ListRooms,
    MatchCancel,
    MatchRequest,
    MatchStatus,
    Message,
    Ping,
    Pong,
    QueueState,
    Rate,
    Redirect,
    Reply,
    Resync,
    RoomList,
    StateDescription,
    TableDescription,
    TokenExpiring,
    Welcome,
)
from tickwire.schemas.payloads import decode_payload, encode_payload

MAX = (1 << 32) - 1
FIELDS = (
    FieldDescription("x", FieldKind.REAL, 12, -64.0, 64.0, 0.03125),
    FieldDescription("mood", FieldKind.ENUM, 2, labels=("calm", "höflich")),
    FieldDescription("name", FieldKind.TEXT, 0, bytes_max=16),
)
TABLES = (TableDescription("ships", FIELDS, (GroupDescription("p", 0, 0, 2),)), TableDescription("none"))
SERVER: list[Message] = [
    Welcome("s", "t", (1 << 64) - 1, 3000, 65536, 60, 2, 30000, "room", True, 120, 65536, "gone"),
    Welcome(),
    Joined("r", "arena", "lobby", 20.0, MAX, 7, StateDescription(TABLES, FIELDS[:1]), "CODE", 2),
    Joined(),
    Left("closed"),
    Event(MAX, "hit", b"\x81\xa1a\x01"),
    Reply((1 << 64) - 1, True, ErrorCode.INTERNAL, "", b"\x01", 0),
    Reply(3, False, ErrorCode.NO_SUCH_COMMAND, "no such command ü", b"", 250),
    Pong(1 << 53, (1 << 53) + 1, 9),
    Redirect("wss://other/", "ticket", "arena", "lobby", True),
    MatchStatus(QueueState.TIMED_OUT, 3, 4, "duel", "too long", 5),
    Error(ErrorCode.RATE_LIMITED, "slow down", 1000, 4, True, 2),
    Goodbye(ErrorCode.KICKED, "bye", True, 5),
    Rate(2, True),
    Authenticated("ann ü", MAX),
    TokenExpiring(60_000),
    RoomList(4, (ListedRoom("a", 3, 8, encode_payload({"map": "höhle"})), ListedRoom("b"))),
]
LABELS, OPTIONS = encode_payload({"map": "höhle"}), encode_payload({"skin": 7, "name": "Zoë"})
CLIENT: list[Message] = [
    Hello(5, "1.2", "t", "r", 9, 8, "a", 3),
    Hello(5),
    Join("arena"),
    Join("arena", "n", "ticket", OPTIONS, "i", "c", True, LABELS, "p", 3),
    Leave(),
    Input(7, 1000, b"\1\2\3\4"),
    Input(),
    Command((1 << 64) - 1, "buy", OPTIONS),
    Resync(65535, MAX),
    Ping(123456789012345, 4, 5),
    MatchRequest("duel"),
    MatchRequest("duel", OPTIONS, "p", 2, encode_payload({"eu": 12.5}), LABELS),
    MatchCancel(),
    EndSession(),
    ListRooms(1, "arena", b"", 50),
    ListRooms(2, "arena", LABELS, 0),
    Authenticate("a.b.c"),
]


def plain(value: Any) -> Any:
    """Return a value as the program prints it: a struct as the list of its fields."""
    match value:
        case ErrorCode():
            return value.name
        case ListedRoom():
            labels = decode_payload(value.labels) if value.labels else {}
            return [value.room_id, value.players, value.players_max, labels]
        case msgspec.Struct():
            return [plain(getattr(value, name)) for name in value.__struct_fields__]
        case bytes():
            return value.hex()
        case tuple():
            return [plain(item) for item in value]
        case _:
            return value


def _lines(folder: Path, messages: list[bytes]) -> str:
    path = folder / "messages.hex"
    path.write_text("".join(f"{message.hex()}\n" for message in messages))
    return str(path)


def test_server_messages_are_decoded_with_all_their_fields(program: Path, tmp_path: Path) -> None:
    done = run(program, "messages", _lines(tmp_path, [encode_server(message) for message in SERVER]))
    decoded = [json.loads(line) for line in done.stdout.splitlines()]
    assert decoded == [[type(message).__name__, *plain(message)] for message in SERVER], done.stderr
    assert len({type(message) for message in SERVER}) == 14


def _with_shared_text(size: int) -> bytes:
    """Return a Welcome whose four texts are one text in the message."""
    builder = flatbuffers.Builder(0)
    text = builder.CreateString("x" * size)
    builder.StartObject(13)
    for slot in (0, 1, 8, 12):
        builder.PrependUOffsetTRelativeSlot(slot, text, 0)
    body = builder.EndObject()
    builder.StartObject(5)
    builder.PrependUint8Slot(3, 1, 0)
    builder.PrependUOffsetTRelativeSlot(4, body, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


def test_hostile_server_messages_are_malformed(program: Path, tmp_path: Path) -> None:
    field = msgspec.structs.replace(FIELDS[0], kind=9)
    messages = [
        encode_server(Left("x" * 4097)),
        encode_server(Joined(description=StateDescription((), (field,)))),
        _with_shared_text(2000),
    ]
    for message in messages:
        with pytest.raises(MalformedMessage):
            decode_server(message)
    done = run(
        program, "messages", _lines(tmp_path, [*messages, _with_shared_text(2), encode_server(Left("x" * 4096))])
    )
    decoded = [json.loads(line) for line in done.stdout.splitlines()]
    assert [message[0] for message in decoded] == [*["m"] * len(messages), "Welcome", "Left"], done.stderr


def test_groups_of_an_unknown_kind_are_left_out(program: Path, tmp_path: Path) -> None:
    table = TableDescription("t", FIELDS, (GroupDescription("q", 7, 0, 2), GroupDescription("v", 0, 0, 2)))
    message = encode_server(Joined(description=StateDescription((table,))))
    done = run(program, "messages", _lines(tmp_path, [message]))
    assert [group[0] for group in json.loads(done.stdout)[7][0][0][2]] == ["v"]


def test_client_messages_are_read_by_the_server(program: Path) -> None:
    done = run(program, "requests")
    encoded = [bytes.fromhex(line) for line in done.stdout.splitlines()]
    assert [decode_client(data) for data in encoded] == CLIENT, done.stderr
    for data, message in zip(encoded, CLIENT, strict=True):
        assert data == encode_client(message), f"{type(message).__name__} is not laid out as flatc's builder does"
    assert len({type(message) for message in CLIENT}) == 12


def test_changed_server_messages_are_malformed_or_read(program: Path, tmp_path: Path) -> None:
    done = run(program, "fuzz", _lines(tmp_path, [encode_server(message) for message in SERVER]))
    assert done.returncode == 0, done.stderr


VALUES = [
    None, True, False, 0, 127, 128, 255, 256, 65535, 65536, MAX, MAX + 1, (1 << 64) - 1, -1, -32, -33, -128, -129,
    -32768, -32769, -(1 << 31), -(1 << 31) - 1, -(1 << 63), 0.5, -1e300, float("inf"), "", "ä" * 15, "x" * 32,
    "x" * 256, "x" * 65536, b"", b"x" * 255, b"x" * 256, b"x" * 65536, [], [1, [2, [None]]], list(range(16)),
    list(range(65536)), {}, {"a": {"b": [1]}}, {str(number): number for number in range(16)},
    datetime.datetime(2026, 11, 27, 1, 2, 3, 456789, datetime.UTC),
    datetime.datetime(1900, 1, 1, tzinfo=datetime.UTC), datetime.datetime(2500, 1, 1, tzinfo=datetime.UTC),
]  # fmt: skip
INVALID = [b"\xc1", b"\x92\x01", b"\xa2\xff", b"\xa1\xff", b"\x00\x00", b"\xc7\x05\x05" + bytes(5), b"\x91" * 70]


def test_payloads_are_decoded_and_encoded_as_in_python(program: Path, tmp_path: Path) -> None:
    packed = [encode_payload(value) for value in VALUES]
    lines = run(program, "msgpack", _lines(tmp_path, packed)).stdout.splitlines()
    assert [decode_payload(bytes.fromhex(line)) for line in lines] == VALUES


def test_invalid_payloads_are_malformed(program: Path, tmp_path: Path) -> None:
    done = run(program, "msgpack", _lines(tmp_path, INVALID))
    assert done.stdout.splitlines() == ["malformed"] * len(INVALID), done.stderr
