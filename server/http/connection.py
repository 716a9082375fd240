"""Bounds what one connection may send before its request reaches the application.

uvicorn and its parser bound neither the size of a request's head nor the time that it takes. Without a bound, a few
clients that send headers for ever, or slowly, use up the memory or the connections of the process.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from tickwire.server.errors import Unavailable
from tickwire.server.http.problems import MEDIA_TYPE, ProblemDetails, problem_from_error, send_problem

HEAD_BYTES_MAX = 16 * 1024
"""The largest request line with headers. An access token has less than 2 KiB."""


class ConnectionLimits(msgspec.Struct, frozen=True):
    """The limits of the connections of a server.

    Args:
        head_timeout_s: the longest time from a connection, or the first byte of a later request, to the end of the
            request's head.
        connections_max: requests on further connections are answered with 503.
    """

    head_timeout_s: float = 10.0
    connections_max: int = 1000


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's protocol with limits."""

    def __init__(self, *, limits: ConnectionLimits, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._limits = limits
        self._is_in_head = False
        self._parsed_bytes = 0
        self._raw_bytes = 0
        self._is_too_large = False
        self._is_message_ended = False
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer of the first request."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the data; refuse a head that is too large, also one that never ends."""
        if self.transport.is_closing():
            return
        self._is_message_ended = False
        super().data_received(data)
        if self._is_in_head and not self.transport.is_closing():
            self._start_timer()
            if not self._is_message_ended:
                self._raw_bytes += len(data)  # the parser reports a header only once it is complete
            if self._raw_bytes > HEAD_BYTES_MAX:
                self._is_too_large = True
                self.send_400_response("")

    def on_message_begin(self) -> None:
        """Begin to count the bytes of a head."""
        super().on_message_begin()
        self._is_in_head, self._parsed_bytes, self._raw_bytes = True, 0, 0

    def on_url(self, url: bytes) -> None:
        """Count the request's target."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header."""
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """End the head, and pass the request to the application, or refuse it if there are too many connections."""
        self._is_in_head = False
        self._stop_timer()
        is_too_many = len(self.connections) > self._limits.connections_max
        self.app = _refuse if is_too_many else self.config.loaded_app
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that what follows in the same data is another request."""
        super().on_message_complete()
        self._is_message_ended = True

    def send_400_response(self, msg: str) -> None:
        """Answer a request that cannot be parsed, and close the connection."""
        status, code, detail = 400, "MALFORMED", "the bytes are not an HTTP request"
        if self._is_too_large:
            status, code, detail = 431, "TOO_LARGE", f"the head of the request has more than {HEAD_BYTES_MAX} bytes"
        self._stop_timer()
        self.transport.write(_response(status, ProblemDetails(_PHRASES[status], status, code, detail)))
        self.transport.close()

    def _count(self, size: int) -> None:
        self._parsed_bytes += size
        if self._parsed_bytes > HEAD_BYTES_MAX:
            self._is_too_large = True
            raise ValueError("the head of the request is too large")  # the parser passes it on as its own error

    def _start_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self._limits.head_timeout_s, self._head_timed_out)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_timed_out(self) -> None:
        self._head_timer = None
        if self.transport.is_closing() or (self.cycle is not None and not self.cycle.response_complete):
            return
        detail = "the request did not arrive in time"
        self.transport.write(_response(408, ProblemDetails(_PHRASES[408], 408, "REQUEST_TIMEOUT", detail)))
        self.transport.close()


_PHRASES = {400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large"}


def create_protocol(limits: ConnectionLimits) -> partial[BoundedConnection]:
    """Return the factory of connections for uvicorn."""
    return partial(BoundedConnection, limits=limits)


def _response(status: int, problem: ProblemDetails) -> bytes:
    body = msgspec.json.encode(problem)
    head = f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    return STATUS_LINE[status] + head.encode() + body


async def _refuse(scope: Any, receive: Any, send: Any) -> None:
    """Answer a request on a connection beyond the limit."""
    problem = problem_from_error(Unavailable("too many connections", retry_after_ms=1000))
    await send_problem(problem, send, close=True)
