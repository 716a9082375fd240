"""Payloads: numpy's numbers are numbers, and a value without a plain form is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from schemas.payloads import encode_payload, to_plain

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


def test_numpy_scalars_may_be_keys() -> None:
    assert msgspec.msgpack.decode(encode_payload({np.int64(7): 1}), strict=False) == {7: 1}
    assert to_plain({np.int64(7): 1}) == {"7": 1}, "MongoDB's keys are texts"


@pytest.mark.parametrize("value", [object(), 1j, np.datetime64(0, "s"), {"a": [object()]}])
@pytest.mark.parametrize("encode", [encode_payload, to_plain])
def test_a_value_without_a_plain_form_is_refused(encode: Any, value: object) -> None:
    with pytest.raises(TypeError, match="cannot be encoded"):
        encode(value)
