"""State frames and acknowledgements for clients of schema version 3 equal those of flatc's builder."""

from __future__ import annotations

import pytest

from tickwire.schemas.codec import decode_server
from tickwire.schemas.framing import binary_frame
from tickwire.schemas.messages import InputAck, StateFrame
from tickwire.schemas.state_messages import encode_state
from tickwire.schemas.table_frames import (
    build_table_ack,
    build_table_state,
    encode_table_ack,
    encode_table_state,
    frame_table_ack,
    to_table_frame,
)

SIZES = [*range(9), 66, 67, 90, 91, 92, 93, 120, 125, 126, 300, 65_500, 70_000]


@pytest.mark.parametrize("size", SIZES)
def test_a_state_frame_equals_the_builders_and_adds_at_most_36_bytes(size: int) -> None:
    frame = StateFrame(0xFFFFFFFF, 65535, 255, 1, bytes(n % 251 for n in range(size)))
    data = encode_table_state(frame)
    assert data == build_table_state(frame)
    assert decode_server(data) == frame
    assert len(data) - size <= 36


def test_an_acknowledgement_equals_the_builders() -> None:
    for ack in (InputAck(0, 0), InputAck(1, 2), InputAck(0xFFFFFFFF, 0xFFFFFFFE)):
        assert encode_table_ack(ack.tick, ack.seq) == build_table_ack(ack)
        assert frame_table_ack(ack.tick, ack.seq) == binary_frame(build_table_ack(ack))
        assert decode_server(encode_table_ack(ack.tick, ack.seq)) == ack


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("tick", "channel", "age", "flags"), [(70_000, 0, 1, 0), (70_000, 0, 0, 4), (3, 9, 2, 1)])
def test_a_struct_becomes_the_table_with_the_same_bytes(
    size: int, tick: int, channel: int, age: int, flags: int
) -> None:
    packed = bytes(n % 251 for n in range(size))
    table = to_table_frame(binary_frame(encode_state(tick, channel, age, flags, packed)), tick)
    assert table == binary_frame(build_table_state(StateFrame(tick, channel, age, flags, packed)))
