"""A connection of ours gives what the library alone gives, however the bytes are cut: messages, answers, the close.

That is the fast path for whole short frames, the splitter, and the library behind them, with every hand-over between
the three.
"""

from __future__ import annotations

import asyncio
import atexit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import SERVER, Protocol

from server.edge.connection import Connection, Receiver, Refusal
from server.edge.counters import EdgeCounters
from server.edge.splitter import unmask

PAYLOAD_BYTES_MAX = 70_000


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


class Alone:
    """The library, and nothing before it."""

    def __init__(self) -> None:
        self.library = Protocol(SERVER, max_size=PAYLOAD_BYTES_MAX)
        self.messages: list[bytes] = []
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> None:
        self.library.receive_data(data)
        for event in self.library.events_received():
            assert isinstance(event, Frame)
            if event.opcode in (Opcode.TEXT, Opcode.BINARY):
                self._parts = []
            if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                self._parts.append(bytes(event.data))
                if event.fin:
                    self.messages.append(b"".join(self._parts))

    @property
    def result(self) -> object:
        return self.library.close_sent, self.library.state, b"".join(self.library.data_to_send())


class Together:
    """A connection of ours: its owner, its receiver, and the transport below it."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.written: list[bytes] = []
        self.connection = Connection(
            message_bytes_max=PAYLOAD_BYTES_MAX,
            write_buffer_bytes_max=1,
            counters=EdgeCounters(),
            owner=self,
            accepted_s=0.0,
        )
        self.connection.connection_made(self)  # type: ignore[arg-type]
        self.connection.data_received(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: tickwire.1\r\n\r\n"
        )
        assert self.connection.is_open
        self.written.clear()

    def feed(self, data: bytes) -> None:
        self.connection.data_received(data)

    @property
    def result(self) -> object:
        library = self.connection._library
        return library.close_sent, library.state, b"".join(self.written)

    # what a transport has
    def write(self, data: bytes) -> None:
        self.written.append(data)

    def set_write_buffer_limits(self, high: int) -> None: ...
    def close(self) -> None: ...
    def get_extra_info(self, name: str) -> tuple[str, int]:
        return ("here", 1)

    # what an owner has
    def wants_proxy_header(self, address: str) -> bool:
        return False

    def screen(self, connection: Connection, request: Request) -> Refusal | None:
        return None

    def opened(self, connection: Connection, request: Request) -> Receiver:
        return self

    def ended(self, connection: Connection) -> None: ...

    # what a receiver has
    def message_received(self, data: bytes, /) -> None:
        self.messages.append(data)

    def text_received(self) -> None:
        self.messages.append(b"text")

    def swept(self, now_s: float) -> None: ...
    def connection_ended(self, connection: Connection) -> None: ...


LOOP = asyncio.new_event_loop()
atexit.register(LOOP.close)


def both(data: bytes, pieces: list[bytes]) -> tuple[Alone, Together]:
    """The library alone, fed at once; and a connection of ours, fed piece by piece."""

    async def feed() -> Together:
        together = Together()
        for piece in pieces:
            together.feed(piece)
        return together

    alone = Alone()
    alone.feed(data)
    return alone, LOOP.run_until_complete(feed())


@given(streams, st.lists(st.integers(1, 40), max_size=60), st.booleans())
def test_however_a_stream_is_cut_the_messages_and_the_close_are_the_librarys(
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


def test_what_looks_like_a_frame_in_the_middle_of_another_is_not_taken_for_one() -> None:
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
