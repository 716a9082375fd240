"""Fields: both ends convert values equally, for every kind and every width."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tickwire.schemas import fields
from tickwire.schemas.columns import Columns, empty_columns
from tickwire.schemas.delta import TableCodec, decode_channel
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.fields import (
    BITS_MAX,
    BYTES_MAX,
    SCALED_BITS_MAX,
    Field,
    NotANumber,
    from_description,
    input_bytes,
    pack_input,
)
from tickwire.schemas.inputs import InputReader
from tickwire.schemas.messages import FieldDescription, FieldKind

pytestmark = pytest.mark.usefixtures("each_kernel")

EDGES = st.sampled_from([-1.0, 0.0, 0.25, 1.0, 100.0]) | st.floats()
NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32)


@st.composite
def kinds(draw: st.DrawFn, name: str = "f", *, bits_max: int = BITS_MAX) -> Field:
    bits = draw(st.integers(1, bits_max))
    scaled_bits = min(bits, SCALED_BITS_MAX)
    match draw(st.sampled_from([kind for kind in FieldKind if kind < FieldKind.TEXT])):
        case FieldKind.BOOL:
            return fields.boolean(name)
        case FieldKind.UINT:
            return fields.uint(name, bits)
        case FieldKind.INT:
            return fields.sint(name, bits)
        case FieldKind.ANGLE:
            return fields.angle(name, scaled_bits)
        case FieldKind.ENUM:
            return fields.enumeration(name, tuple(f"label {n}" for n in range(draw(st.integers(1, 40)))))
        case FieldKind.ENTITY:
            return fields.entity(name)
        case _:
            low = draw(st.floats(-1000, 1000, width=32))
            step = draw(st.sampled_from([1 / 64, 0.1, 1.0, 3.0]))
            return fields.real(name, low, low + step * draw(st.integers(2, 100_000)), step)


@given(kinds())
def test_field_equals_the_field_of_its_description(field: Field) -> None:
    assert from_description(field.describe()) == field


@given(kinds(), st.data())
def test_every_value_of_a_field_is_within_its_width_and_read_back(field: Field, data: st.DataObject) -> None:
    low, high = field.range
    assert max(high, -low - 1).bit_length() + (low < 0) <= field.bits
    value = data.draw(st.sampled_from([low, high]) | st.integers(low, high))
    if field.kind in (FieldKind.REAL, FieldKind.ANGLE) and field.bits > 20:
        return  # the game's columns are float32: finer values are rounded in the game already
    again = field.quantise(field.dequantise(np.array([value])))
    assert again.tolist() == [value]


@given(kinds(), st.lists(NUMBERS, max_size=5))
def test_every_value_is_quantised_into_the_range(field: Field, numbers: list[float]) -> None:
    column = np.clip(np.array(numbers, np.float64), -1e9, 1e9)
    low, high = field.range
    values = field.quantise(column)
    assert values.dtype == np.int64
    assert ((values >= low) & (values <= high)).all()


@given(kinds(), NUMBERS | st.integers(-1000, 1000).map(lambda half: half / 2))
def test_one_number_is_quantised_as_a_column_is(field: Field, number: float) -> None:
    if abs(number) < 2**62:  # beyond, numpy's conversion to int64 overflows
        assert fields.create_quantiser(field)(number) == int(field.quantise(np.array([number]))[0])


@given(kinds(bits_max=24).filter(lambda field: field.kind is FieldKind.REAL), st.floats(0, 1))
def test_a_real_within_its_range_is_off_by_half_a_step_at_most(field: Field, part: float) -> None:
    value = field.low + part * (field.high - field.low)
    kept = field.low + int(field.quantise(np.array([value]))[0]) * field.step
    assert abs(kept - value) <= field.step * 0.5 * (1 + 1e-6) + 1e-9 * abs(value)


@given(st.integers(1, 20), st.floats(-50, 50))
def test_an_angle_is_off_by_half_a_step_at_most_also_around_the_turn(bits: int, value: float) -> None:
    field = fields.angle("a", bits)
    step = math.tau / (1 << bits)
    kept = int(field.quantise(np.array([value]))[0]) * step
    assert abs(math.remainder(kept - value, math.tau)) <= step / 2 + 1e-6


@given(kinds(), st.sampled_from([math.nan, math.inf, -math.inf]), st.integers(0, 3))
def test_nan_and_infinity_name_the_field_and_the_row(field: Field, bad: float, row: int) -> None:
    column = np.zeros(4)
    column[row] = bad
    with pytest.raises(NotANumber) as raised:
        field.quantise(column)
    assert (raised.value.field, raised.value.row) == ("f", row)
    with pytest.raises(NotANumber):
        fields.create_quantiser(field)(bad)


@given(st.lists(st.tuples(kinds(bits_max=20), NUMBERS.map(lambda number: min(max(number, -1e6), 1e6))), max_size=6))
def test_input_is_read_as_it_was_packed(declared: list[tuple[Field, float]]) -> None:
    layout = tuple(msgspec.structs.replace(field, name=f"f{n}") for n, (field, _) in enumerate(declared))
    values = [value for _, value in declared]
    payload = pack_input(layout, {field.name: value for field, value in zip(layout, values, strict=True)})
    assert len(payload) == input_bytes(layout) == InputReader(layout).size
    wish = InputReader(layout).read(payload)
    for field, value, read in zip(layout, values, wish, strict=True):
        quantised = int(field.quantise(np.array([value]))[0])
        meant = {
            FieldKind.REAL: min(field.low + quantised * field.step, field.high),
            FieldKind.ANGLE: quantised * math.tau / (1 << field.bits),
        }.get(field.kind, quantised)
        assert read == pytest.approx(meant, abs=1e-9)


@given(st.lists(kinds(bits_max=SCALED_BITS_MAX), max_size=6), st.data())
def test_any_payload_of_the_right_size_is_read_into_the_ranges(declared: list[Field], data: st.DataObject) -> None:
    layout = tuple(msgspec.structs.replace(field, name=f"f{n}") for n, field in enumerate(declared))
    size = input_bytes(layout)
    wish = InputReader(layout).read(data.draw(st.binary(min_size=size, max_size=size)))
    for field, value in zip(layout, wish, strict=True):
        low, high = field.range
        if field.kind is FieldKind.REAL:
            low, high = field.low, field.high  # type: ignore[assignment]
        elif field.kind is FieldKind.ANGLE:
            low, high = 0, math.tau  # type: ignore[assignment]
        assert low <= value <= high


@given(
    st.builds(
        FieldDescription,
        name=st.text(max_size=3),
        kind=st.sampled_from(list(FieldKind)),
        bits=st.integers(0, 60),
        low=EDGES,
        high=EDGES,
        step=EDGES,
        labels=st.lists(st.text(max_size=2), max_size=3).map(tuple),
        bytes_max=st.integers(0, 2000),
    )
)
@example(FieldDescription("f", FieldKind.REAL, 8, 0.0, 1.0, 0.0))
def test_a_description_is_a_field_that_works_or_malformed(description: FieldDescription) -> None:
    try:
        field = from_description(description)
    except MalformedMessage:
        return
    if field.is_text:
        assert 1 <= field.bytes_max <= BYTES_MAX
        return
    low, high = field.range
    assert -(1 << 52) <= low <= high < 1 << 53
    codec = TableCodec((field,))
    ids = np.array([1], np.uint32)
    now = codec.successor(empty_columns(1), ids, np.array([[high]]))
    packed = codec.encode(empty_columns(1), now) + b"\0"
    (read,), _ = decode_channel((codec,), (empty_columns(1),), packed, has_checksum=False)
    assert isinstance(read, Columns)
    assert read.values.tolist() == [[high]]
    field.dequantise(read.values[0])
