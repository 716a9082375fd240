"""For any bytes of a server, the client's core returns an update, requests a keyframe, or raises MalformedMessage."""

from __future__ import annotations

import json
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.golden import FOLDER, held
from tests.unit.test_client_core import JOINED, delta, keyframe, seated, told
from tests.unit.test_schemas_codec import filled
from tickwire.client.core import ClientCore
from tickwire.schemas.codec import decode_client, decode_server, encode_server
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.messages import SERVER_BODY, Joined, Resync, StateDescription, StateFrame, Welcome
from tickwire.schemas.parts import IS_COMPLETE
from tickwire.schemas.state_messages import encode_state

pytestmark = pytest.mark.usefixtures("each_kernel")

GOLDEN_NAMES = [
    f"{folder}{name}.json" for folder in ("", "version_4/") for name in ("motion", "several_channels", "kinds")
]
SAMPLES = [encode_server(JOINED), *(encode_server(filled(kind)) for kind in SERVER_BODY)]


@given(st.lists(st.binary(max_size=80), max_size=5))
def test_random_messages_are_malformed_or_decoded(messages: list[bytes]) -> None:
    core = seated()
    for data in messages:
        with suppress(MalformedMessage):
            told(core, data)


@given(st.data())
def test_mutated_messages_are_malformed_or_decoded(data: st.DataObject) -> None:
    core = ClientCore()
    for sample in (SAMPLES[0], data.draw(st.sampled_from(SAMPLES))):
        message = bytearray(sample)
        for _ in range(data.draw(st.integers(0, 6))):
            message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
        with suppress(MalformedMessage):
            told(core, bytes(message))
            if core.world is not None:
                core.world.checksum()
                told(core, encode_state(9, 0, 0, 0, b"\x01\x00\x01\x05\x00\x00\x00"))


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 255), st.integers(0, 1), st.binary(max_size=12)), max_size=12
    )
)
def test_a_world_whose_frames_were_garbled_is_right_again_after_a_keyframe(
    frames: list[tuple[int, int, int, bytes]],
) -> None:
    core = seated()
    told(core, keyframe(6, 3))
    for number, (channel, age, flags, packed) in enumerate(frames):
        resyncs = core.resyncs
        told(core, encode_state(7 + number, channel, age, flags, packed))
        asked = [decode_client(data) for data in core.outgoing]
        core.outgoing.clear()
        assert len(asked) == core.resyncs - resyncs <= 4
        assert all(isinstance(message, Resync) for message in asked)
    for channel in range(4):  # a corrupted frame may be valid for another channel, so all channels start again
        told(core, encode_state(100, channel, 0, 0, b"\0"))
    told(core, keyframe(101, 5))
    told(core, delta(102, 1, 5, 6))
    assert core.world is not None
    assert core.world.table("ships").quantised("x").tolist() == [6]


@given(st.sampled_from(GOLDEN_NAMES), st.data())
def test_damaged_golden_frame_is_rejected_or_repaired_by_the_next_keyframes(name: str, data: st.DataObject) -> None:
    golden = json.loads((FOLDER / name).read_text())
    core = ClientCore()
    told(core, Welcome("s", "t", generation=1))
    told(core, Joined("room", description=msgspec.convert(golden["description"], StateDescription)))
    steps = golden["steps"]
    bad_step = data.draw(st.integers(0, len(steps) - 1))
    for number, step in enumerate(steps[: bad_step + 3]):
        frame = bytearray.fromhex(step["frame"])
        if number == bad_step:
            if data.draw(st.booleans()):
                del frame[data.draw(st.integers(0, len(frame) - 1)) :]
            else:
                frame[data.draw(st.integers(0, len(frame) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        with suppress(MalformedMessage):
            told(core, bytes(frame))
    assert core.world is not None
    core.world.checksum()
    whole = next(step for step in steps if step["frame"] == steps[0]["frame"])
    told(core, complete(whole["frame"]))
    assert {c: shown["tables"] for c, shown in held(core.world).items()} == {
        c: shown["tables"] for c, shown in whole["channels"].items()
    }


def complete(frame: str) -> bytes:
    """A golden keyframe, as the server sends it to a client of which it knows nothing."""
    message = decode_server(bytes.fromhex(frame))
    assert isinstance(message, StateFrame)
    flags = message.flags | IS_COMPLETE
    return encode_state(message.tick, message.channel, message.age, flags, message.packed)
