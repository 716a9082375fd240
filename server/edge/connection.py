"""One WebSocket: an asyncio protocol that moves bytes between a transport, the WebSocket library and a receiver.

The library (websockets, Sans-I/O) handles the handshake, control frames, fragments and the close. Whole binary
messages bypass it: the splitter cuts them out, and `tickwire.schemas.framing` frames the outgoing ones. This module
enforces three limits: the size of an HTTP request, the congestion of a transport, and the rate of a peer.

    (proxy header ->) handshake -> open -> closing -> closed

Every frame, and every read that completes no frame, costs tokens of a `RateLimiter`. Without tokens a connection with
a session is throttled: its reading pauses. A connection without a session is dropped. A congested peer is sent only
messages that it must receive, and at most one write buffer of them is queued.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import cast

from websockets.exceptions import InvalidState, ProtocolError
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from tickwire.schemas import SUBPROTOCOL, kernel
from tickwire.schemas.framing import FIN_BINARY, MASKED
from tickwire.server.edge.addresses import OTHER_FRAME_TOKENS
from tickwire.server.edge.close_causes import describe_failure, failure_label, find_client_close_code, find_failure
from tickwire.server.edge.close_codes import truncate_reason
from tickwire.server.edge.counters import EdgeCounters
from tickwire.server.edge.fragments import Fragments
from tickwire.server.edge.frame_splitter import FIN_PING, FIN_PONG, FrameSplitter, payload_from_frame
from tickwire.server.edge.handshake_reader import HandshakeReader
from tickwire.server.edge.proxy_protocol import InvalidProxyHeader
from tickwire.server.edge.rate_limit import FLOOD_S, LimitScope, RateLimiter
from tickwire.server.edge.receiver import ConnectionOwner, Receiver
from tickwire.server.edge.settings import EdgeSettings
from tickwire.server.edge.socket_fields import SocketFields
from tickwire.server.edge.tcp_info import read_rtt_ms

_PING = bytes((FIN_PING, 0))
_SUBPROTOCOLS = [Subprotocol(SUBPROTOCOL)]
_SHORT_FRAME_BYTES_MAX = 131
"""The size of a masked frame with a payload of 125 bytes, the largest whose length fits into the second byte."""


def _discard(frames: bytes, /) -> None:
    pass


def _zero() -> int:
    return 0


def _find_descriptor(transport: asyncio.BaseTransport) -> int:
    """Return the socket for direct sends; -1 without the native kernel, with TLS, and without a socket."""
    has_tls = transport.get_extra_info("sslcontext") is not None or transport.get_extra_info("ssl_object") is not None
    if has_tls or not kernel.is_native:
        return -1
    found = transport.get_extra_info("socket")
    return found.fileno() if found is not None else -1


class Connection(SocketFields, asyncio.Protocol):
    """The protocol of one accepted socket.

    Args:
        settings: the edge's limits: the largest message, and the write buffer above which a connection is congested.
        limiter: limits what the peer may send.
        counters: the edge's counters, which the connection adds to.
        owner: the edge server, which created the connection.
        accepted_s: when the socket was accepted, on the owner's clock.

    Attributes:
        write: writes whole frames at once; does nothing once the connection closes. Without direct sends it is the
            transport's own method while the connection is open, because it is called for every client and tick.
        is_open: whether messages can be sent and received.
        was_opened: whether the WebSocket handshake has succeeded.
        receiver: handles the client's messages; may be replaced at any time.
        unsent_bytes: returns the number of bytes that the transport holds; valid while `descriptor` is.
        address: the client's address, as far as proxies are trusted.
        has_received: whether bytes have arrived; the owner resets it when it updates `last_received_s`.
        last_received_s: when the owner last found `has_received` set, on its clock.
        closing_since_s: since when the connection waits for the client to close, on the owner's clock; None before.
        limiter: limits what the peer may send.
        has_session: whether the connection has a session. A peer above its limits is then throttled, else dropped.
        is_throttled: whether its reading is paused.
    """

    __slots__ = (
        "_counters",
        "_fragments",
        "_handshake_reader",
        "_is_between_frames",
        "_is_page",
        "_library",
        "_one_token_bytes_max",
        "_owner",
        "_plain_descriptor",
        "_queued_bytes",
        "_splitter",
        "_transport",
        "_write_buffer_bytes_max",
        "accepted_s",
        "address",
        "closing_since_s",
        "has_received",
        "has_session",
        "is_open",
        "is_throttled",
        "last_received_s",
        "limiter",
        "receiver",
        "unsent_bytes",
        "was_opened",
        "write",
    )

    def __init__(
        self,
        settings: EdgeSettings,
        *,
        limiter: RateLimiter,
        counters: EdgeCounters,
        owner: ConnectionOwner[Connection],
        accepted_s: float,
    ) -> None:
        self.write: Callable[[bytes], None] = _discard
        self.unsent_bytes: Callable[[], int] = _zero
        self.descriptor = self._plain_descriptor = -1
        self.is_open = False
        self.is_congested = self.may_hold_bytes = False
        self.has_received = self.has_session = self.is_throttled = False
        self.closing_since_s: float | None = None
        self.receiver: Receiver[Connection] | None = None
        self.was_opened = False
        self.address = ""
        self.accepted_s = self.last_received_s = accepted_s
        self._counters = counters
        self._owner = owner
        self._write_buffer_bytes_max = settings.write_buffer_bytes_max
        self._library = ServerProtocol(subprotocols=_SUBPROTOCOLS, max_size=settings.message_bytes_max)
        self._handshake_reader: HandshakeReader | None = None
        self._is_page = False
        self._fragments = Fragments()
        self._splitter = FrameSplitter(payload_bytes_max=settings.message_bytes_max)
        self.limiter = limiter
        self._one_token_bytes_max = min(_SHORT_FRAME_BYTES_MAX, limiter.token_bytes)
        self._queued_bytes = 0
        self._is_between_frames = False
        self._transport: asyncio.Transport | None = None

    @property
    def backlog_bytes(self) -> int:
        """The number of bytes that were written but not passed to the kernel yet."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    @property
    def rtt_ms(self) -> float:
        """The round-trip time that the kernel has measured, in milliseconds; 0 on systems that do not report it."""
        return read_rtt_ms(self._transport)

    @property
    def client_close_code(self) -> int | None:
        """The code with which the client closed the connection; None if the server closed it, or it broke.

        An answer to a close of the server does not count.
        """
        return find_client_close_code(self._library)

    @property
    def failure(self) -> str:
        """Why the connection failed: the peer sent a frame that is too large or invalid. Empty if it did not."""
        return describe_failure(find_failure(self._library))

    # -- asyncio.Protocol -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set up the transport of an accepted socket."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=self._write_buffer_bytes_max)
        self._plain_descriptor = _find_descriptor(transport)
        if self._plain_descriptor >= 0:
            self.unsent_bytes = self._transport.get_write_buffer_size
        peer = self._transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""
        expects_proxy_header = self._owner.expects_proxy_header(self.address)
        self._handshake_reader = HandshakeReader(expects_proxy_header=expects_proxy_header)

    def data_received(self, data: bytes) -> None:
        """Handle bytes from the client.

        Nearly every read is exactly one short binary frame. Four comparisons recognise it, and its receiver
        decodes it from the read itself. All other reads take the general path.
        """
        size = len(data)
        self._counters.bytes_received += size
        self.has_received = True
        own, shared = self.limiter.own, self.limiter.address
        if (
            self._is_between_frames
            and own.tokens > 0
            and shared.tokens > 0
            and 6 < size <= self._one_token_bytes_max
            and data[0] == FIN_BINARY
            and data[1] == MASKED | size - 6
        ):
            own.tokens -= 1
            shared.tokens -= 1
            self.receiver.frame_received(data)  # type: ignore[union-attr]
        else:
            self._bytes_received(data)

    def _bytes_received(self, data: bytes) -> None:
        self._is_between_frames = False
        if not self.is_open and self._library.state is State.CONNECTING:
            data = self._handshake(data)
        self._splitter.feed(data)
        if not self._handle_frames():
            self.limiter.charge(1)  # a part of a frame, or of the handshake

    def _handle_frames(self) -> int:
        """Handle the received frames while there are tokens; return the number of frames."""
        handled, limiter = 0, self.limiter
        while self._transport is not None:
            if limiter.own.tokens <= 0 or limiter.address.tokens <= 0:
                scope = limiter.refill(time.monotonic())
                if scope is not None:
                    self._exceeded(scope)
                    return handled
            frame = self._splitter.next()
            if frame is None:
                break
            handled += 1
            limiter.charge(len(frame))
            self._frame_received(frame)
        self._is_between_frames = (
            self.is_open and self._splitter.is_between_frames and self._library.current_size is None
        )
        return handled

    def _frame_received(self, frame: bytes) -> None:
        if self._splitter.has_failed:
            self._feed_library(frame)
        elif frame[0] == FIN_BINARY and self._library.current_size is None:
            if self.is_open:
                self.receiver.message_received(payload_from_frame(frame))  # type: ignore[union-attr]
        elif frame[0] == FIN_PING and self.is_congested:
            self._counters.rejected["ping_congested"] += 1  # RFC 6455, 5.5.3: only the newest ping needs an answer
        else:
            self._counters.other_frames += 1
            self.charge(OTHER_FRAME_TOKENS)
            if frame[0] != FIN_PONG:  # which needs no answer, and an idle client sends one for each heartbeat
                self._feed_library(frame)

    # -- limits ---------------------------------------------------------------------------------------------

    def _exceeded(self, scope: LimitScope) -> None:
        """Pause reading until there are tokens again, or drop a peer without a session.

        A closing connection is throttled, not dropped: unread bytes would turn its end into a reset, which discards
        the close frame (RFC 1122, 4.2.2.13). The time limit of the close ends it.
        """
        if scope is LimitScope.CONNECTION:
            if not self.has_session and self.closing_since_s is None:
                self._counters.closed["flood"] += 1
                self.abort()
                return
            self.limiter.mark_exceeded(self._owner.now_s())
        if not self.is_throttled and self._transport is not None:
            self.is_throttled = True
            self._transport.pause_reading()
            self._counters.throttled[scope.value] += 1
            self._owner.throttle(self, scope)

    def proceed(self) -> bool:
        """Handle the waiting frames while there are tokens, and resume reading once none is waiting.

        Returns:
            Whether a frame was handled.
        """
        handled = self._handle_frames()
        is_within = self.limiter.own.tokens > 0 and self.limiter.address.tokens > 0
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
        return self.limiter.is_exceeded_since(now_s - FLOOD_S, time.monotonic())

    def charge(self, tokens: int) -> None:
        """Take tokens from the peer's address for a message that costs more than its frame."""
        self.limiter.address.tokens -= tokens

    def eof_received(self) -> None:
        """Handle the end of the client's bytes; the transport closes itself after this."""
        self._feed_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """Release everything after the transport is gone, and notify the receiver and the owner."""
        self._feed_eof()
        self._transport = None
        self.is_open = self._is_between_frames = self.is_throttled = False
        self.descriptor = self._plain_descriptor = -1
        self.write, self.unsent_bytes = _discard, _zero  # releases the transport
        self._owner.unthrottle(self)
        receiver, self.receiver = self.receiver, None
        if receiver is not None:
            receiver.connection_ended(self)
        self._owner.connection_closed(self)
        # A shard has thousands of short connections. A reference cycle in each would wait for the garbage collector,
        # and make its pauses long.
        self._library.parser.close()
        if self._library.parser_exc is not None:
            self._library.parser_exc.__traceback__ = None

    def pause_writing(self) -> None:
        """Mark the connection as congested: more than `write_buffer_bytes_max` is waiting for the client."""
        self.is_congested = True

    def resume_writing(self) -> None:
        """Mark the connection as not congested any more."""
        self.is_congested = False
        self._queued_bytes = 0

    def handshake_failed(self) -> None:
        """Remove the connection after its TLS handshake has failed, before there is a transport."""
        if self._transport is None:
            self._owner.connection_closed(self)

    # -- for the session ------------------------------------------------------------------------------------

    def send(self, frames: bytes) -> bool:
        """Write frames that the peer must receive.

        Returns:
            False if more than one write buffer is already waiting for a congested peer; nothing was written then.
        """
        if self.is_congested:
            self._queued_bytes += len(frames)
            if self._queued_bytes > self._write_buffer_bytes_max:
                return False
        self.write(frames)
        return True

    def close(self, code: int, reason: str) -> None:
        """Start the closing handshake. Idempotent."""
        try:
            self._library.send_close(code, truncate_reason(reason))
        except InvalidState:
            return  # closing already, or never opened
        except ProtocolError:  # unexpected: the server sends no fragmented messages
            self.abort()
            return
        self._flush()

    def ping(self) -> None:
        """Send a WebSocket ping, which every WebSocket stack answers by itself.

        A congested peer is not pinged: its shrinking buffer shows whether it still reads.
        """
        if self.is_open and not self.is_congested:
            self.write(_PING)

    def abort(self) -> None:
        """Drop the connection without a closing handshake."""
        self.descriptor = self._plain_descriptor = -1
        if self._transport is not None:
            self._transport.abort()

    # -- the handshake --------------------------------------------------------------------------------------

    def _handshake(self, data: bytes) -> bytes:
        """Read the HTTP request; return the bytes that follow it."""
        reader = self._handshake_reader
        assert reader is not None, "connection_made creates it, and only a successful handshake releases it"
        try:
            request = reader.feed(data)
        except InvalidProxyHeader:
            self._counters.refused["proxy_header"] += 1
            self.abort()
            return b""
        self.address = reader.address or self.address
        if request is None:
            return b""
        self._feed_library(request)
        if self._library.state is State.CONNECTING:  # rejected, or larger than any valid request
            self._counters.refused["handshake"] += self._library.handshake_exc is not None and not self._is_page
            self._end()
            return b""
        self._handshake_reader = None
        return reader.rest

    def _respond(self, request: Request) -> None:
        page = self._owner.find_page(request)
        if page is not None:
            self._is_page = True
            self._library.send_response(page)
            return
        response = self._library.accept(request)
        if response.status_code == 101:
            rejection = self._owner.check_handshake(self, request)
            if rejection is not None:
                self._counters.refused[rejection.counted_as] += 1
                response = self._library.reject(rejection.status, f"{rejection.reason}\n")
                if rejection.retry_after_s:
                    response.headers["Retry-After"] = str(rejection.retry_after_s)
        self._library.send_response(response)
        if self._library.state is State.OPEN:
            self.was_opened = True
            self.receiver = self._owner.create_receiver(self, request)
            self._release_request()

    def _release_request(self) -> None:
        """Release the HTTP request, which the library's parser would keep for as long as the connection is open.

        A request and its headers use more than 2 KB. The library has parsed all bytes that it was fed, so another
        parser, which starts with the next bytes, continues where this one has stopped.
        """
        self._library.parser.close()
        self._library.parser = self._library.parse()

    # -- the library ----------------------------------------------------------------------------------------

    def _feed_library(self, data: bytes) -> None:
        self._library.receive_data(data)
        for event in self._library.events_received():
            if isinstance(event, Request):
                self._respond(event)
            elif isinstance(event, Frame):
                self._library_frame_received(event)
        self._flush()

    def _feed_eof(self) -> None:
        self._library.receive_eof()
        self._flush()

    def _library_frame_received(self, frame: Frame) -> None:
        message = self._fragments.add(frame)
        if message is None:
            return
        if self.receiver is not None and message.is_text:
            self.receiver.text_received()
        elif self.is_open:
            self.receiver.message_received(message.data)  # type: ignore[union-attr]  # an open connection has one

    def _flush(self) -> None:
        """Write the library's pending output; an empty piece marks the end of its output."""
        self.is_open = self._library.state is State.OPEN and self.receiver is not None and self._transport is not None
        if self.is_open and self._transport is not None:
            self.descriptor = self._plain_descriptor
            self.write = self._transport.write if self.descriptor < 0 else self._write_to_transport
        else:
            self.write, self.descriptor = _discard, -1
        self._is_between_frames = self._is_between_frames and self.is_open
        for data in self._library.data_to_send():
            if self._transport is None:
                return
            if data:
                self._write_to_transport(data)
            else:
                self._end()
        if self._library.close_expected() and self.closing_since_s is None:
            self.closing_since_s = self._owner.now_s()

    def _write_to_transport(self, data: bytes) -> None:
        if self._transport is not None:
            self.may_hold_bytes = True
            self._transport.write(data)

    def _end(self) -> None:
        """Close the transport after the library's last output.

        If the peer may still be sending, only the server's direction is closed; the peer, or the time limit of the
        close, ends the connection. Unread bytes would turn a close into a reset, which discards the close frame
        before the peer has read it: RFC 6455, 7.1.1, and RFC 1122, 4.2.2.13.
        """
        if self.closing_since_s is None:
            self.closing_since_s = self._owner.now_s()
        transport, close = self._transport, find_failure(self._library)
        if transport is None or transport.is_closing():
            return
        if close is not None:
            self._counters.closed[failure_label(close)] += 1
            if transport.can_write_eof():
                transport.write_eof()
                return
        transport.close()
