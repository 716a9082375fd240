"""The golden vectors: made by the encoder, read by the client, and not changed by accident."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest

from tests.golden import AUTHENTICATION, FOLDER, STRUCTS, held, made
from tickwire.client.core import ClientCore
from tickwire.schemas.codec import decode_client, decode_server, encode_server
from tickwire.schemas.messages import InputAck, Joined, StateDescription, Welcome

pytestmark = pytest.mark.usefixtures("each_kernel")

NAMES = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.json"))
ACKNOWLEDGEMENTS = f"{STRUCTS}acknowledgements.json"
WITHOUT_FRAMES = (ACKNOWLEDGEMENTS, AUTHENTICATION)


def test_encoder_output_equals_the_golden_vectors() -> None:
    """If this fails, yesterday's clients may not read today's frames. Meant it? `make golden`."""
    assert {name: (FOLDER / name).read_bytes() for name in NAMES} == made()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WITHOUT_FRAMES])
def test_client_has_the_golden_contents_after_every_frame(name: str) -> None:
    golden = json.loads((FOLDER / name).read_text())
    core = ClientCore()
    core.receive(encode_server(Welcome("s", "t", generation=1)), now_us=0)
    description = msgspec.convert(golden["description"], StateDescription)
    core.receive(encode_server(Joined("room", description=description)), now_us=0)
    assert core.world is not None
    for step in golden["steps"]:
        core.receive(bytes.fromhex(step["frame"]), now_us=0)
        assert core.world.tick == step["tick"]
        assert held(core.world) == step["channels"]
        for table, groups in step.get("values", {}).items():
            for name, values in groups.items():
                assert np.allclose(core.world.table(table).column(name), values, atol=2e-5)
    assert not core.outgoing
    assert core.mismatches == 0


def test_client_restores_the_golden_sequence_numbers() -> None:
    for step in json.loads((FOLDER / ACKNOWLEDGEMENTS).read_text())["steps"]:
        message = decode_server(bytes.fromhex(step["frame"]), last_seq=step["last_seq"])
        assert message == InputAck(step["tick"], step["seq"])


def test_messages_of_version_5_are_decoded() -> None:
    for step in json.loads((FOLDER / AUTHENTICATION).read_text())["steps"]:
        decode = decode_client if step["side"] == "client" else decode_server
        message = decode(bytes.fromhex(step["message"]))
        assert (type(message).__name__, msgspec.to_builtins(message)) == (step["type"], step["fields"])


def test_frames_of_version_3_are_those_of_version_4_as_tables() -> None:
    for name in NAMES:
        if name.startswith(STRUCTS) and name != ACKNOWLEDGEMENTS:
            structs, tables = (
                json.loads((FOLDER / path).read_text())["steps"] for path in (name, name[len(STRUCTS) :])
            )
            last_tick = 0
            for struct, table in zip(structs, tables, strict=True):
                as_struct, as_table = bytes.fromhex(struct["frame"]), bytes.fromhex(table["frame"])
                assert decode_server(as_struct, last_tick=last_tick) == decode_server(as_table)
                assert len(as_table) - len(as_struct) >= 24
                last_tick = struct["tick"]
