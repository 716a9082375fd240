"""One WebSocket to a server, from its handshake to its close: messages in both directions, and the close code."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    InvalidURI,
    WebSocketException,
)
from websockets.frames import CloseCode
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from tickwire.client.core import MESSAGE_BYTES_MAX
from tickwire.client.errors import ConnectFailed
from tickwire.client.reconnect import is_retry_status
from tickwire.schemas import SUBPROTOCOL

SEND_S_MAX = 10.0
CLOSE_S_MAX = 2.0
REASON_BYTES_MAX = 123
"""The longest reason of a close: RFC 6455, section 5.5."""


async def open_socket(url: str, *, tls: ssl.SSLContext | None) -> ClientConnection:
    """Open a WebSocket. The caller limits the time.

    Raises:
        ConnectFailed: the WebSocket could not be opened; `may_return` and `retry_after_s` say whether to retry, and
            when.
    """
    # Without the argument the library uses the system's certificates for wss; it refuses None.
    tls_options: dict[str, Any] = {} if tls is None else {"ssl": tls}
    try:
        return await open_websocket(
            url,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            max_size=MESSAGE_BYTES_MAX,
            open_timeout=None,
            close_timeout=CLOSE_S_MAX,
            ping_interval=None,
            proxy=None if is_loopback(url) else True,
            **tls_options,
        )
    except InvalidURI as error:
        text = f"cannot connect to {url}: the address must begin with ws:// or wss://"
        raise ConnectFailed(text, may_return=False) from error
    except InvalidStatus as error:
        response = error.response
        retry_after = response.headers.get("Retry-After", "0")
        raise ConnectFailed(
            f"cannot connect to {url}: {error}",
            may_return=is_retry_status(response.status_code),
            retry_after_s=float(retry_after) if retry_after.isdigit() else 0.0,
        ) from error
    except InvalidHandshake as error:
        raise ConnectFailed(f"cannot connect to {url}: {error}", may_return=False) from error
    except ssl.SSLCertVerificationError as error:  # an OSError and a ValueError
        raise ConnectFailed(f"cannot connect to {url}: {error}", may_return=False) from error
    except (OSError, WebSocketException, ImportError) as error:  # ImportError: a SOCKS proxy without python-socks
        raise ConnectFailed(f"cannot connect to {url}: {str(error) or type(error).__name__}") from error
    except ValueError as error:  # a port out of range, a bracket that is not closed, a name that DNS cannot hold
        raise ConnectFailed(f"cannot connect to {url}: the address is invalid: {error}", may_return=False) from error


def is_loopback(url: str) -> bool:
    """Return whether a URL leads to this machine, in which case the environment's proxies are not used."""
    try:
        host = parse_uri(url).host
        return host == "localhost" or host.endswith(".localhost") or ipaddress.ip_address(host).is_loopback
    except (InvalidURI, ValueError):
        return False


class ClientSocket:
    """An open WebSocket.

    Args:
        websocket: the WebSocket.
        on_message: called with each binary message.
        on_end: called once, when the WebSocket is closed, with the socket, the close code and the reason. The code is
            None without a close; if the library closed because of the server's data, it is the library's. The reason
            is empty unless this side closed.
    """

    def __init__(
        self,
        websocket: ClientConnection,
        on_message: Callable[[ClientSocket, bytes], None],
        on_end: Callable[[ClientSocket, int | None, str], None],
    ) -> None:
        self._websocket = websocket
        self._on_message = on_message
        self._on_end = on_end
        self._close_reason = ""
        self._outbox: deque[bytes] = deque()
        self._has_work = asyncio.Event()
        self._is_drained = asyncio.Event()
        self._is_drained.set()
        self._is_closing = False
        self._reader = asyncio.create_task(self._read(), name="client read")
        self._writer = asyncio.create_task(self._write(), name="client write")

    @property
    def close_code(self) -> int | None:
        """The close code; None while the connection is open, or if it broke without a close."""
        return self._websocket.close_code

    def send(self, data: bytes) -> None:
        """Send a message, after those before it. It is lost if the connection is."""
        if not self._writer.done():
            self._outbox.append(data)
            self._is_drained.clear()
            self._has_work.set()

    async def drain(self) -> None:
        """Wait until the messages so far are in the system's buffers, or the connection is lost."""
        await self._is_drained.wait()

    async def close(self, code: int, reason: str) -> None:
        """Send what waits and a close. Takes at most CLOSE_S_MAX."""
        self._is_closing = True
        self._has_work.set()
        try:
            async with asyncio.timeout(CLOSE_S_MAX):
                await asyncio.wait([self._writer])
                await self._websocket.close(code, reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore"))
        except TimeoutError:
            pass  # the server does not read; the data is in its buffers, or lost
        finally:
            await self.drop()

    async def drop(self) -> None:
        """End the connection without a close, so that the session can be resumed. Idempotent."""
        self.abort()
        await asyncio.wait([self._reader, self._writer])  # unlike awaiting each, passes on the caller's cancellation

    def abort(self) -> None:
        """End the connection at once: a close would wait for an answer on a path that may be dead. Idempotent."""
        self._websocket.transport.abort()
        self._writer.cancel()

    async def _read(self) -> None:
        code: int | None = None
        try:
            async for data in self._websocket:
                if isinstance(data, bytes):
                    self._on_message(self, data)
            code = self.close_code
        except ConnectionClosed as error:
            code = self._code(error)
        finally:
            self.abort()
            self._on_end(self, code, self._close_reason)

    def _code(self, error: ConnectionClosed) -> int | None:
        """Return the close code, also of a close by the library, which refuses wrong and large frames."""
        if error.sent is None or error.rcvd_then_sent or error.sent.code == CloseCode.NORMAL_CLOSURE:
            return self.close_code if error.rcvd is not None else None
        text = error.sent.reason or f"close code {error.sent.code}"
        if error.sent.code == CloseCode.MESSAGE_TOO_BIG:
            text = f"a message above {MESSAGE_BYTES_MAX} bytes"
        self._close_reason = f"the server sent data that this client cannot process: {text}"
        return error.sent.code

    async def _write(self) -> None:
        """Send the messages in order, until the outbox is empty and a close follows."""
        try:
            while self._outbox or not self._is_closing:
                if not self._outbox:
                    self._is_drained.set()
                    self._has_work.clear()
                    await self._has_work.wait()
                    continue
                async with asyncio.timeout(SEND_S_MAX):
                    await self._websocket.send(self._outbox[0])
                self._outbox.popleft()
        except ConnectionClosed:
            pass  # the reader reports it
        except TimeoutError:
            self._close_reason = f"the server accepted no data for {SEND_S_MAX:g} s"
            self._websocket.transport.abort()
        finally:
            self._is_drained.set()
