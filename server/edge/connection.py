"""One WebSocket: an asyncio protocol that moves bytes between a transport, the WebSocket library and a receiver.

The library (websockets, Sans-I/O) does the handshake, control frames, fragments and the close; the splitter takes
whole binary messages past it, and outgoing messages are framed by `schemas.framing`. No decision is made here
but two: how large an HTTP request may be, and when a transport is congested.

    (proxy header ->) handshake -> open -> closing -> closed
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import NamedTuple, Protocol, cast

from websockets.exceptions import InvalidState, ProtocolError
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from schemas import SUBPROTOCOL
from server.edge.closing import shortened
from server.edge.counters import EdgeCounters
from server.edge.masking import unmask
from server.edge.proxies import BadProxyHeader, read_proxy_header
from server.edge.splitter import FIN_BINARY, MASKED, Splitter

REQUEST_BYTES_MAX = 32 * 1024
_REQUEST_END = b"\r\n\r\n"


class Refusal(NamedTuple):
    """Why a handshake is refused, as HTTP says it."""

    status: int
    reason: str
    counted_as: str
    retry_after_s: int = 0


class Receiver(Protocol):
    """Who a connection tells: first a greeting, then the session that it became."""

    def message_received(self, data: bytes, /) -> None:
        """A whole binary message."""
        ...

    def text_received(self) -> None:
        """A text message, which no client of ours sends."""
        ...

    def swept(self, now_s: float) -> None:
        """A second has passed: the receiver looks after its time limits."""
        ...

    def connection_ended(self, connection: Connection) -> None:
        """The transport is gone; told once, to whoever is the receiver then."""
        ...


class Owner(Protocol):
    """Who made a connection: the listener."""

    def wants_proxy_header(self, address: str) -> bool:
        """Whether this peer is a proxy that says first whom it speaks for."""
        ...

    def screen(self, connection: Connection, request: Request) -> Refusal | None:
        """Looks at a handshake that is right in itself; a refusal ends it."""
        ...

    def page(self, request: Request) -> Response | None:
        """What is sent to who asks for a page, and not for a WebSocket; None: there is none."""
        ...

    def opened(self, connection: Connection, request: Request) -> Receiver:
        """The handshake is done; gives who is to be told of what comes."""
        ...

    def ended(self, connection: Connection) -> None:
        """The transport is gone, also before the handshake."""
        ...

    def now_s(self) -> float:
        """Return the time on the clock that peers are judged by."""
        ...


_TCPI_RTT_US, _TCPI_RTT_AT = struct.Struct("=I"), 68
"""Of struct tcp_info in linux/tcp.h: eight bytes, then numbers of four bytes each."""


def _nowhere(frames: bytes, /) -> None:
    pass


class Connection(asyncio.Protocol):
    """Made by the listener for each accepted socket.

    Args:
        message_bytes_max: the largest message accepted.
        write_buffer_bytes_max: above this the connection is congested.
        counters: the edge's numbers, added to.
        owner: who is asked and told.
        accepted_s: when the socket was accepted, on the owner's clock.

    Attributes:
        write: writes whole frames at once; does nothing once the connection closes. It is the transport's own method
            while the connection is open: it is called for every client and tick.
        is_open: whether messages can be sent and are heard.
        is_congested: whether the transport holds more than it should.
        was_opened: whether the handshake has succeeded.
        receiver: who is told of messages; may be set to somebody else at any time.
        address: the client's, as far as proxies are trusted.
        has_spoken: whether something has arrived; taken back by whoever writes down when.
        heard_s: when that was last found true, on the owner's clock.
        closing_since_s: since when we wait for the client to close, on the owner's clock; None before.
    """

    __slots__ = (
        "_counters",
        "_fragments",
        "_is_between_frames",
        "_is_page",
        "_is_text",
        "_library",
        "_owner",
        "_request",
        "_splitter",
        "_transport",
        "_wants_proxy_header",
        "_write_buffer_bytes_max",
        "accepted_s",
        "address",
        "closing_since_s",
        "has_spoken",
        "heard_s",
        "is_congested",
        "is_open",
        "receiver",
        "was_opened",
        "write",
    )

    def __init__(
        self,
        *,
        message_bytes_max: int,
        write_buffer_bytes_max: int,
        counters: EdgeCounters,
        owner: Owner,
        accepted_s: float,
    ) -> None:
        self.write: Callable[[bytes], None] = _nowhere
        self.is_open = False
        self.is_congested = False
        self.has_spoken = False
        self.closing_since_s: float | None = None
        self.receiver: Receiver | None = None
        self.was_opened = False
        self.address = ""
        self.accepted_s = self.heard_s = accepted_s
        self._counters = counters
        self._owner = owner
        self._write_buffer_bytes_max = write_buffer_bytes_max
        self._library = ServerProtocol(subprotocols=[Subprotocol(SUBPROTOCOL)], max_size=message_bytes_max)
        self._request = b""
        self._wants_proxy_header = self._is_page = False
        self._fragments: list[bytes] = []
        self._is_text = False
        self._splitter = Splitter(
            payload_bytes_max=message_bytes_max,
            message=self._message,
            library=self._feed_library,
            is_fragmented=lambda: self._library.current_size is not None,
        )
        self._is_between_frames = False
        self._transport: asyncio.Transport | None = None

    @property
    def backlog_bytes(self) -> int:
        """What was written and the kernel has not taken."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    @property
    def rtt_ms(self) -> float:
        """The round trip as the kernel has measured it; 0 where it does not say."""
        if self._transport is None or not hasattr(socket, "TCP_INFO"):
            return 0.0
        try:
            info = self._transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
            return float(_TCPI_RTT_US.unpack_from(info, _TCPI_RTT_AT)[0]) / 1000
        except (OSError, struct.error):
            return 0.0

    @property
    def client_close_code(self) -> int | None:
        """The code with which the client closed the connection; None if the server closed it, or it broke.

        An answer to a close of the server does not count: some libraries answer every close with 1000.
        """
        library = self._library
        return library.close_rcvd.code if library.close_rcvd is not None and library.close_rcvd_then_sent else None

    # -- asyncio.Protocol -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A socket was accepted."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=self._write_buffer_bytes_max)
        peer = self._transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""
        self._wants_proxy_header = self._owner.wants_proxy_header(self.address)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client.

        Nearly every read is one whole short binary frame and nothing else: a look at three things tells, and it is
        unmasked here, without a call. Whatever else it is goes the long way.
        """
        size = len(data)
        self._counters.bytes_received += size
        self.has_spoken = True
        if self._is_between_frames and 6 < size <= 131 and data[0] == FIN_BINARY and data[1] == MASKED | size - 6:
            self.receiver.message_received(unmask(data[6:], data[2:6]))  # type: ignore[union-attr]
        else:
            self._bytes_received(data)

    def _bytes_received(self, data: bytes) -> None:
        self._is_between_frames = False
        if not self.is_open and self._library.state is State.CONNECTING:
            data = self._handshake(data)
        if data and self._transport is not None:
            self._splitter.feed(data)
        self._is_between_frames = (
            self.is_open and self._splitter.is_between_frames and self._library.current_size is None
        )

    def eof_received(self) -> None:
        """The client will send no more; the transport closes itself after this."""
        self._feed_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone."""
        self._feed_eof()
        self._transport = None
        self.is_open = self._is_between_frames = False
        self.write = _nowhere
        receiver, self.receiver = self.receiver, None
        if receiver is not None:
            receiver.connection_ended(self)
        self._owner.ended(self)
        # Connections come and go by the thousand: what refers to itself would wait for the collector, and make its
        # pauses long.
        self._splitter.close()
        self._library.parser.close()
        if self._library.parser_exc is not None:
            self._library.parser_exc.__traceback__ = None

    def pause_writing(self) -> None:
        """More than `write_buffer_bytes_max` waits for the client."""
        self.is_congested = True

    def resume_writing(self) -> None:
        """The client has taken enough of it."""
        self.is_congested = False

    def never_made(self) -> None:
        """The transport's own handshake (TLS) has failed: there will be none."""
        if self._transport is None:
            self._owner.ended(self)

    # -- for the session ------------------------------------------------------------------------------------

    def close(self, code: int, reason: str) -> None:
        """Starts the closing handshake. Idempotent."""
        try:
            self._library.send_close(code, shortened(reason))
        except InvalidState:
            return  # closing already, or never opened
        except ProtocolError:  # a fragmented message of ours cannot be under way: we send none
            self.abort()
            return
        self._flush()

    def ping(self) -> None:
        """Send a WebSocket ping, which every WebSocket stack answers by itself.

        A congested peer is not pinged: what is queued for it shows whether it still reads.
        """
        if self.is_open and not self.is_congested:
            self._library.send_ping(b"")
            self._flush()

    def abort(self) -> None:
        """Drops the connection without a word."""
        if self._transport is not None:
            self._transport.abort()

    # -- the handshake --------------------------------------------------------------------------------------

    def _handshake(self, data: bytes) -> bytes:
        """Takes the HTTP request; gives what stands behind it."""
        self._request += data
        if self._wants_proxy_header and not self._read_proxy_header():
            return b""
        end = self._request.find(_REQUEST_END)
        if end < 0 and len(self._request) < REQUEST_BYTES_MAX:
            return b""
        end = len(self._request) if end < 0 else end + len(_REQUEST_END)
        rest, request = self._request[end:], self._request[:end]
        self._request = b""
        self._feed_library(request)
        if self._library.state is State.CONNECTING:  # refused, or longer than any request of ours
            self._counters.refused["handshake"] += self._library.handshake_exc is not None and not self._is_page
            self._end()
            return b""
        return rest

    def _read_proxy_header(self) -> bool:
        """Takes the header that a proxy puts before everything else; False: it is not all there, or none."""
        try:
            header = read_proxy_header(self._request)
        except BadProxyHeader:
            self._counters.refused["proxy_header"] += 1
            self.abort()
            return False
        if header is None:
            return False
        self._wants_proxy_header = False
        self.address = header.address or self.address
        self._request = self._request[header.size :]
        return True

    def _answer(self, request: Request) -> None:
        page = self._owner.page(request)
        if page is not None:
            self._is_page = True
            self._library.send_response(page)
            return
        response = self._library.accept(request)
        if response.status_code == 101:
            refusal = self._owner.screen(self, request)
            if refusal is not None:
                self._counters.refused[refusal.counted_as] += 1
                response = self._library.reject(refusal.status, f"{refusal.reason}\n")
                if refusal.retry_after_s:
                    response.headers["Retry-After"] = str(refusal.retry_after_s)
        self._library.send_response(response)
        if self._library.state is State.OPEN:
            self.was_opened = True
            self.receiver = self._owner.opened(self, request)

    # -- the library ----------------------------------------------------------------------------------------

    def _feed_library(self, data: bytes) -> None:
        self._library.receive_data(data)
        for event in self._library.events_received():
            if isinstance(event, Request):
                self._answer(event)
            elif isinstance(event, Frame):
                self._frame(event)
        self._flush()

    def _feed_eof(self) -> None:
        self._library.receive_eof()
        self._flush()

    def _frame(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._is_text = frame.opcode is Opcode.TEXT
            self._fragments = []
        elif frame.opcode is not Opcode.CONT:
            return  # control frames are the library's
        self._fragments.append(bytes(frame.data))
        if frame.fin:
            data, self._fragments = b"".join(self._fragments), []
            if self._is_text and self.receiver is not None:
                self.receiver.text_received()
            elif not self._is_text:
                self._message(data)

    def _message(self, data: bytes) -> None:
        if self.is_open:
            self.receiver.message_received(data)  # type: ignore[union-attr]  # open means that there is one

    def _flush(self) -> None:
        """Writes what the library wants to say; an empty piece means that it has said all."""
        self.is_open = self._library.state is State.OPEN and self.receiver is not None and self._transport is not None
        self.write = self._transport.write if self.is_open and self._transport is not None else _nowhere
        self._is_between_frames = self._is_between_frames and self.is_open
        for data in self._library.data_to_send():
            if self._transport is None:
                return
            if data:
                self._transport.write(data)
            else:
                self._end()
        if self._library.close_expected() and self.closing_since_s is None:
            self.closing_since_s = self._owner.now_s()

    def _end(self) -> None:
        if self.closing_since_s is None:
            self.closing_since_s = self._owner.now_s()
        if self._transport is not None:
            self._transport.close()
