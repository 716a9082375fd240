"""Payloads: numpy's numbers are numbers, and a value without a plain form is refused."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.payloads import DEPTH_MAX, decode_json, decode_payload, encode_payload, to_plain

SCALARS: list[tuple[Any, Any]] = [
    (np.int8(-3), -3),
    (np.uint64(2**64 - 1), 2**64 - 1),
    (np.float32(0.5), 0.5),
    (np.float64(1.5), 1.5),
    (np.longdouble(2.5), 2.5),
    (np.bool_(True), True),
    (np.str_("text"), "text"),
    (np.bytes_(b"bytes"), b"bytes"),
    (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
]


@pytest.mark.parametrize(("value", "plain"), SCALARS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("wrap", [lambda value: value, lambda value: {"a": [value]}], ids=["alone", "nested"])
def test_numpy_scalars_and_arrays_are_encoded_as_plain_values(wrap: Any, value: Any, plain: Any) -> None:
    for encoded in (msgspec.msgpack.decode(encode_payload(wrap(value))), to_plain(wrap(value))):
        assert encoded == wrap(plain)
        assert type(encoded) is type(wrap(plain))


def test_a_datetime_with_a_zone_is_a_timestamp_and_one_without_is_text() -> None:
    utc = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    assert encode_payload(utc)[:2] == b"\xd6\xff", "extension type -1, which every client reads"
    assert msgspec.msgpack.decode(encode_payload(utc)) == utc
    assert msgspec.msgpack.decode(encode_payload(utc.replace(tzinfo=None))) == "2026-01-02T03:04:05"


def test_numpy_scalars_may_be_keys() -> None:
    assert msgspec.msgpack.decode(encode_payload({np.int64(7): 1}), strict=False) == {7: 1}
    assert to_plain({np.int64(7): 1}) == {"7": 1}, "MongoDB's keys are texts"


@pytest.mark.parametrize("value", [object(), 1j, np.datetime64(0, "s"), {"a": [object()]}])
@pytest.mark.parametrize("encode", [encode_payload, to_plain])
def test_a_value_without_a_plain_form_is_refused(encode: Any, value: object) -> None:
    with pytest.raises(TypeError, match="cannot be encoded"):
        encode(value)


def lists(depth: int) -> bytes:
    """Lists in lists, as MessagePack."""
    return b"\x91" * depth + b"\x00"


def maps(depth: int) -> bytes:
    return b"\x81\xa1a" * depth + b"\x00"


def keys(depth: int) -> bytes:
    """A map with a list in a list as its key."""
    return b"\x81" + lists(depth - 1) + b"\x00"


@pytest.mark.parametrize("nest", [lists, maps, keys])
def test_payload_may_be_nested_up_to_the_limit(nest: Callable[[int], bytes]) -> None:
    decode_payload(nest(DEPTH_MAX))
    for depth in (DEPTH_MAX + 1, 200, 900, 5_000, 100_000):
        with pytest.raises(MalformedMessage, match="nested"):
            decode_payload(nest(depth))


def test_depth_counts_and_width_does_not() -> None:
    wide = [{"a": [1, 2]} for _ in range(1_000)]
    assert decode_payload(encode_payload(wide)) == wide
    assert decode_payload(b"\xc4\xc8" + b"\x91" * 200) == b"\x91" * 200, "bytes that look like lists"


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_json_may_be_nested_up_to_the_limit(opening: str) -> None:
    closing = {"[": "]"}.get(opening, "}")
    decode_json((opening * DEPTH_MAX + "1" + closing * DEPTH_MAX).encode())
    for depth in (DEPTH_MAX + 1, 200, 900, 100_000):
        with pytest.raises(MalformedMessage, match="nested"):
            decode_json((opening * depth + "1" + closing * depth).encode())


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\xa1\xff", b"\x91", b"\x00\x00", b"\xdd\xff\xff\xff\xff", b"\x81\x80\x00"]
)
def test_invalid_messagepack_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_payload(data)
    with pytest.raises(MalformedMessage):
        decode_json(data)


@pytest.mark.parametrize("kind", [Any, dict[str, Any]])
def test_an_extension_that_is_no_timestamp_is_no_plain_value(kind: Any) -> None:
    for wrap in (lambda value: value, lambda value: [value] * 100):
        data = encode_payload({"a": wrap(msgspec.msgpack.Ext(5, b"x"))})
        with pytest.raises(MalformedMessage, match="extension type 5"):
            decode_payload(data, kind)


def test_wrong_type_is_refused() -> None:
    assert decode_payload(b"\x81\xa1a\xa1b", dict[str, str]) == {"a": "b"}
    with pytest.raises(MalformedMessage, match="Expected `str`"):
        decode_payload(b"\x81\xa1a\x01", dict[str, str])


@given(st.binary(max_size=200))
def test_arbitrary_bytes_decode_or_raise_malformed_message(data: bytes) -> None:
    for decode in (decode_payload, decode_json):
        with suppress(MalformedMessage):
            decode(data)


@given(
    st.lists(st.sampled_from([b"\x91", b"\x81", b"\xdc\x00\x01", b"\xa1a", b"\x00", b"\xc0", b"\x92"]), max_size=400)
)
def test_arbitrary_nesting_decodes_or_raises_malformed_message(parts: list[bytes]) -> None:
    with suppress(MalformedMessage):
        decode_payload(b"".join(parts))


DECODE_THEMSELVES = {
    "server/migration/room_codec.py",  # a room that another shard of the fleet has encoded
    "server/rooms/value_codec.py",  # of such a room
    "server/recording/header.py",  # a recording: each error is RecordingDamaged, or the value is left out
    "server/recording/keyframe_decoder.py",  # the same
    "server/recording/reader.py",  # the same
    "server/recording/room_builder.py",  # the same
    "server/recording/replay_room.py",  # what it has encoded itself
    "server/dev/runner.py",  # a file of the user
    "matchmaking/tickets.py",  # after the signature was checked
    "matchmaking/script_runner.py",  # what a script of ours returns
    "client/saved_login.py",  # what the application itself has saved
    "server/http/cursors.py",  # to a declared type without containers of any depth; each error is InvalidArgument
    "client/stored_session.py",  # what the application itself has saved; and its token, of any contents
    "server/tokens/strict_json.py",  # tokens and keys: a name may not occur twice, which msgspec does not check
    "loadtest/options.py",  # the command line
    "loadtest/recorder.py",  # a worker of the same load test
}


def test_payloads_of_peers_are_decoded_only_in_payloads() -> None:
    root = Path(__file__).parent.parent.parent
    found = set()
    for package in ("server", "services", "client", "matchmaking", "schemas", "loadtest", "examples"):
        for path in (root / package).rglob("*.py"):
            if re.search(r"\b(msgpack|json)\.(decode|loads|Decoder)\(", path.read_text()):
                found.add(path.relative_to(root).as_posix())
    assert found == DECODE_THEMSELVES
