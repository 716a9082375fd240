"""The edge decodes the same messages, answers and closes as the library alone, however the bytes are cut.

That is the fast path for whole short frames, the splitter, and the library behind them, with every hand-over between
the three.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import PAYLOAD_BYTES_MAX, both
from tickwire.server.edge.masking import unmask

pytestmark = pytest.mark.usefixtures("each_kernel")


def frame(opcode: int, payload: bytes, *, fin: bool = True, mask: bytes | None = b"mask", reserved: int = 0) -> bytes:
    """A client's frame, also one that no client should send."""
    size = len(payload)
    bit = 0x80 if mask is not None else 0
    if size < 126:
        head = bytes((bit | size,))
    elif size < 65536:
        head = bytes((bit | 126,)) + size.to_bytes(2, "big")
    else:
        head = bytes((bit | 127,)) + size.to_bytes(8, "big")
    body = unmask(payload, mask) + b"" if mask is not None else payload
    return bytes((fin << 7 | reserved << 4 | opcode,)) + head + (mask or b"") + body


payloads = st.one_of(st.binary(max_size=130), st.sampled_from([b"a" * 126, b"b" * 65535, b"c" * 65536]))
masks = st.binary(min_size=4, max_size=4)
plain = st.builds(lambda data, mask: frame(2, data, mask=mask), payloads, masks)
control = st.builds(frame, st.sampled_from([9, 10]), st.binary(max_size=125))
fragmented = st.lists(st.tuples(payloads, st.lists(control, max_size=2)), min_size=2, max_size=4).map(
    lambda parts: b"".join(
        frame(2 if at == 0 else 0, data, fin=at == len(parts) - 1)
        + (b"".join(between) if at < len(parts) - 1 else b"")
        for at, (data, between) in enumerate(parts)
    )
)
text = st.just(frame(1, b"text"))
BAD = [
    frame(2, b"unmasked", mask=None),
    frame(2, b"reserved", reserved=4),
    frame(3, b"unknown opcode"),
    frame(0, b"nothing to continue"),
    frame(9, b"x" * 126),
    frame(2, b"x" * (PAYLOAD_BYTES_MAX + 1)),
    frame(2, b"first", fin=False) + frame(2, b"in between"),
    frame(8, b"\x03\xe8bye"),
    frame(8, b"\x00"),
]
bad = st.sampled_from(BAD)
streams = st.tuples(
    st.lists(st.one_of(plain, plain, control, fragmented, text), max_size=8), st.lists(bad, max_size=1)
)


@given(streams, st.lists(st.integers(1, 40), max_size=60), st.booleans())
def test_messages_and_close_equal_the_librarys_however_the_stream_is_cut(
    stream: tuple[list[bytes], list[bytes]], cuts: list[int], by_frames: bool
) -> None:
    data = b"".join(stream[0] + stream[1])
    if by_frames:  # a read a frame, as most of them are
        cuts = [len(part) for part in stream[0]]
    pieces, at = [], 0
    for size in [*cuts, len(data)]:
        pieces.append(data[at : at + size])
        at += size
    alone, together = both(data, pieces)
    assert together.messages == alone.messages
    assert together.result == alone.result


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11, 1 << 20])
@pytest.mark.parametrize("last", BAD, ids=range(len(BAD)))
def test_every_bad_frame_cut_at_every_size_ends_as_the_library_ends_it(last: bytes, size: int) -> None:
    data = frame(2, b"good") + frame(9, b"ping") + last + frame(2, b"never heard")
    if size < 5 and len(data) > 1000:
        size = 997  # a read a byte of a large frame shows nothing new
    alone, together = both(data, [data[at : at + size] for at in range(0, len(data), size)])
    assert together.messages == alone.messages
    assert together.result == alone.result


def test_a_whole_frame_in_the_middle_of_a_fragmented_message_is_the_librarys_to_refuse() -> None:
    pieces = [frame(2, b"first", fin=False), frame(2, b"in between"), frame(0, b"last")]
    alone, together = both(b"".join(pieces), pieces)
    assert (together.messages, together.result) == (alone.messages, alone.result)
    assert together.messages == []


@given(st.binary(max_size=600), masks)
def test_unmasking_is_the_rfcs_exclusive_or(payload: bytes, mask: bytes) -> None:
    assert unmask(payload, mask) == bytes(octet ^ mask[place % 4] for place, octet in enumerate(payload))


def test_frame_header_bytes_within_a_payload_are_not_parsed_as_a_frame() -> None:
    inner = frame(2, b"looks like a frame")
    outer = frame(2, b"0123" + inner, mask=b"\0\0\0\0")
    pieces = [outer[: -len(inner)], inner, frame(2, b"after")]
    alone, together = both(b"".join(pieces), pieces)
    assert together.messages == alone.messages == [b"0123" + inner, b"after"]


def test_an_unmasked_frame_whose_read_has_the_length_of_a_masked_one_is_refused() -> None:
    piece = frame(2, b"unmasked", mask=None) + b"more"
    alone, together = both(piece, [piece])
    assert (together.messages, together.result) == (alone.messages, alone.result)
    assert together.messages == []
