"""The native kernel returns what the Python code returns, for any input: bytes, numbers and errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tickwire.schemas import fields, kernel
from tickwire.schemas.bit_packing import BitReader, ByteReader
from tickwire.schemas.codec import decode_client, encode_input, read_input_frame
from tickwire.schemas.columns import Columns
from tickwire.schemas.delta import HAS_ENTERED, HAS_LEFT, HAS_TEXTS, TableCodec
from tickwire.schemas.errors import WireError
from tickwire.schemas.fields import Field
from tickwire.schemas.framing import FIN_BINARY, MASKED
from tickwire.schemas.messages import Input
from tickwire.schemas.residuals import Predictor
from tickwire.server.edge.masking import unmask
from tickwire.server.replication.quantiser import NotANumber, Quantiser

pytestmark = pytest.mark.skipif(not kernel.is_native, reason=f"no native kernel: {kernel.reason}")

NUMBERS = (
    fields.real("x", -100, 100, 1 / 32),
    fields.angle("heading", 8),
    fields.sint("wide", 53),
    fields.uint("wider", 53),
    fields.angle("fine", 32),
    fields.boolean("is_armed"),
)
CODECS = (
    TableCodec(NUMBERS),
    TableCodec((*NUMBERS, fields.text("name", 8), fields.blob("skin", 4)), index=3),
    TableCodec((fields.text("name", 8),), index=20),
)


@contextmanager
def implementation(*, is_native: bool) -> Iterator[None]:
    before, kernel.is_native = kernel.is_native, is_native
    try:
        yield
    finally:
        kernel.is_native = before


def outcome(work: Callable[[], Any], *, is_native: bool) -> Any:
    """The result of one implementation, or its error with its message."""
    with implementation(is_native=is_native):
        try:
            return work()
        except (WireError, NotANumber) as error:
            return type(error), str(error)


def to_lists(found: Any) -> Any:
    if isinstance(found, Columns):
        texts = found.texts.tolist()
        return found.ids.tolist(), str(found.ids.dtype), found.values.tolist(), found.before.tolist(), texts
    return found


def assert_equal_on_both(work: Callable[[], Any]) -> Any:
    python, native = to_lists(outcome(work, is_native=False)), to_lists(outcome(work, is_native=True))
    assert native == python
    return native


# -- snapshots ------------------------------------------------------------------------------------------------


@st.composite
def snapshots(draw: st.DrawFn, codec: TableCodec, like: Columns | None = None) -> Columns:
    """A snapshot; often with the entities of another one, often near to its values, in arrays of any strides."""
    chance = np.random.default_rng(draw(st.integers(0, 2**32)))
    if like is not None and draw(st.booleans()):
        ids = like.ids if draw(st.booleans()) else like.ids.copy()
    else:
        ids = np.array(sorted(draw(st.sets(st.integers(1, 30) | st.just(2**32 - 1), max_size=12))), np.uint32)
    count = ids.size
    lows = np.array([field.range[0] for field in codec.columns], np.int64).reshape(-1, 1)
    highs = np.array([field.range[1] for field in codec.columns], np.int64).reshape(-1, 1)
    shape = (len(codec.columns), count)
    reach = draw(st.sampled_from([0, 1, 3, 400, 2**30, 2**53]))

    def moved(from_: np.ndarray) -> np.ndarray:
        jumps = chance.random(shape) < draw(st.sampled_from([0.0, 0.05, 1.0]))
        steps = np.where(jumps, chance.integers(-reach, reach, shape, endpoint=True), chance.integers(-1, 2, shape))
        return np.clip(from_ + steps, lows, highs)

    if like is not None and like.values.shape == shape and draw(st.integers(0, 3)):
        before = like.values
    else:
        before = np.clip(chance.integers(-reach, reach, shape, endpoint=True), lows, highs)
    values = before if draw(st.integers(0, 5)) == 0 else moved(before)
    if draw(st.booleans()):
        before, values = (np.repeat(array, 2, axis=1)[:, ::2] for array in (before, values))
    texts = np.full((len(codec.texts), count), b"", np.object_)
    for at in np.ndindex(texts.shape):
        texts[at] = draw(st.sampled_from([b"", b"a", b"bc"]))
    return Columns(ids, values, before, texts) if codec.texts else Columns(ids, values, before)


@st.composite
def transitions(draw: st.DrawFn) -> tuple[TableCodec, Columns, Columns]:
    codec = draw(st.sampled_from(CODECS))
    base = draw(snapshots(codec))
    return codec, base, draw(snapshots(codec, base))


@given(transitions())
def test_encoded_sections_are_equal(case: tuple[TableCodec, Columns, Columns]) -> None:
    codec, base, now = case
    section = assert_equal_on_both(lambda: codec.encode(base, now))
    assert_equal_on_both(lambda: codec.encode_many([(base, now), (now, now), (base, base), (base, now)]))
    if section:
        read_back = assert_equal_on_both(lambda: decode(codec, section, base))
        assert read_back[0] == now.ids.tolist()
        assert read_back[2] == now.values.tolist()


@pytest.mark.parametrize("codes", [[1] * 7 + [9], [2] * 6 + [3, 17], [5] * 7 + [29]])
def test_the_parameter_of_rice_is_equal_where_the_mean_is_a_power_of_two(codes: list[int]) -> None:
    last, now = np.zeros((1, 8), np.int64), np.array([[(code >> 1) ^ -(code & 1) for code in codes]])
    ids = np.arange(1, 9, dtype=np.uint32)
    section = assert_equal_on_both(lambda: ONE.encode(Columns(ids, last, last), Columns(ids, now, last)))
    assert section[1] & 7 == 1 | Predictor.RICE << 1


# -- any bytes ------------------------------------------------------------------------------------------------


def decode(codec: TableCodec, section: bytes, base: Columns, flags: int | None = None) -> Columns:
    source = ByteReader(section)
    tag = source.varint() if flags is None else flags
    table = codec.decode(source, base, tag % 8)
    source.finish()
    return table


@given(transitions(), st.data())
def test_damaged_sections_have_equal_results_or_equal_errors(
    case: tuple[TableCodec, Columns, Columns], data: st.DataObject
) -> None:
    codec, base, now = case
    section = bytearray(codec.encode(base, now) or b"\x08\x00")
    for _ in range(data.draw(st.integers(1, 3))):
        section[data.draw(st.integers(0, len(section) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    del section[data.draw(st.integers(1, len(section))) :]
    assert_equal_on_both(lambda: decode(codec, bytes(section), base))


@given(st.sampled_from(CODECS), st.data(), st.integers(0, 7), st.binary(max_size=80))
def test_random_bytes_have_equal_results_or_equal_errors(
    codec: TableCodec, data: st.DataObject, flags: int, section: bytes
) -> None:
    base = data.draw(snapshots(codec))
    assert_equal_on_both(lambda: decode(codec, section, base, flags))


STAYED = Columns(np.array([1, 2, 9], np.uint32), np.array([[0, 5, -9]]), np.array([[1, 5, 2**60]]))
ONE = TableCodec((fields.sint("a", 53),))


@pytest.mark.parametrize("parameter", range(64))
@pytest.mark.parametrize("predictor", range(4))
def test_every_width_of_every_predictor_has_an_equal_result(predictor: int, parameter: int) -> None:
    """The longest codes reach the sign bit, and numpy's shifts and sums wrap there.

    The values are compared before the check of their ranges, which would reject nearly all of them.
    """

    def python(stream: bytes) -> Any:
        try:
            return ONE.residuals.decode(BitReader(ByteReader(stream)), STAYED.values, STAYED.before).tolist()
        except WireError as error:
            return str(error)

    def native(stream: bytes) -> Any:
        bounds, unchecked = np.zeros((2, 1), np.int64), HAS_TEXTS
        try:
            _, _, values, _ = kernel.decode_section(
                stream, 0, unchecked, b"\0", bounds, STAYED.ids, STAYED.values, STAYED.before
            )
        except WireError as error:
            return str(error)
        return [np.frombuffer(values, np.int64).tolist()]

    chance = np.random.default_rng(parameter)
    header = (1 | predictor << 1 | parameter << 3).to_bytes(2, "little")
    fills = (b"\x00", b"\xff", b"\x00\x01", b"\x00\x00\x80", b"\x00\x00\x00\x04", chance.bytes(40))
    for fill in (fill * 40 for fill in fills):
        stream = header[:1] + bytes((header[1] | fill[0] & 0xFE,)) + fill[1:]
        for size in (1, 2, 3, 10, 30, 40, len(stream)):
            assert native(stream[:size]) == python(stream[:size])


@pytest.mark.parametrize(
    "section",
    [
        b"\x01\x03",  # a position behind the last
        b"\x02\x01\x00",  # a position twice
        b"\x05\x01",  # more positions than bytes
        b"\xff\xff\xff\xff\xff\x01",  # a count of six bytes
        b"\x01",
        b"\x00\x01\x00\x00",  # entity 0
        b"\x00\x01\x02\x00\x00",  # an entity that is in the table
        b"\x00\x01\xff\xff\xff\xff\x1f\x00",  # an id of 33 bits
        b"\x01\x01\x01\x02\x00\x00\x00",  # an entity leaves and enters
        b"\x03\x00\x01\x01\x02\x04\x05\x00\x00",  # all leave
    ],
)
def test_every_wrong_list_has_an_equal_error(section: bytes) -> None:
    assert_equal_on_both(lambda: decode(ONE, section, STAYED, HAS_LEFT | HAS_ENTERED))


def test_the_limit_of_entities_is_equal() -> None:
    base = Columns(np.arange(1, (1 << 16) + 1, dtype=np.uint32), *[np.zeros((1, 1 << 16), np.int64)] * 2)
    _, message = assert_equal_on_both(lambda: decode(ONE, b"\x01\x80\x80\x08\x00\x00\x00", base, HAS_ENTERED))
    assert "at most 65536" in message


def test_the_kernel_rejects_arrays_of_other_shapes_and_types() -> None:
    empty, ids, wide = np.empty((1, 0), np.int64), np.empty(0, np.uint32), np.zeros((1, 3), np.int64)
    with pytest.raises(ValueError, match="do not fit"):
        kernel.encode_section(8, b"\0", None, None, empty, wide, empty, empty)
    with pytest.raises(ValueError, match="do not fit"):
        kernel.encode_section(8, b"\0\0", None, None, empty, empty, empty, empty)
    with pytest.raises(ValueError, match="at most 63"):
        kernel.encode_section(8, b"\xff", None, None, empty, empty, empty, empty)
    with pytest.raises(TypeError, match="dimensions"):
        kernel.encode_section(8, b"\0", None, None, empty.astype(np.float64), empty, empty, empty)
    with pytest.raises(TypeError, match="dimensions"):
        kernel.encode_section(8, b"\0", ids.astype(np.uint64), ids, empty, empty, empty, empty)
    with pytest.raises(ValueError, match="do not fit"):
        kernel.encode_section(8, b"\0", ids, ids, empty, empty, wide, wide)
    with pytest.raises(ValueError, match="do not fit"):
        kernel.decode_section(b"", 1, 0, b"\0", np.zeros((2, 1), np.int64), ids, empty, empty)
    with pytest.raises(ValueError, match="do not fit"):
        kernel.widen(wide[0], wide, 1, 0, 1)
    with pytest.raises(ValueError, match="do not fit"):
        kernel.quantise(np.zeros((1, 3), np.float32), wide, np.zeros((1, 4)), np.array([[1, -1]]))


# -- quantising -----------------------------------------------------------------------------------------------

QUANTISED = (
    fields.real("x", -100, 100, 1 / 32),
    fields.uint("hp", 7),
    fields.angle("heading", 8),
    fields.boolean("is_armed"),
    fields.sint("wide", 53),
    fields.enumeration("team", ("red", "blue", "none")),
    fields.real("long", -1e9, 1e9, 0.5),
)
FLOATS = st.floats(-100, 100, width=32) | st.floats(width=32) | st.sampled_from([0.015625, -100.02, 100.02, 1e30])


@given(st.lists(st.tuples(FLOATS, FLOATS, FLOATS, st.integers(-5, 130), st.integers(-(2**62), 2**62)), max_size=8))
@example([(0.0, 1e30, 0.0, 0, 0)])
def test_quantised_tables_are_equal(rows: list[tuple[float, float, float, int, int]]) -> None:
    ids = np.arange(1, len(rows) + 1, dtype=np.uint32)
    block = np.array([row[:3] for row in rows], np.float32).reshape(-1, 3).T
    whole = np.array([row[3:] for row in rows], np.int64).reshape(-1, 2).T
    views = {
        "hp": whole[0].astype(np.int32),
        "is_armed": whole[0] > 3,
        "wide": whole[1],
        "team": (whole[0] % 5).astype(np.int32),
    }
    quantisers = (Quantiser(QUANTISED), Quantiser(QUANTISED))

    def quantise(quantiser: Quantiser) -> Any:
        return quantiser.quantise(ids, block, views).tolist(), quantiser.clamped

    python = outcome(lambda: quantise(quantisers[0]), is_native=False)
    assert outcome(lambda: quantise(quantisers[1]), is_native=True) == python


# -- inputs ---------------------------------------------------------------------------------------------------


UINT32 = st.integers(0, 2**32 - 1)
MASKS = st.binary(min_size=4, max_size=4)


def masked(message: bytes, mask: bytes) -> bytes:
    """A client's frame."""
    return bytes((FIN_BINARY, MASKED | len(message))) + mask + unmask(message, mask)


@given(UINT32, UINT32, st.binary(max_size=64), MASKS)
def test_an_input_in_a_frame_is_read_as_it_is_decoded(seq: int, tick: int, payload: bytes, mask: bytes) -> None:
    found = read_input_frame(masked(encode_input(seq, tick, payload), mask))
    if payload and len(payload) % 4 == 0:
        assert found == Input(seq, tick, payload)
    else:
        assert found is None


@given(st.binary(min_size=4, max_size=64), MASKS, st.data())
def test_damaged_inputs_have_equal_results_or_none(payload: bytes, mask: bytes, data: st.DataObject) -> None:
    message = bytearray(encode_input(7, 9, payload[: len(payload) // 4 * 4]))
    for _ in range(data.draw(st.integers(1, 3))):
        message[data.draw(st.integers(0, len(message) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    del message[data.draw(st.integers(1, len(message))) :]
    found = read_input_frame(masked(bytes(message), mask))
    assert found is None or found == decode_client(bytes(message))


@given(st.binary(max_size=131))
def test_random_frames_hold_no_input(frame: bytes) -> None:
    assert read_input_frame(frame) is None


def test_the_kernel_rejects_another_head() -> None:
    with pytest.raises(ValueError, match="44 bytes"):
        kernel.read_input(b"", b"")


def test_fields_of_every_kind_are_covered() -> None:
    kinds: set[Any] = {field.kind for field in (*QUANTISED, *CODECS[1].fields)}
    assert len(kinds) >= 8
    assert all(isinstance(field, Field) for field in QUANTISED)
