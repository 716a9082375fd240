"""The codec raises only WireError for arbitrary bytes, and allocates no more than the message allows."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_schemas_codec import filled
from tickwire.schemas.codec import decode_client, decode_server, encode_client, encode_server
from tickwire.schemas.errors import WireError
from tickwire.schemas.messages import CLIENT_BODY, SERVER_BODY, StateFrame
from tickwire.schemas.state_messages import encode_ack, encode_state
from tickwire.schemas.table_frames import encode_table_ack, encode_table_state

pytestmark = pytest.mark.usefixtures("each_kernel")

SAMPLES = [encode_client(filled(kind)) for kind in CLIENT_BODY] + [
    encode_server(filled(kind)) for kind in SERVER_BODY
]
SAMPLES += [
    encode_state(70_000, 0, 1, 3, b"packed"),
    encode_state(70_000, 1, 0, 1, b"packed"),
    encode_ack(70_000, 70_000),
    encode_table_state(StateFrame(70_000, 1, 2, 1, b"packed")),
    encode_table_ack(70_000, 70_000),
]


def size_of(value: Any) -> int:
    """The texts and bytes that a decoded message holds."""
    if isinstance(value, bytes | str):
        return len(value)
    if isinstance(value, tuple):
        return sum(map(size_of, value))
    return sum(size_of(getattr(value, name)) for name in getattr(value, "__struct_fields__", ()))


def read(data: bytes) -> None:
    for decode in (decode_client, decode_server):
        with suppress(WireError):
            assert size_of(decode(data)) <= len(data)


@given(st.binary(max_size=300))
def test_random_bytes_raise_wire_errors_only(data: bytes) -> None:
    read(data)


@given(st.data())
def test_mutated_messages_raise_wire_errors_only(data: st.DataObject) -> None:
    message = bytearray(data.draw(st.sampled_from(SAMPLES)))
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(message) - 1))
        message[place] = data.draw(st.integers(0, 255))
    read(bytes(message))


def test_every_truncation_of_every_message_raises_wire_errors_only() -> None:
    for sample in SAMPLES:
        for size in range(len(sample)):
            read(sample[:size])


def test_every_byte_set_to_every_extreme_raises_wire_errors_only() -> None:
    for sample in SAMPLES:
        for place in range(len(sample)):
            for value in (0, 1, 0x7F, 0x80, 0xFF):
                read(sample[:place] + bytes((value,)) + sample[place + 1 :])
