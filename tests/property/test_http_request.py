"""A request that the server parses itself is parsed as the WebSocket library parses it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.http11 import Request
from websockets.server import ServerProtocol

from benchmarks.load import REQUEST
from tests.fuzz.targets import UNLIMITED, Together
from tickwire.server.edge.connection import Connection
from tickwire.server.edge.counters import EdgeCounters
from tickwire.server.edge.http_request import parse_request
from tickwire.server.edge.rate_limit import RateLimiter
from tickwire.server.edge.receiver import HandshakeRejection
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.edge.token_bucket import TokenBucket

TEXTS = st.text(st.characters(max_codepoint=0xFF), max_size=6)
NAMES = (
    st.sampled_from(("Host", "host", "Upgrade", "Origin", "Content-Length", "transfer-encoding", "X Y", "")) | TEXTS
)
VALUES = st.sampled_from(("", "0", " a ", "\ta\t", "a:b", "chunked", "a\r\nb", "a\nb", "\u00fc")) | TEXTS
LINES = st.tuples(NAMES, st.sampled_from((":", ": ", "", " :")), VALUES).map("".join)
STARTS = st.sampled_from(
    ("GET / HTTP/1.1", "GET /?a=b HTTP/1.1", "POST / HTTP/1.1", "GET / HTTP/1.0", "GET  HTTP/1.1")
)
ENDS = st.sampled_from(("\r\n\r\n", "\n\n", "\r\n", "\r\n\r\nrest"))


def parse_with_library(data: bytes) -> Request | None:
    library = ServerProtocol()
    library.receive_data(data)
    events = library.events_received()
    return events[0] if events and isinstance(events[0], Request) else None


@given(STARTS, st.lists(LINES, max_size=5), ENDS)
@example("GET / HTTP/1.1", ["Host: a", "host:b"], "\r\n\r\n")
def test_request_equals_that_of_the_library(start: str, lines: list[str], end: str) -> None:
    data = ("\r\n".join((start, *lines)) + end).encode("latin-1")
    parsed = parse_request(data)
    if parsed is not None:
        expected = parse_with_library(data)
        assert parsed == expected
        assert expected is not None
        assert list(parsed.headers.raw_items()) == list(expected.headers.raw_items())


class Refusing(Together):
    """Rejects the first handshake of its second connection."""

    is_refusing = False

    def check_handshake(self, connection: Connection, request: Request) -> HandshakeRejection | None:
        rejection = HandshakeRejection(403, "this origin may not connect", "origin") if self.is_refusing else None
        self.is_refusing = False
        return rejection


def test_a_second_request_after_a_rejection_is_ignored() -> None:
    owner = Refusing()
    owner.is_refusing = True
    limiter = RateLimiter(UNLIMITED, TokenBucket(1, 10**9, 0.0), 0.0)
    connection = Connection(EdgeSettings(), limiter=limiter, counters=EdgeCounters(), owner=owner, accepted_s=0.0)
    connection.connection_made(owner)  # type: ignore[arg-type]
    connection.data_received(REQUEST)
    connection.data_received(REQUEST)
    assert b"".join(owner.written).startswith(b"HTTP/1.1 403 ")
    assert b"".join(owner.written).count(b"HTTP/1.1") == 1
    assert not connection.was_opened


def test_request_of_a_client_is_parsed_without_the_library() -> None:
    parsed = parse_request(REQUEST)
    assert parsed is not None
    assert parsed == parse_with_library(REQUEST)


@pytest.mark.parametrize(
    "data",
    [
        b"POST / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 65 + b"\r\n",
        b"GET /" + b"a" * 4096 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
def test_other_requests_are_left_to_the_library(data: bytes) -> None:
    assert parse_request(data) is None
