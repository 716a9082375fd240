"""One WebSocket: an asyncio protocol that moves bytes between a transport, the WebSocket library and a receiver.

The library (websockets, Sans-I/O) does the handshake, control frames, fragments and the close; the splitter takes
whole binary messages past it, and outgoing messages are framed by `tickwire.schemas.framing`. Three limits hold here:
how large an HTTP request may be, when a transport is congested, and how much a peer may send.

    (proxy header ->) handshake -> open -> closing -> closed

Whatever arrives is paid for with the tokens of a `RateLimiter`: every frame, and every read without one. When there
are none, a connection with a session is throttled, that is, its reading pauses; a stranger's is dropped. Nothing is
queued for a congested peer but what it must receive, and of that no more than one buffer's worth.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol, cast

from websockets.exceptions import InvalidState, ProtocolError
from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from tickwire.schemas import SUBPROTOCOL
from tickwire.schemas.framing import FIN_BINARY, MASKED
from tickwire.server.edge.addresses import OTHER_FRAME_TOKENS
from tickwire.server.edge.close_codes import shortened
from tickwire.server.edge.counters import EdgeCounters
from tickwire.server.edge.frame_splitter import FIN_PING, FrameSplitter, payload_of
from tickwire.server.edge.masking import unmask
from tickwire.server.edge.proxies import BadProxyHeader, read_proxy_header
from tickwire.server.edge.rate_limit import FLOOD_S, LimitScope, RateLimiter

REQUEST_BYTES_MAX = 32 * 1024
_FAILURES = {
    CloseCode.PROTOCOL_ERROR: "protocol_error",
    CloseCode.INVALID_DATA: "bad_utf8",
    CloseCode.MESSAGE_TOO_BIG: "message_too_big",
}
"""The close codes of the library's own, and how they are counted."""
_SHORT_FRAME_BYTES_MAX = 131
"""A masked frame with a payload of up to 125 bytes, whose length is in its second byte."""
_REQUEST_END = b"\r\n\r\n"


class HandshakeRejection(NamedTuple):
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


class ConnectionOwner(Protocol):
    """Who made a connection: the listener."""

    def wants_proxy_header(self, address: str) -> bool:
        """Whether this peer is a proxy that says first whom it speaks for."""
        ...

    def screen(self, connection: Connection, request: Request) -> HandshakeRejection | None:
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

    def throttle(self, connection: Connection, scope: LimitScope) -> None:
        """Call `connection.proceed` again and again until it returns to normal or ends."""
        ...

    def unthrottle(self, connection: Connection) -> None:
        """Stop that."""
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
        limiter: what the peer may send.
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
        limiter: what the peer may send.
        has_session: whether an excess is read later; without a session the connection is dropped for it.
        is_throttled: whether its reading is paused.
    """

    __slots__ = (
        "_counters",
        "_exceeded_since_s",
        "_fragments",
        "_is_between_frames",
        "_is_page",
        "_is_text",
        "_library",
        "_one_token_bytes_max",
        "_owed_bytes",
        "_owner",
        "_request",
        "_splitter",
        "_transport",
        "_wants_proxy_header",
        "_write_buffer_bytes_max",
        "accepted_s",
        "address",
        "closing_since_s",
        "has_session",
        "has_spoken",
        "heard_s",
        "is_congested",
        "is_open",
        "is_throttled",
        "limiter",
        "receiver",
        "was_opened",
        "write",
    )

    def __init__(
        self,
        *,
        message_bytes_max: int,
        write_buffer_bytes_max: int,
        limiter: RateLimiter,
        counters: EdgeCounters,
        owner: ConnectionOwner,
        accepted_s: float,
    ) -> None:
        self.write: Callable[[bytes], None] = _nowhere
        self.is_open = False
        self.is_congested = False
        self.has_spoken = self.has_session = self.is_throttled = False
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
        self._fragments = bytearray()
        self._is_text = False
        self._splitter = FrameSplitter(payload_bytes_max=message_bytes_max)
        self.limiter = limiter
        self._one_token_bytes_max = min(_SHORT_FRAME_BYTES_MAX, limiter.token_bytes)
        self._exceeded_since_s: float | None = None
        self._owed_bytes = 0
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

    @property
    def failure(self) -> str:
        """Why the connection failed: the peer sent a frame that is too large or broken. Empty if it did not."""
        close = self._failed_with
        return f"{close.reason or 'the peer broke the protocol'} ({close.code})" if close is not None else ""

    @property
    def _failed_with(self) -> Close | None:
        """The close that the library has sent by itself because of what it read; a close by the peer is echoed."""
        close = self._library.close_sent if self._library.parser_exc is not None else None
        return close if close is not None and close.code in _FAILURES else None

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

        Nearly every read is one whole short binary frame and nothing else: a look at four things tells, and it is
        unmasked here, without a call. Whatever else it is goes the long way.
        """
        size = len(data)
        self._counters.bytes_received += size
        self.has_spoken = True
        own, shared = self.limiter.own, self.limiter.address
        if (
            self._is_between_frames
            and own.level > 0
            and shared.level > 0
            and 6 < size <= self._one_token_bytes_max
            and data[0] == FIN_BINARY
            and data[1] == MASKED | size - 6
        ):
            own.level -= 1
            shared.level -= 1
            self.receiver.message_received(unmask(data[6:], data[2:6]))  # type: ignore[union-attr]
        else:
            self._bytes_received(data)

    def _bytes_received(self, data: bytes) -> None:
        self._is_between_frames = False
        if not self.is_open and self._library.state is State.CONNECTING:
            data = self._handshake(data)
        self._splitter.feed(data)
        if not self._handle_frames():
            self.limiter.take(1)  # a piece of a frame, or of the handshake

    def _handle_frames(self) -> int:
        """Handle the frames that have arrived, as far as there are tokens; return how many."""
        handled, limiter = 0, self.limiter
        while self._transport is not None:
            if limiter.own.level <= 0 or limiter.address.level <= 0:
                scope = limiter.refill(time.monotonic())
                if scope is not None:
                    self._exceeded(scope)
                    return handled
            frame = self._splitter.next()
            if frame is None:
                break
            handled += 1
            limiter.take(len(frame))
            self._frame_received(frame)
        self._is_between_frames = (
            self.is_open and self._splitter.is_between_frames and self._library.current_size is None
        )
        return handled

    def _frame_received(self, frame: bytes) -> None:
        if self._splitter.is_given_up:
            self._feed_library(frame)
        elif frame[0] == FIN_BINARY and self._library.current_size is None:
            if self.is_open:
                self.receiver.message_received(payload_of(frame))  # type: ignore[union-attr]
        elif frame[0] == FIN_PING and self.is_congested:
            self._counters.rejected["ping_congested"] += 1  # RFC 6455, 5.5.3: an older ping need not be answered
        else:
            self._counters.other_frames += 1
            self.charge(OTHER_FRAME_TOKENS)
            self._feed_library(frame)

    # -- limits ---------------------------------------------------------------------------------------------

    def _exceeded(self, scope: LimitScope) -> None:
        """No token is left: read no more until there is one, or drop a peer to which nothing is owed.

        A connection that closes is throttled, not dropped: unread bytes would turn its end into a reset, which takes
        the close frame with it (RFC 1122, 4.2.2.13). The time limit of the close ends it.
        """
        if scope is LimitScope.CONNECTION:
            if not self.has_session and self.closing_since_s is None:
                self._counters.closed["flood"] += 1
                self.abort()
                return
            if self._exceeded_since_s is None:
                self._exceeded_since_s = self._owner.now_s()
        if not self.is_throttled and self._transport is not None:
            self.is_throttled = True
            self._transport.pause_reading()
            self._counters.throttled[scope.value] += 1
            self._owner.throttle(self, scope)

    def proceed(self) -> bool:
        """Handle what waits, as far as there are tokens now, and read on when nothing waits any more.

        Returns:
            Whether anything was handled.
        """
        handled = self._handle_frames()
        is_within = self.limiter.own.level > 0 and self.limiter.address.level > 0
        if self._transport is not None and is_within:
            self.is_throttled = False
            self._owner.unthrottle(self)
            self._transport.resume_reading()
        return bool(handled) or not self.is_throttled

    def is_flooding(self, now_s: float) -> bool:
        """Return whether the peer has stayed above its own limit for FLOOD_S.

        Args:
            now_s: on the owner's clock.
        """
        if self._exceeded_since_s is None:
            return False
        if self.limiter.has_recovered(time.monotonic()):
            self._exceeded_since_s = None
            return False
        return now_s - self._exceeded_since_s > FLOOD_S

    def charge(self, tokens: int) -> None:
        """Take tokens from the peer's address, for what costs more than the frame that it came in."""
        self.limiter.address.level -= tokens

    def eof_received(self) -> None:
        """The client will send no more; the transport closes itself after this."""
        self._feed_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone."""
        self._feed_eof()
        self._transport = None
        self.is_open = self._is_between_frames = self.is_throttled = False
        self.write = _nowhere
        self._owner.unthrottle(self)
        receiver, self.receiver = self.receiver, None
        if receiver is not None:
            receiver.connection_ended(self)
        self._owner.ended(self)
        # Connections come and go by the thousand: what refers to itself would wait for the collector, and make its
        # pauses long.
        self._library.parser.close()
        if self._library.parser_exc is not None:
            self._library.parser_exc.__traceback__ = None

    def pause_writing(self) -> None:
        """More than `write_buffer_bytes_max` waits for the client."""
        self.is_congested = True

    def resume_writing(self) -> None:
        """The client has taken enough of it."""
        self.is_congested = False
        self._owed_bytes = 0

    def never_made(self) -> None:
        """The transport's own handshake (TLS) has failed: there will be none."""
        if self._transport is None:
            self._owner.ended(self)

    # -- for the session ------------------------------------------------------------------------------------

    def send(self, frames: bytes) -> bool:
        """Write frames that the peer must receive.

        Returns:
            False when a congested peer is owed more than one buffer's worth already: nothing was written then.
        """
        if self.is_congested:
            self._owed_bytes += len(frames)
            if self._owed_bytes > self._write_buffer_bytes_max:
                return False
        self.write(frames)
        return True

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
            self._fragments.clear()
        elif frame.opcode is not Opcode.CONT:
            return  # control frames are the library's
        self._fragments += frame.data
        if not frame.fin:
            return
        data = bytes(self._fragments)
        self._fragments.clear()
        if self.receiver is not None and self._is_text:
            self.receiver.text_received()
        elif self.is_open:
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
        """The library has written all that it will write.

        When the peer may still be sending, only our direction is closed; the time limit of the close, or the peer,
        ends the connection. Bytes that are not read would turn a close into a reset, which takes the close frame with
        it before the peer has read it: RFC 6455, 7.1.1, and RFC 1122, 4.2.2.13.
        """
        if self.closing_since_s is None:
            self.closing_since_s = self._owner.now_s()
        transport, close = self._transport, self._failed_with
        if transport is None or transport.is_closing():
            return
        if close is not None:
            self._counters.closed[_FAILURES[CloseCode(close.code)]] += 1
            if transport.can_write_eof():
                transport.write_eof()
                return
        transport.close()
