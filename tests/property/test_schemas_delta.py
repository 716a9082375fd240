"""Every cut and every flipped bit of a whole frame of two tables: an error, or a world within its fields.

The chain of deltas, the predictors and damage at random are in test_delta.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tickwire.schemas import fields
from tickwire.schemas.columns import Columns, checksum, empty_columns
from tickwire.schemas.delta import create_codecs, decode_channel, encode_channel
from tickwire.schemas.errors import MalformedMessage, WireError
from tickwire.schemas.fields import Field

pytestmark = pytest.mark.usefixtures("each_kernel")

SHIP = (fields.real("x", -100, 100, 1 / 32), fields.angle("heading", 8), fields.enumeration("team", ("red", "blue")))
MINE = (fields.sint("depth", 9), fields.uint("owner", 32))
CODECS = create_codecs((SHIP, MINE))
NOTHING = (empty_columns(len(SHIP)), empty_columns(len(MINE)))
Tables = tuple[Columns, ...]


def values(kinds: tuple[Field, ...], ids: list[int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    rows = [chance.integers(*field.range, size=len(ids), endpoint=True) for field in kinds]
    return np.array(ids, np.uint32), np.array(rows, np.int64).reshape(len(kinds), len(ids))


def after(base: Tables, ships: tuple[np.ndarray, np.ndarray], mines: tuple[np.ndarray, np.ndarray]) -> Tables:
    return (CODECS[0].successor(base[0], *ships), CODECS[1].successor(base[1], *mines))


FIRST = after(NOTHING, values(SHIP, [1, 2, 5, 9], 1), values(MINE, [3, 4], 2))
SECOND = after(FIRST, values(SHIP, [2, 5, 9, 12, 13], 3), values(MINE, [4, 20], 4))
SHIPS_STEADY = (SECOND[0].ids, np.add(SECOND[0].values, [[3], [1], [0]]) % [[6400], [256], [2]])
THIRD = after(SECOND, SHIPS_STEADY, (SECOND[1].ids, SECOND[1].values))
STEPS = [
    (NOTHING, FIRST),
    (FIRST, SECOND),
    (SECOND, THIRD),
    (SECOND, after(SECOND, *[values(SHIP, [], 0), values(MINE, [], 0)])),
]


def damaged(packed: bytes) -> Iterator[bytes]:
    for size in range(len(packed)):
        yield packed[:size]
    for bit in range(8 * len(packed)):
        changed = bytearray(packed)
        changed[bit // 8] ^= 1 << (bit % 8)
        yield bytes(changed)


def is_possible(tables: Tables) -> bool:
    return all(
        bool((np.diff(table.ids.astype(np.int64)) > 0).all())
        and 0 not in table.ids
        and table.values.shape == table.before.shape == (len(codec.fields), table.ids.size)
        and all(
            bool(((row >= field.range[0]) & (row <= field.range[1])).all())
            for field, row in zip(codec.fields, table.values, strict=True)
        )
        for codec, table in zip(CODECS, tables, strict=True)
    )


@pytest.mark.parametrize(("base", "now"), STEPS, ids=["keyframe", "delta", "steady", "all left"])
def test_every_cut_and_every_flipped_bit_is_an_error_or_a_possible_world(base: Tables, now: Tables) -> None:
    packed = encode_channel(CODECS, base, now)
    taken = 0
    for bad in damaged(packed):
        try:
            tables, _ = decode_channel(CODECS, base, bad, has_checksum=False)
        except WireError:
            continue
        taken += 1
        assert is_possible(tables)
    assert taken < 8 * len(packed), "some damage is seen without a checksum"


@pytest.mark.parametrize(("base", "now"), STEPS, ids=["keyframe", "delta", "steady", "all left"])
def test_a_checksum_finds_every_flipped_bit_that_changes_the_world(base: Tables, now: Tables) -> None:
    packed = encode_channel(CODECS, base, now)
    end = checksum(now)
    for bad in damaged(packed):
        try:
            tables, agrees = decode_channel(CODECS, base, bad + end, has_checksum=True)
        except WireError:
            continue
        is_same = all(
            np.array_equal(a.ids, b.ids) and np.array_equal(a.values, b.values)
            for a, b in zip(tables, now, strict=True)
        )
        assert agrees == is_same


@pytest.mark.parametrize(("base", "now"), STEPS, ids=["keyframe", "delta", "steady", "all left"])
def test_surplus_bytes_are_malformed(base: Tables, now: Tables) -> None:
    packed = encode_channel(CODECS, base, now)
    with pytest.raises(MalformedMessage, match="1 surplus bytes"):
        decode_channel(CODECS, base, packed + b"\0", has_checksum=False)
    with pytest.raises(MalformedMessage, match="ends too early"):
        decode_channel(CODECS, base, packed + b"abc", has_checksum=True)


def test_decoding_leaves_the_baseline_as_it_was() -> None:
    before = [(table.ids.copy(), table.values.copy(), table.before.copy()) for table in FIRST]
    packed = encode_channel(CODECS, FIRST, SECOND)
    for bad in (packed, *damaged(packed)):
        try:
            decode_channel(CODECS, FIRST, bad, has_checksum=False)
        except WireError:
            continue
    for (ids, rows, older), table in zip(before, FIRST, strict=True):
        assert np.array_equal(ids, table.ids)
        assert np.array_equal(rows, table.values)
        assert np.array_equal(older, table.before)
