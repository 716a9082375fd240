"""An event that is encoded once for all receivers has the bytes that each of them would have been sent alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.schemas.codec import encode_server
from tickwire.schemas.errors import MalformedMessage, WireError
from tickwire.schemas.event_frames import encode_event, event_frame_from_bytes
from tickwire.schemas.flat_tables import STRING_BYTES_MAX
from tickwire.schemas.framing import binary_frame
from tickwire.schemas.messages import Event, Left

names = st.text(st.characters(codec="utf-8"), max_size=20)
payloads = st.binary(max_size=200) | st.sampled_from([125, 126, 1 << 16, (1 << 16) - 80]).map(bytes)
numbers = st.integers(1, (1 << 32) - 1)


@given(name=names, payload=payloads, number=numbers, other=numbers)
def test_numbered_frame_equals_the_codecs_encoding(name: str, payload: bytes, number: int, other: int) -> None:
    expected = binary_frame(encode_server(Event(number, name, payload)))
    frame = encode_event(name, payload)
    assert frame.with_number(number) == expected
    assert frame.size == len(expected)
    again = event_frame_from_bytes(frame.with_number(other))
    assert again.with_number(number) == expected


def test_every_size_around_padding_and_headers_equals_the_codecs_encoding() -> None:
    for size in (*range(1, 140), *range(65_400, 65_600)):
        for name in ("a", "ab", "abc", "abcd"):
            expected = binary_frame(encode_server(Event(7, name, bytes(size))))
            assert encode_event(name, bytes(size)).with_number(7) == expected


def test_name_that_is_too_long_raises_when_it_is_sent() -> None:
    encode_event("x" * STRING_BYTES_MAX, b"\xc0")
    with pytest.raises(ValueError, match="an event's name may have at most 4096 bytes"):
        encode_event("x" * (STRING_BYTES_MAX + 1), b"\xc0")


def test_frame_of_another_message_is_not_an_event() -> None:
    with pytest.raises(MalformedMessage):
        event_frame_from_bytes(binary_frame(encode_server(Left("over"))))


@given(data=st.binary(max_size=100), cut=st.integers(0, 80))
def test_invalid_frames_raise_malformed_message(data: bytes, cut: int) -> None:
    for frame in (data, encode_event("name", b"payload").with_number(1)[:cut]):
        try:
            event_frame_from_bytes(frame)
        except WireError:
            continue
