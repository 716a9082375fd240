"""Every message has the bytes that `flatbuffers.Builder` writes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.flatbuffers_reference import build_client, build_server
from tickwire.schemas.codec import encode_client, encode_server
from tickwire.schemas.flat_tables import Slot, layout_from_struct
from tickwire.schemas.messages import (
    CLIENT_BODY,
    SERVER_BODY,
    FieldDescription,
    Joined,
    Message,
    StateDescription,
    TableDescription,
)

BITS = {"u8": 8, "u16": 16, "u32": 32, "u64": 64}
TEXTS = st.text(st.characters(codec="utf-8"), max_size=9)


def values_of(slot: Slot) -> st.SearchStrategy[Any]:
    match slot.encoding:
        case "string":
            return TEXTS
        case "bytes":
            return st.binary(max_size=9)
        case "bool":
            return st.booleans()
        case "f32" | "f64":
            return st.sampled_from((0.0, -0.0, 1.5, float("nan"))) | st.floats(width=32)
        case "strings":
            return st.lists(TEXTS, max_size=3).map(tuple)
        case "table":
            return messages_of(slot.inner.type)
        case "tables":
            return st.lists(messages_of(slot.inner.type), max_size=3).map(tuple)
        case encoding:
            numbers = st.just(0) | st.integers(0, 2 ** BITS[encoding] - 1)
            return numbers if slot.inner is None else st.sampled_from(slot.inner)


def messages_of(kind: type[Any]) -> st.SearchStrategy[Any]:
    return st.builds(kind, **{slot.name: values_of(slot) for slot in layout_from_struct(kind).slots})


@given(st.one_of([messages_of(kind) for kind in CLIENT_BODY]))
def test_every_message_of_a_client_equals_the_builders(message: Message) -> None:
    assert encode_client(message) == build_client(message)


@given(st.one_of([messages_of(kind) for kind in SERVER_BODY]))
def test_every_message_of_a_server_equals_the_builders(message: Message) -> None:
    assert encode_server(message) == build_server(message)


FIELDS = tuple(FieldDescription(f"field {number}", bits=number, step=number / 2) for number in range(5))


@pytest.mark.parametrize("size", range(9))
def test_description_is_written_at_every_alignment_from_its_cached_bytes(size: int) -> None:
    description = StateDescription((TableDescription("t", FIELDS), TableDescription("u", FIELDS)), FIELDS)
    for tick in (0, 77):
        joined = Joined("r" * size, "type", "n" * size, 20.0, tick, description=description, room_code="c" * size)
        assert encode_server(joined) == build_server(joined)
