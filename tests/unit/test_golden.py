"""The golden vectors: made by the encoder, read by the client, and not changed by accident."""

from __future__ import annotations

import json

import msgspec
import pytest

from tests.golden import FOLDER, held, made
from tickwire.client.core import ClientCore
from tickwire.schemas.codec import encode_server
from tickwire.schemas.messages import Joined, StateDescription, Welcome

NAMES = sorted(path.name for path in FOLDER.glob("*.json"))


def test_encoder_output_equals_the_golden_vectors() -> None:
    """If this fails, yesterday's clients may not read today's frames. Meant it? `make golden`."""
    assert {name: (FOLDER / name).read_bytes() for name in NAMES} == made()


@pytest.mark.parametrize("name", NAMES)
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
    assert not core.outgoing
    assert core.mismatches == 0
