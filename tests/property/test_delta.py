"""A delta applied to its baseline gives the snapshot; a damaged one gives an error or a world within its fields."""

from __future__ import annotations

import math
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from schemas import fields
from schemas.delta import (
    Columns,
    TableCodec,
    checksum,
    decode_channel,
    empty_columns,
    encode_channel,
)
from schemas.errors import WireError
from schemas.packing import pack_bits, unpack_bits

FIELDS = (
    fields.real("x", -100, 100, 1 / 32),
    fields.angle("heading", 8),
    fields.sint("speed", 12),
    fields.uint("hp", 32),
    fields.boolean("is_armed"),
    fields.enumeration("team", ("red", "blue", "none")),
)
CODEC = TableCodec(FIELDS)
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
def test_a_chain_of_deltas_gives_every_snapshot(chain: list[tuple[np.ndarray, np.ndarray]]) -> None:
    server = client = (empty_columns(len(FIELDS)),)
    for ids, values in chain:
        now = (CODEC.successor(server[0], ids, values),)
        packed = encode_channel((CODEC,), server, now) + checksum(now)
        client, agrees = decode_channel((CODEC,), client, packed, has_checksum=True)
        assert agrees
        assert same(client[0], now[0])
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


@given(st.integers(1, 63).flatmap(lambda w: st.tuples(st.just(w), st.lists(st.integers(0, 2**w - 1), max_size=40))))
def test_bits_unpack_to_what_was_packed(case: tuple[int, list[int]]) -> None:
    width, values = case
    column = np.array(values, np.int64)
    packed = pack_bits(column, width)
    assert len(packed) == (len(values) * width + 7) // 8
    assert unpack_bits(packed, len(values), width).tolist() == values


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
        now = (CODEC.successor(server[0], ids, values),)
        packed = encode_channel((CODEC,), server, now)
        client, _ = decode_channel((CODEC,), client, packed, has_checksum=False)
        assert same(client[0], now[0])
        if tick > 2:
            seen |= {packed[3] >> 6, packed[4] >> 6, packed[5] >> 6}
        server = now
    assert seen >= {1, 2}


def test_steady_motion_costs_one_byte_a_column() -> None:
    ids = np.arange(1, 51, dtype=np.uint32)
    table = empty_columns(len(FIELDS))
    start = np.zeros((len(FIELDS), 50), np.int64)
    size = 0
    for _ in range(4):
        start[0] += np.arange(50)
        now = CODEC.successor(table, ids, start.copy())
        size, table = len(encode_channel((CODEC,), (table,), (now,))), now
    assert size == 1 + 2 + len(FIELDS) + 1 + 1


def test_nothing_changed_is_one_byte() -> None:
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


def test_out_of_range_is_clamped_and_nan_names_the_field_and_the_row() -> None:
    field = fields.real("x", -1, 1, 0.5)
    assert field.quantise(np.array([-9.0, 9.0])).tolist() == [0, 4]
    with pytest.raises(fields.NotANumber, match="'x' of row 1"):
        field.quantise(np.array([0.0, np.nan]))
