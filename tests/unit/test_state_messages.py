"""State frames and acknowledgements as structs: their size, their kind, and the numbers that clients restore."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_schemas_codec import filled
from tickwire.schemas.codec import decode_server, encode_client, encode_input, encode_server
from tickwire.schemas.errors import MalformedMessage, UnknownMessage
from tickwire.schemas.event_frames import encode_event
from tickwire.schemas.framing import binary_frame, frame_payloads
from tickwire.schemas.messages import (
    CLIENT_BODY,
    SERVER_BODY,
    FieldDescription,
    InputAck,
    Joined,
    StateDescription,
    StateFrame,
    TableDescription,
)
from tickwire.schemas.parts import HAS_CHECKSUM, HAS_PARTS, IS_COMPLETE
from tickwire.schemas.state_messages import encode_ack, encode_state, frame_ack, is_struct, nearest
from tickwire.schemas.table_frames import encode_table_ack, encode_table_state

pytestmark = pytest.mark.usefixtures("each_kernel")

U32 = st.integers(0, 2**32 - 1)
FRAMES = st.builds(
    StateFrame,
    U32,
    st.sampled_from([0, 0, 1, 65_535]),
    st.integers(0, 250),
    st.sampled_from(range(8)),
    st.binary(max_size=9),
)


@given(FRAMES)
def test_frames_are_decoded_by_a_client_that_knows_the_tick_before(frame: StateFrame) -> None:
    data = encode_state(frame.tick, frame.channel, frame.age, frame.flags, frame.packed)
    assert is_struct(data)
    assert decode_server(data, last_tick=max(0, frame.tick - frame.age)) == frame


@pytest.mark.parametrize(
    ("channel", "age", "flags", "size"),
    [
        (0, 1, 0, 4),
        (0, 250, HAS_CHECKSUM, 4),
        (0, 1, HAS_PARTS, 4),
        (0, 0, 0, 8),  # a keyframe: the client may know no tick
        (0, 3, IS_COMPLETE, 8),  # after a resume
        (7, 1, 0, 8),
    ],
)
def test_a_frame_adds_four_bytes_when_it_follows_from_the_last_one(
    channel: int, age: int, flags: int, size: int
) -> None:
    assert len(encode_state(70_000, channel, age, flags, b"packed")) == size + len(b"packed")


@given(tick=U32, seq=U32, behind=st.integers(0, 32_767))
def test_acknowledgements_are_decoded_by_a_client_that_knows_its_last_input(tick: int, seq: int, behind: int) -> None:
    data = encode_ack(tick, seq)
    assert len(data) == 8
    assert decode_server(data, last_seq=min(seq + behind, 2**32 - 1)) == InputAck(tick, seq)
    assert frame_ack(tick, seq) == binary_frame(data)


@given(known=U32, low=st.integers(0, 65_535))
def test_nearest_returns_the_nearest_u32_with_the_low_bits(known: int, low: int) -> None:
    number = nearest(low, known)
    assert number & 0xFFFF == low
    assert 0 <= number < 2**32
    at_the_ends = known < 2**15 or known >= 2**32 - 2**15
    assert abs(number - known) <= (2**16 if at_the_ends else 2**15)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 8, 9, 12])
@pytest.mark.parametrize("first", range(1, 256, 2))
def test_structs_of_a_wrong_size_or_kind_are_refused(first: int, size: int) -> None:
    data = bytes((first,)) + bytes(size - 1)
    sizes = {1: range(8, 99), 3: range(4, 99), 5: range(8, 9)}
    kind = first & 7
    if size in sizes.get(kind, ()):
        assert isinstance(decode_server(data), InputAck if kind == 5 else StateFrame)
    else:
        with pytest.raises(UnknownMessage if kind == 7 else MalformedMessage):
            decode_server(data)


def test_an_empty_message_is_malformed() -> None:
    with pytest.raises(MalformedMessage):
        decode_server(b"")


def test_no_table_begins_with_an_odd_byte() -> None:
    fields = tuple(FieldDescription(f"field {number}", labels=("a", "b")) for number in range(60))
    large = Joined("room", description=StateDescription((TableDescription("ships", fields),) * 60))
    tables = [
        *(encode_server(kind()) for kind in SERVER_BODY),
        *(encode_server(filled(kind)) for kind in SERVER_BODY),
        encode_server(large),
        *(next(frame_payloads(encode_event("n" * size, b"p" * size).with_number(1))) for size in range(300)),
        encode_table_ack(1, 2),
        *(encode_table_state(StateFrame(1, 2, 3, 4, bytes(size))) for size in range(300)),
    ]
    requests = [encode_client(kind()) for kind in CLIENT_BODY] + [encode_input(1, 2, bytes(n)) for n in range(80)]
    for data in tables + requests:
        assert int.from_bytes(data[:4], "little") % 4 == 0
        assert not is_struct(data)


@given(text=st.text(max_size=400), payload=st.binary(max_size=400), kind=st.sampled_from(SERVER_BODY))
def test_no_table_of_any_length_begins_with_an_odd_byte(text: str, payload: bytes, kind: type) -> None:
    values = {str: text, bytes: payload}
    message = kind(**{name: values[type(default)] for name, default in _texts_of(kind).items()})
    assert not is_struct(encode_server(message))


def _texts_of(kind: type) -> dict[str, object]:
    blank = kind()
    names = blank.__struct_fields__
    return {name: getattr(blank, name) for name in names if type(getattr(blank, name)) in (str, bytes)}
