"""A delta applied to its baseline equals the snapshot; a damaged one is an error or a world within its fields."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tickwire.schemas import fields
from tickwire.schemas.bit_packing import BitReader, ByteReader, bit_lengths, pack_codes
from tickwire.schemas.columns import Columns, checksum, empty_columns
from tickwire.schemas.delta import TableCodec, decode_channel, encode_channel
from tickwire.schemas.errors import WireError

pytestmark = pytest.mark.usefixtures("each_kernel")

FIELDS = (
    fields.real("x", -100, 100, 1 / 32),
    fields.angle("heading", 8),
    fields.sint("speed", 12),
    fields.uint("hp", 32),
    fields.boolean("is_armed"),
    fields.enumeration("team", ("red", "blue", "none")),
)
CODEC = TableCodec(FIELDS)
NONE = np.empty(0, np.int64)
LOWS = np.array([field.range[0] for field in FIELDS])
HIGHS = np.array([field.range[1] for field in FIELDS])


@st.composite
def worlds(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    ids = sorted(draw(st.sets(st.integers(1, 40), max_size=12)))
    columns = [
        draw(hnp.arrays(np.int64, len(ids), elements=st.integers(int(low), int(high))))
        for low, high in zip(LOWS, HIGHS, strict=True)
    ]
    return np.array(ids, np.uint32), np.array(columns, np.int64).reshape(len(FIELDS), len(ids))


def same(a: Columns, b: Columns) -> bool:
    return np.array_equal(a.ids, b.ids) and np.array_equal(a.values, b.values) and np.array_equal(a.before, b.before)


@given(st.lists(worlds(), min_size=1, max_size=6))
def test_chain_of_deltas_reproduces_every_snapshot(chain: list[tuple[np.ndarray, np.ndarray]]) -> None:
    server = client = (empty_columns(len(FIELDS)),)
    for ids, values in chain:
        now = (CODEC.successor(server[0], ids, values),)
        packed = encode_channel((CODEC,), server, now) + checksum(now)
        client, agrees = decode_channel((CODEC,), client, packed, has_checksum=True)
        assert agrees
        assert same(client[0], now[0])
        server = now


def test_table_with_texts_only_has_deltas() -> None:
    codec = TableCodec((fields.text("name", 16),))

    def after(last: Columns, ids: list[int], names: list[bytes]) -> Columns:
        texts = np.array(names, np.object_).reshape(1, -1)
        return codec.successor(last, np.array(ids, np.uint32), np.empty((0, len(ids)), np.int64), texts)

    server = client = (empty_columns(0, 1),)
    for ids, names in (([1], [b"a"]), ([1, 2], [b"a", b"b"]), ([1, 2], [b"c", b"b"]), ([2], [b"d"]), ([], [])):
        now = (after(server[0], ids, names),)
        packed = encode_channel((codec,), server, now) + checksum(now)
        client, agrees = decode_channel((codec,), client, packed, has_checksum=True)
        assert agrees
        server = now


@given(worlds(), worlds(), st.data())
def test_a_damaged_delta_is_an_error_or_a_world_within_its_fields(
    first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    base = (CODEC.successor(empty_columns(len(FIELDS)), *first),)
    now = (CODEC.successor(base[0], *second),)
    packed = bytearray(encode_channel((CODEC,), base, now))
    if data.draw(st.booleans()):
        del packed[data.draw(st.integers(0, len(packed) - 1)) :]
    else:
        packed[data.draw(st.integers(0, len(packed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with suppress(WireError):
        (table,), _ = decode_channel((CODEC,), base, bytes(packed), has_checksum=False)
        assert ((table.values.T >= LOWS) & (table.values.T <= HIGHS)).all()
        assert (np.diff(table.ids.astype(np.int64)) > 0).all()


@given(st.binary(max_size=60))
def test_random_bytes_are_an_error_or_a_world(data: bytes) -> None:
    with suppress(WireError):
        decode_channel((CODEC,), (empty_columns(len(FIELDS)),), data, has_checksum=False)


@given(st.lists(st.tuples(st.integers(0, 63), st.integers(0, 2**63 - 1)), max_size=40))
def test_codes_are_read_back_bit_by_bit(codes: list[tuple[int, int]]) -> None:
    values = [value & ((1 << width) - 1) for width, value in codes]
    packed = pack_codes(np.array([value for _, value in codes], np.int64), np.array([w for w, _ in codes], np.int64))
    assert len(packed) == (sum(width for width, _ in codes) + 7) // 8
    source = ByteReader(packed)
    stream = BitReader(source)
    assert [int(stream.unsigned(1, width)[0]) for width, _ in codes] == values
    stream.finish()
    source.finish()


@given(hnp.arrays(np.int64, 30, elements=st.integers(0, 2**60)))
def test_bit_lengths_are_those_of_python(values: np.ndarray) -> None:
    assert bit_lengths(values).tolist() == [int(value).bit_length() for value in values]


@given(st.lists(st.tuples(worlds(), st.integers(1, 3)), min_size=1, max_size=5), st.integers(0, 2**32))
def test_many_channels_at_once_are_encoded_as_one_by_one(groups: list[tuple[Any, int]], seed: int) -> None:
    chance = np.random.default_rng(seed)
    pairs = []
    for (ids, values), size in groups:
        before, last = (
            np.clip(values + chance.integers(-size, size, values.shape), LOWS[:, None], HIGHS[:, None]) for _ in "12"
        )
        pairs.append((Columns(ids, last, before), Columns(ids, values, last)))
    assert CODEC.encode_many(pairs) == [CODEC.encode(base, now) for base, now in pairs]


@given(
    st.sampled_from([1, 2, 50]),
    st.sampled_from([1, 4, 300, 2**30, 2**51]),
    st.floats(0, 1),
    st.integers(0, 2**32),
)
def test_every_shape_of_motion_is_read_back(count: int, spread: int, jumps: float, seed: int) -> None:
    """Columns of the widest integers, with a share of values that jump: all predictors, escapes among them."""
    chance = np.random.default_rng(seed)
    codec = TableCodec((fields.sint("a", 53), fields.uint("b", 53)))
    ids = np.arange(1, count + 1, dtype=np.uint32)
    lows, highs = np.array([[-(2**52)], [0]]), np.array([[2**52 - 1], [2**53 - 1]])
    server = client = (empty_columns(2),)
    values = np.zeros((2, count), np.int64)
    for _ in range(5):
        step = chance.integers(-3, 4, values.shape)
        far = chance.integers(-spread, spread, values.shape, endpoint=True)
        values = np.clip(values + np.where(chance.random(values.shape) < jumps, far, step), lows, highs)
        now = (codec.successor(server[0], ids, values),)
        many = codec.encode_many([(server[0], now[0])] * 2)
        packed = encode_channel((codec,), server, now)
        assert many[0] == many[1] == packed[:-1]
        client, _ = decode_channel((codec,), client, packed, has_checksum=False)
        assert same(client[0], now[0])
        server = now


def test_turning_and_wrapping_motion_is_read_back_by_every_predictor() -> None:
    ids = np.arange(1, 41, dtype=np.uint32)
    server = client = (empty_columns(len(FIELDS)),)
    seen: set[int] = set()
    for tick in range(12):
        values = np.zeros((len(FIELDS), 40), np.int64)
        values[0] = 100 + np.arange(40) * tick  # steady: LINEAR
        values[1] = (250 + np.arange(40) * 3 * tick) % 256  # an angle that wraps, steady
        values[2] = np.where(np.arange(40) == tick, 900, 0)  # one changes: CHANGED
        values[3] = (np.arange(40) * 7919 * (tick + 1) ** 3) % 1000  # noise: LAST
        values[0, 7] += 40 * (tick % 5 == 4)  # one turns: RICE
        now = (CODEC.successor(server[0], ids, values),)
        packed = encode_channel((CODEC,), server, now)
        client, _ = decode_channel((CODEC,), client, packed, has_checksum=False)
        assert same(client[0], now[0])
        codes, bits = CODEC.residuals.to_codes(server[0].values, server[0].before, values) if tick else (NONE, NONE)
        seen |= {int(code) >> 1 & 3 for code in codes[bits == 9]}  # headers: no residual here is of nine bits
        server = now
    assert seen == {0, 1, 2, 3}


def test_steady_motion_takes_one_byte_per_column() -> None:
    ids = np.arange(1, 51, dtype=np.uint32)
    table = empty_columns(len(FIELDS))
    start = np.zeros((len(FIELDS), 50), np.int64)
    size = 0
    for _ in range(4):
        start[0] += np.arange(50)
        now = CODEC.successor(table, ids, start.copy())
        size, table = len(encode_channel((CODEC,), (table,), (now,))), now
    assert size == 1 + 2 + 1, "a tag, two bytes for six fields (five bits, and a header), the end"


def test_unchanged_channel_takes_one_byte() -> None:
    table = CODEC.successor(
        empty_columns(len(FIELDS)), np.array([1], np.uint32), np.zeros((len(FIELDS), 1), np.int64)
    )
    assert encode_channel((CODEC,), (table,), (table,)) == b"\0"


@given(st.floats(-100, 100), st.integers(1, 1000))
def test_a_real_is_kept_within_half_a_step(value: float, steps: int) -> None:
    field = fields.real("x", -100, 100, 200 / steps)
    kept = field.dequantise(field.quantise(np.array([value])))[0]
    assert abs(kept - value) <= 100 / steps + 1e-4


@given(st.floats(-1000, 1000))
def test_an_angle_wraps(value: float) -> None:
    field = fields.angle("heading", 8)
    kept = float(field.dequantise(field.quantise(np.array([value])))[0])
    assert abs(math.remainder(kept - value, math.tau)) <= math.tau / 512 + 1e-4


def test_values_out_of_range_are_clamped_and_nan_names_field_and_row() -> None:
    field = fields.real("x", -1, 1, 0.5)
    assert field.quantise(np.array([-9.0, 9.0])).tolist() == [0, 4]
    with pytest.raises(fields.NotANumber, match="'x' of row 1"):
        field.quantise(np.array([0.0, np.nan]))
