"""One WebSocket on gevent, for a thousand connections in a process.

A ReadWaiter calls back to read the bytes, without a greenlet for each connection. TLS and all WebSocket frames
except complete binary ones are handled by Sans-I/O libraries (`ssl.SSLObject`, `websockets.client.ClientProtocol`).

    connecting -> open -> ended        `on_end` is called once, also if connecting fails
"""

from __future__ import annotations

import random
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

import gevent
from gevent import monkey
from gevent import socket as gevent_socket
from gevent.event import Event
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, InvalidURI
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from tickwire.client.core import MESSAGE_BYTES_MAX
from tickwire.client.errors import ConnectFailed
from tickwire.client.reconnect import is_retry_status
from tickwire.loadtest.frames import FrameReader, masked_frame
from tickwire.loadtest.read_poller import ReadWaiter, get_read_waiter
from tickwire.schemas import SUBPROTOCOL

READ_BYTES = 64 * 1024
UNSENT_BYTES_MAX = 1024 * 1024
"""The connection is closed if the server leaves more than this unread."""
HEAD_BYTES_MAX = 64 * 1024
_WRITE = 2
_END_OF_HEAD = b"\r\n\r\n"
_RawSocket: Any = monkey.get_original("socket", "socket")
_random = random.Random()  # noqa: S311 - masks prevent proxies from reading frames as requests; they are not secrets

CONNECT_S_MAX = 30.0
"""The limit for one address of a host; `open` has a deadline for all of them and for the handshake."""


class GeventConnection:
    """One connection.

    Args:
        on_message: called with each binary message.
        on_end: called when the connection ends.
        on_read: called with the bytes of each read that begins with a frame. It returns the number of bytes that it
            has handled, which are whole frames; `on_message` is called with the messages in the others.

    Attributes:
        is_open: whether messages can be sent.
        read_at_s: when the bytes of the current message were read; the monotonic clock.
        bytes_received: the number of bytes.
        close_reason: why the connection ended.
        close_code: the code of the close; None without one.
        is_ours: whether this side ended the connection.
    """

    def __init__(
        self,
        on_message: Callable[[bytes], None],
        on_end: Callable[[], None],
        on_read: Callable[[bytes], int] = lambda data: 0,
    ) -> None:
        self.is_open = False
        self.read_at_s = 0.0
        self.bytes_received = 0
        self.close_reason = ""
        self.is_ours = False
        self._on_message = on_message
        self._on_end = on_end
        self._on_read = on_read
        self._is_between_frames = False
        self._socket: Any = None
        self._tls: ssl.SSLObject | None = None
        self._tls_in, self._tls_out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._protocol: ClientProtocol | None = None
        self._frames = FrameReader(
            payload_bytes_max=MESSAGE_BYTES_MAX, on_message=on_message, on_other=self._feed_library_frame
        )
        self._fragments: list[bytes] = []
        self._head = b""
        self._unsent = b""
        self._updated = Event()
        self._waiter: ReadWaiter | None = None
        self._writer: Any = None
        self._is_ended = False

    # -- connecting -----------------------------------------------------------------------------------------

    def open(self, url: str, *, tls: ssl.SSLContext | None, timeout_s: float) -> None:
        """Connect. Blocks the calling greenlet.

        Raises:
            ConnectFailed: the connection could not be opened; `may_return` and `retry_after_s` say whether and when
                to retry.
        """
        try:
            uri = parse_uri(url)
            with gevent.Timeout(timeout_s, TimeoutError(f"no answer within {timeout_s:g} s")):
                self._connect(uri.host, uri.port, (tls or ssl.create_default_context()) if uri.secure else None)
                self._upgrade(url)
        except ssl.SSLCertVerificationError as error:
            self._end(f"its certificate is not trusted: {error.verify_message}")
            raise ConnectFailed(f"cannot connect to {url}: {self.close_reason}", may_return=False) from error
        except (OSError, ssl.SSLError) as error:
            self._end(str(error) or type(error).__name__)
            raise ConnectFailed(f"cannot connect to {url}: {self.close_reason}") from error
        except (InvalidURI, ValueError) as error:  # also a port out of range, and a name that DNS cannot hold
            self._end(f"the address is invalid: {error}")
            raise ConnectFailed(f"cannot connect to {url}: {self.close_reason}", may_return=False) from error
        except BaseException:
            self.abort()
            raise

    def _connect(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        made = gevent_socket.create_connection((host, port), timeout=CONNECT_S_MAX)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        family, kind, proto = made.family, made.type, made.proto
        self._socket = _RawSocket(family, kind, proto, fileno=made.detach())
        self._socket.setblocking(False)
        self._writer = gevent.get_hub().loop.io(self._socket.fileno(), _WRITE)
        self._waiter = get_read_waiter()
        self._waiter.add(self._socket.fileno(), self._readable)
        if tls is not None:
            self._tls = tls.wrap_bio(self._tls_in, self._tls_out, server_hostname=host)
            self._until(self._handshake_is_done)

    def _handshake_is_done(self) -> bool:
        assert self._tls is not None
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self._put(self._tls_out.read())
        return True

    def _upgrade(self, url: str) -> None:
        self._protocol = protocol = ClientProtocol(
            parse_uri(url), subprotocols=[Subprotocol(SUBPROTOCOL)], max_size=MESSAGE_BYTES_MAX
        )
        protocol.send_request(protocol.connect())
        self._flush_library()
        self._until(lambda: protocol.state is not State.CONNECTING or protocol.handshake_exc is not None)
        error = protocol.handshake_exc
        if isinstance(error, InvalidStatus):
            advice, status = error.response.headers.get("Retry-After", ""), error.response.status_code
            self._end(f"the server answered with status {status}")
            raise ConnectFailed(
                f"cannot connect to {url}: {self.close_reason}",
                may_return=is_retry_status(status),
                retry_after_s=float(advice) if advice.isdigit() else 0.0,
            ) from error
        if error is not None:
            self._end(str(error))
            raise ConnectFailed(f"cannot connect to {url}: {error}", may_return=False) from error
        if protocol.subprotocol != SUBPROTOCOL:
            self.close()
            text = f"cannot connect to {url}: the server does not support {SUBPROTOCOL}"
            raise ConnectFailed(text, may_return=False)

    def _until(self, is_done: Callable[[], bool]) -> None:
        while not is_done():
            if self._is_ended:
                raise ConnectionError(self.close_reason)
            self._updated.clear()
            self._updated.wait()

    # -- sending --------------------------------------------------------------------------------------------

    @property
    def close_code(self) -> int | None:
        """The code of the server's close, or of the library's, which refuses invalid data; None without one."""
        protocol = self._protocol
        if protocol is None:
            return None
        sent = None if protocol.close_rcvd_then_sent else protocol.close_sent
        close = sent if sent is not None and sent.code != CloseCode.NORMAL_CLOSURE else protocol.close_rcvd
        return close.code if close is not None else None

    def send(self, payload: bytes) -> None:
        """Send a message. It is discarded if the connection has ended."""
        if not self._is_ended:
            frame = masked_frame(payload, _random.getrandbits(32).to_bytes(4, "big"))
            if self._tls is None:
                self._put(frame)
            else:
                self._write(frame)

    def _write(self, data: bytes) -> None:
        if self._tls is None:
            self._put(data)
            return
        self._tls.write(data)
        self._put(self._tls_out.read())

    def _put(self, data: bytes) -> None:
        if self._is_ended or not data:
            return
        if self._unsent:
            self._unsent += data
            if len(self._unsent) > UNSENT_BYTES_MAX:
                self._end("the server stopped reading")
            return
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self._end(error.strerror or str(error))
            return
        if sent < len(data):
            self._unsent = data[sent:]
            self._writer.start(self._writable)

    def _writable(self) -> None:
        data, self._unsent = self._unsent, b""
        self._writer.stop()
        self._put(data)

    # -- receiving ------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        if self._is_ended:
            return
        try:
            data = self._socket.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error.strerror or str(error))
            return
        if not data:
            self._end("the server has closed the connection")
            return
        self.read_at_s = time.monotonic()
        self.bytes_received += len(data)
        if self._tls is None:
            self._receive(data)
        else:
            self._tls_in.write(data)
            self._decrypt()
        self._updated.set()

    def _decrypt(self) -> None:
        assert self._tls is not None
        if self._protocol is None:  # the TLS handshake reads the bytes itself
            return
        while not self._is_ended:
            try:
                data = self._tls.read(READ_BYTES)
            except ssl.SSLWantReadError:
                return
            except ssl.SSLError as error:
                self._end(f"TLS: {error.reason}")
                return
            if not data:
                self._end("the server has closed the connection")
                return
            self._receive(data)

    def _receive(self, data: bytes) -> None:
        if self._is_between_frames:
            handled = self._on_read(data)
            if handled == len(data):
                return
            data = data[handled:]
        protocol = self._protocol
        assert protocol is not None
        if protocol.state is not State.CONNECTING:
            self._is_between_frames = self._frames.feed(data)
            return
        self._head += data
        end = self._head.find(_END_OF_HEAD)
        if end < 0 and len(self._head) < HEAD_BYTES_MAX:
            return
        is_accepted = self._head.startswith(b"HTTP/1.1 101")
        end = end + len(_END_OF_HEAD) if is_accepted else len(self._head)
        head, rest = self._head[:end], self._head[end:]
        self._head = b""
        self._feed_library(head)
        if is_accepted:
            self._is_between_frames = self._frames.feed(rest)

    def _feed_library_frame(self, data: bytes) -> None:
        self._feed_library(data)

    def _feed_library(self, data: bytes) -> None:
        protocol = self._protocol
        assert protocol is not None
        protocol.receive_data(data)
        for event in protocol.events_received():
            if isinstance(event, Response):
                self._updated.set()
            elif isinstance(event, Frame) and event.opcode in (Opcode.BINARY, Opcode.CONT):
                self._fragments.append(bytes(event.data))
                if event.fin:
                    whole, self._fragments = b"".join(self._fragments), []
                    self._on_message(whole)
        self._flush_library()
        self.is_open = protocol.state is State.OPEN and not self._is_ended
        if protocol.state in (State.CLOSING, State.CLOSED):
            self._end(_describe_close(protocol))

    def _flush_library(self) -> None:
        assert self._protocol is not None
        for data in self._protocol.data_to_send():
            if data:
                self._write(data)

    def pause(self) -> None:
        """Stop reading, as a phone in a tunnel does."""
        if not self._is_ended and self._waiter is not None:
            self._waiter.remove(self._socket.fileno())

    def resume(self) -> None:
        """Start reading again."""
        if not self._is_ended and self._waiter is not None:
            self._waiter.add(self._socket.fileno(), self._readable)

    # -- the end --------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Send a close, and end the connection without waiting for the answer. Idempotent."""
        self.is_ours = self.is_ours or not self._is_ended
        if self.is_open:
            assert self._protocol is not None
            self._protocol.send_close(1000)
            self._flush_library()
        self._end("closed by this side")

    def fail(self, close_reason: str) -> None:
        """End a connection that failed. It does not count as ended by this side."""
        self._end(close_reason)

    def abort(self) -> None:
        """End the connection without a close, as a broken network does. Idempotent."""
        self.is_ours = self.is_ours or not self._is_ended
        self._end("dropped by this side")

    def _end(self, close_reason: str) -> None:
        if self._is_ended:
            return
        self._is_ended, self.is_open = True, False
        self.close_reason = close_reason
        if self._writer is not None:
            self._writer.stop()
            self._writer.close()
        if self._waiter is not None:
            self._waiter.remove(self._socket.fileno())
        if self._socket is not None:
            self._socket.close()
        self._updated.set()
        on_end, self._on_end, self._on_message = self._on_end, _ignore, _ignore_message
        self._is_between_frames, self._on_read = False, _ignore_read
        on_end()
        # Break reference cycles: thousands of ended connections would otherwise wait for the garbage collector.
        self._frames.close()
        self._waiter = self._writer = None
        if self._protocol is not None:
            self._protocol.parser.close()


def _describe_close(protocol: ClientProtocol) -> str:
    """Return the reason of a close by the library."""
    if protocol.close_rcvd is not None:
        return f"closed by the server: {protocol.close_rcvd.code} {protocol.close_rcvd.reason}".strip()
    if protocol.close_sent is not None:
        sent = protocol.close_sent
        return f"the server sent data that cannot be decoded: {sent.code} {sent.reason}".strip()
    return "the server closed the connection"


def _ignore() -> None:
    pass


def _ignore_message(data: bytes) -> None:
    pass


def _ignore_read(data: bytes) -> int:
    return len(data)
