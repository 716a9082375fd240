"""The fuzz targets, in every test run: random bytes, and good ones with some of them changed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import SAMPLES, TARGETS
from tests.unit.test_schemas_codec import filled
from tickwire.schemas.codec import encode_client
from tickwire.schemas.messages import CLIENT_BODY

pytestmark = pytest.mark.usefixtures("each_kernel")

GOOD = {
    **SAMPLES,
    "client_message": [encode_client(filled(kind)) for kind in CLIENT_BODY],
    "session": [bytes((len(m),)) + m for m in (encode_client(filled(kind)) for kind in CLIENT_BODY) if len(m) < 256],
}


FOUND = [
    # A length that is too large is refused before its mask has come, as the library does.
    ("frame_path", bytes.fromhex("023b05070b0d111382846d61736b0b0d111382ffffffff828461736b646174")),
    # A frame of no known kind is refused before it is all there.
    ("frame_path", bytes(8) + b"\x03\x80"),
]


@pytest.mark.parametrize(("name", "data"), FOUND)
def test_inputs_of_past_crashes_no_longer_crash(name: str, data: bytes) -> None:
    TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
@given(st.binary(max_size=600))
def test_arbitrary_bytes_are_accepted_or_rejected_without_a_crash(name: str, data: bytes) -> None:
    TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
@given(st.data())
def test_mutated_valid_bytes_do_not_crash(name: str, data: st.DataObject) -> None:
    parts = data.draw(st.lists(st.sampled_from(GOOD[name]), min_size=1, max_size=4))
    changed = bytearray(b"".join(parts))
    for _ in range(data.draw(st.integers(0, 6))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    TARGETS[name](bytes(changed))
