"""One WebSocket on gevent, made to be one of a thousand in a process.

Bytes are read where the event loop finds them, without a greenlet a connection; TLS and everything of WebSocket but
whole binary frames is done by the libraries' Sans-I/O parts (`ssl.SSLObject`, `websockets.client.ClientProtocol`).

    connecting -> open -> ended        `on_end` is called once, also when connecting fails
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
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from tickwire.client.core import MESSAGE_BYTES_MAX
from tickwire.client.errors import ConnectFailed
from tickwire.client.reconnect import is_retry_status
from tickwire.loadtest.frames import FrameReader, masked_frame
from tickwire.schemas import SUBPROTOCOL

READ_BYTES = 64 * 1024
UNSENT_BYTES_MAX = 1024 * 1024
"""A server that takes nothing more: the connection is given up."""
HEAD_BYTES_MAX = 64 * 1024
_READ, _WRITE = 1, 2
_END_OF_HEAD = b"\r\n\r\n"
_RawSocket: Any = monkey.get_original("socket", "socket")
_random = random.Random()  # noqa: S311 - masks keep proxies from reading frames as requests; nothing here is a secret

CONNECT_S_MAX = 30.0
"""For one address of a host; `open` has a deadline of its own for all of them, and for the handshake."""


class GeventConnection:
    """One connection.

    Args:
        on_message: gets each binary message.
        on_end: called when the connection is over.

    Attributes:
        read_at_s: when the bytes were read that are being given out; the monotonic clock.
        bytes_received: counted.
        because: why it ended.
        close_code: of the server's close; None where there was none.
        is_ours: whether it was this side that ended it.
    """

    def __init__(self, on_message: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        self.read_at_s = 0.0
        self.bytes_received = 0
        self.because = ""
        self.is_ours = False
        self._on_message = on_message
        self._on_end = on_end
        self._socket: Any = None
        self._tls: ssl.SSLObject | None = None
        self._tls_in, self._tls_out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._protocol: ClientProtocol | None = None
        self._cutter = FrameReader(
            payload_bytes_max=MESSAGE_BYTES_MAX, on_message=on_message, on_other=self._for_library
        )
        self._fragments: list[bytes] = []
        self._head = b""
        self._unsent = b""
        self._has_news = Event()
        self._reader: Any = None
        self._writer: Any = None
        self._is_ended = False

    # -- from nothing to open -------------------------------------------------------------------------------

    def open(self, url: str, *, tls: ssl.SSLContext | None, timeout_s: float) -> None:
        """Connects; the greenlet that calls waits.

        Raises:
            ConnectFailed: it cannot be done; says whether, and when, to try again.
        """
        uri = parse_uri(url)
        try:
            with gevent.Timeout(timeout_s, TimeoutError(f"no answer within {timeout_s:g} s")):
                self._connect(uri.host, uri.port, (tls or ssl.create_default_context()) if uri.secure else None)
                self._upgrade(url)
        except ssl.SSLCertVerificationError as error:
            self._end(f"its certificate is not trusted: {error.verify_message}")
            raise ConnectFailed(f"cannot connect to {url}: {self.because}", may_return=False) from error
        except (OSError, ssl.SSLError) as error:
            self._end(str(error) or type(error).__name__)
            raise ConnectFailed(f"cannot connect to {url}: {self.because}") from error
        except BaseException:
            self.abort()
            raise

    def _connect(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        made = gevent_socket.create_connection((host, port), timeout=CONNECT_S_MAX)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        family, kind, proto = made.family, made.type, made.proto
        self._socket = _RawSocket(family, kind, proto, fileno=made.detach())
        self._socket.setblocking(False)
        loop = gevent.get_hub().loop
        self._reader = loop.io(self._socket.fileno(), _READ)
        self._writer = loop.io(self._socket.fileno(), _WRITE)
        self._reader.start(self._readable)
        if tls is not None:
            self._tls = tls.wrap_bio(self._tls_in, self._tls_out, server_hostname=host)
            self._until(self._has_shaken_hands)

    def _has_shaken_hands(self) -> bool:
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
            self._end(f"the server answers with status {status}")
            raise ConnectFailed(
                f"cannot connect to {url}: {self.because}",
                may_return=is_retry_status(status),
                retry_after_s=float(advice) if advice.isdigit() else 0.0,
            ) from error
        if error is not None:
            self._end(str(error))
            raise ConnectFailed(f"cannot connect to {url}: {error}", may_return=False) from error
        if protocol.subprotocol != SUBPROTOCOL:
            self.close()
            raise ConnectFailed(f"cannot connect to {url}: the server speaks no {SUBPROTOCOL}", may_return=False)

    def _until(self, is_done: Callable[[], bool]) -> None:
        while not is_done():
            if self._is_ended:
                raise ConnectionError(self.because)
            self._has_news.clear()
            self._has_news.wait()

    # -- out ------------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return not self._is_ended and self._protocol is not None and self._protocol.state is State.OPEN

    @property
    def close_code(self) -> int | None:
        """Of the server's close; None where there was none, or not yet."""
        received = self._protocol.close_rcvd if self._protocol is not None else None
        return received.code if received is not None else None

    def send(self, payload: bytes) -> None:
        """Sends a message; on a connection that has ended it is lost."""
        if not self._is_ended:
            self._write(masked_frame(payload, _random.getrandbits(32).to_bytes(4, "big")))

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
                self._end("the server takes nothing more")
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

    # -- in -------------------------------------------------------------------------------------------------

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
            self._take(data)
        else:
            self._tls_in.write(data)
            self._decrypt()
        self._has_news.set()

    def _decrypt(self) -> None:
        assert self._tls is not None
        if self._protocol is None:  # the handshake reads for itself
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
            self._take(data)

    def _take(self, data: bytes) -> None:
        protocol = self._protocol
        assert protocol is not None
        if protocol.state is not State.CONNECTING:
            self._cutter.feed(data)
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
        if rest and is_accepted:
            self._cutter.feed(rest)

    def _for_library(self, data: bytes) -> None:
        self._feed_library(data)

    def _feed_library(self, data: bytes) -> None:
        protocol = self._protocol
        assert protocol is not None
        protocol.receive_data(data)
        for event in protocol.events_received():
            if isinstance(event, Response):
                self._has_news.set()
            elif isinstance(event, Frame) and event.opcode in (Opcode.BINARY, Opcode.CONT):
                self._fragments.append(bytes(event.data))
                if event.fin:
                    whole, self._fragments = b"".join(self._fragments), []
                    self._on_message(whole)
        self._flush_library()
        if protocol.state in (State.CLOSING, State.CLOSED):
            self._end(_end_of(protocol))

    def _flush_library(self) -> None:
        assert self._protocol is not None
        for data in self._protocol.data_to_send():
            if data:
                self._write(data)

    def pause(self) -> None:
        """Reads nothing more, as a phone in a tunnel."""
        if not self._is_ended:
            self._reader.stop()

    def resume(self) -> None:
        """Reads again."""
        if not self._is_ended:
            self._reader.start(self._readable)

    # -- the end --------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Says goodbye and goes, without waiting for the answer. Idempotent."""
        self.is_ours = self.is_ours or not self._is_ended
        if self.is_open:
            assert self._protocol is not None
            self._protocol.send_close(1000)
            self._flush_library()
        self._end("closed by this side")

    def give_up(self, because: str) -> None:
        """End a connection on which nothing arrives any more: that is not this side's wish."""
        self._end(because)

    def abort(self) -> None:
        """Goes without a word, as a network does. Idempotent."""
        self.is_ours = self.is_ours or not self._is_ended
        self._end("dropped by this side")

    def _end(self, because: str) -> None:
        if self._is_ended:
            return
        self._is_ended = True
        self.because = because
        for watcher in (self._reader, self._writer):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        if self._socket is not None:
            self._socket.close()
        self._has_news.set()
        on_end, self._on_end, self._on_message = self._on_end, _nobody, _nobody_hears
        on_end()
        # Connections come and go by the thousand: what refers to itself would wait for the collector.
        self._cutter.close()
        self._reader = self._writer = None
        if self._protocol is not None:
            self._protocol.parser.close()


def _end_of(protocol: ClientProtocol) -> str:
    """Why a connection is over that the library has closed."""
    if protocol.close_rcvd is not None:
        return f"closed by the server: {protocol.close_rcvd.code} {protocol.close_rcvd.reason}".strip()
    if protocol.close_sent is not None:
        return f"the server sent what cannot be read: {protocol.close_sent.code} {protocol.close_sent.reason}".strip()
    return "the server has closed the connection"


def _nobody() -> None:
    pass


def _nobody_hears(data: bytes) -> None:
    pass
