"""The structs, flatc's own code, and the shard's errors speak of one contract: every message, field by field."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_schemas_codec import camel, filled
from tickwire.schemas import codec
from tickwire.schemas.generated import client_generated, server_generated
from tickwire.schemas.messages import CLIENT_BODY, SERVER_BODY, ErrorCode, InputAck, Message, StateFrame
from tickwire.schemas.parts import HAS_CHECKSUM, HAS_PARTS
from tickwire.schemas.state_messages import encode_ack, encode_state
from tickwire.schemas.table_frames import encode_table_ack, encode_table_state
from tickwire.server import errors
from tickwire.server.errors import ConfigError, TickwireError
from tickwire.server.recording.frames import RecordingDamaged
from tickwire.server.recording.room_builder import ReplayFailed

SCHEMAS = Path(codec.__file__).parent
ALL = [(kind, "client") for kind in CLIENT_BODY] + [(kind, "server") for kind in SERVER_BODY]
MODULES: dict[str, Any] = {"client": client_generated, "server": server_generated}


def encoded(message: Message, side: str) -> bytes:
    return codec.encode_client(message) if side == "client" else codec.encode_server(message)


def as_read(message: Any, table: Any) -> None:
    """Asserts that flatc's code finds in `table` what `message` holds."""
    for name in message.__struct_fields__:
        wanted, read = getattr(message, name), getattr(table, camel(name))
        if isinstance(wanted, tuple):
            assert getattr(table, f"{camel(name)}Length")() == len(wanted)
            for place, item in enumerate(wanted):
                if isinstance(item, str):
                    assert read(place).decode() == item
                else:
                    as_read(item, read(place))
        elif isinstance(wanted, bytes):
            assert bytes(read(place) for place in range(getattr(table, f"{camel(name)}Length")())) == wanted
        elif isinstance(wanted, str):
            assert (read() or b"").decode() == wanted
        elif hasattr(wanted, "__struct_fields__"):
            as_read(wanted, read())
        else:
            assert read() == wanted, name


@pytest.mark.parametrize(("kind", "side"), ALL, ids=lambda value: getattr(value, "__name__", value))
def test_flatc_decodes_every_field_of_every_message(kind: type[Message], side: str) -> None:
    module = MODULES[side]
    for message in (kind(), filled(kind)):
        root = getattr(module, f"{side.capitalize()}Message").GetRootAs(encoded(message, side))
        union = getattr(module, f"{side.capitalize()}Body")
        assert root.BodyType() == getattr(union, kind.__name__)
        table = getattr(module, kind.__name__)()
        table.Init(root.Body().Bytes, root.Body().Pos)
        as_read(message, table)


def test_flatc_decodes_messages_encoded_from_templates() -> None:
    frame = StateFrame(0x01020304, 0x0506, 7, 1, b"packed")
    root = server_generated.ServerMessage.GetRootAs(encode_table_state(frame))
    head = root.State()
    assert StateFrame(head.Tick(), head.Channel(), head.Age(), head.Flags(), root.PackedAsNumpy().tobytes()) == frame
    assert root.Ack() is None
    ack = server_generated.ServerMessage.GetRootAs(encode_table_ack(5, 6))
    assert InputAck(ack.Ack().Tick(), ack.Ack().Seq()) == InputAck(5, 6)
    assert ack.State() is None
    assert {ack.BodyType(), root.BodyType()} == {0}
    sent = client_generated.ClientMessage.GetRootAs(codec.encode_input(9, 8, b"wish"))
    read = client_generated.Input()
    read.Init(sent.Body().Bytes, sent.Body().Pos)
    assert (read.Seq(), read.Tick(), read.PayloadAsNumpy().tobytes()) == (9, 8, b"wish")


@pytest.mark.parametrize("size", [0, 1, 5, 250])
def test_a_template_is_a_flatbuffer_with_its_alignment(size: int) -> None:
    """A reader that maps the buffer may rely on it: offsets of u32 and of the head are multiples of four."""
    data = encode_table_state(StateFrame(1, 2, 3, 4, bytes(size)))
    root = server_generated.ServerMessage.GetRootAs(data)
    assert root.State()._tab.Pos % 4 == 0
    assert len(data) % 4 == 0


def test_generated_code_reads_the_structs() -> None:
    kinds = server_generated.StructKind
    head = server_generated.StateFrameHead()
    head.Init(encode_state(0x01020304, 0x0506, 7, HAS_CHECKSUM, b"packed"), 0)
    assert (head.Kind() & 7, head.Kind() >> 3) == (kinds.STATE_FRAME, HAS_CHECKSUM)
    assert (head.Tick(), head.Channel(), head.Age(), head.SizeOf()) == (0x01020304, 0x0506, 7, 8)
    delta = server_generated.DeltaFrameHead()
    delta.Init(encode_state(0x01020304, 0, 7, HAS_PARTS, b"packed"), 0)
    assert (delta.Kind() & 7, delta.Kind() >> 3) == (kinds.DELTA_FRAME, HAS_PARTS)
    assert (delta.TickLow(), delta.Age(), delta.SizeOf()) == (0x0304, 7, 4)
    ack = server_generated.InputAckMessage()
    ack.Init(encode_ack(0x01020304, 0x05060708), 0)
    assert (ack.Kind(), ack.Reserved(), ack.SeqLow(), ack.Tick()) == (kinds.INPUT_ACK, 0, 0x0708, 0x01020304)
    assert len(encode_ack(1, 2)) == ack.SizeOf() == 8


def leaves(kind: type[TickwireError]) -> list[type[TickwireError]]:
    below = [child for child in kind.__subclasses__() if "code" in vars(child)]  # the others share their parent's
    return [leaf for child in below for leaf in leaves(child)] if below else [kind]


def test_every_error_of_a_shard_has_its_own_code_of_the_contract() -> None:
    of_operators = (ConfigError, RecordingDamaged, ReplayFailed)
    codes = [leaf.code for leaf in leaves(TickwireError) if leaf not in of_operators]
    assert len(codes) == len(set(codes))
    of_http = {
        "REQUEST_IN_PROGRESS",
        "IDEMPOTENCY_KEY_REUSED",
        "FORBIDDEN",
        "NOT_FOUND",
        "REQUEST_TIMEOUT",
        "CONFLICT",
        "IDENTITY_TAKEN",
    }
    # Not raised but sent: the session's own time limits and losses, and Replies that say no.
    sent = {
        "HANDSHAKE_TIMEOUT",
        "COMMAND_FAILED",
        "COMMAND_TOO_OLD",
        "REPLACED",
        "RESYNC",
        "KICKED",
        "NO_SUCH_COMMAND",
        "STATE_TOO_LARGE",
        "UPGRADE_REQUIRED",
    }
    assert {*codes, *sent} - of_http == {code.name for code in ErrorCode}
    assert of_http <= set(codes)


def test_the_drawn_tree_names_every_error() -> None:
    assert errors.__doc__ is not None
    for one in vars(errors).values():
        if isinstance(one, type) and issubclass(one, TickwireError):
            assert re.search(rf"\b{one.__name__} ", errors.__doc__), one


@pytest.mark.skipif(shutil.which("flatc") is None, reason="flatc is not installed")
@pytest.mark.parametrize("side", ["client", "server"])
def test_flatc_decodes_every_message_unchanged(side: str, tmp_path: Path) -> None:
    messages = [filled(kind) for kind, of in ALL if of == side]
    files = [tmp_path / f"{type(message).__name__}.bin" for message in messages]
    for message, file in zip(messages, files, strict=True):
        file.write_bytes(encoded(message, side))
    command = ["flatc", "--json", "--strict-json", "--raw-binary", "-o", str(tmp_path)]
    subprocess.run([*command, str(SCHEMAS / f"{side}.fbs"), "--", *map(str, files)], check=True, capture_output=True)
    for message, file in zip(messages, files, strict=True):
        read = json.loads(file.with_suffix(".json").read_text())
        assert read["body_type"] == type(message).__name__
        assert set(read.get("body", {})) == set(message.__struct_fields__)
