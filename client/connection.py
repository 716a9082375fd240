"""One WebSocket to a server, from its handshake to its close: messages, a heartbeat and the close reason."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
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
from tickwire.client.errors import ClientError, ConnectFailed, Disconnected
from tickwire.client.heartbeat import Heartbeat
from tickwire.client.reconnect import CONNECT_S_MAX, is_final_close, is_retry_status
from tickwire.schemas import SUBPROTOCOL
from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.messages import Goodbye

SEND_S_MAX = 10.0
CLOSE_S_MAX = 2.0


async def open_socket(
    url: str,
    *,
    tls: ssl.SSLContext | None,
    on_message: Callable[[bytes], Awaitable[None]],
    on_end: Callable[[], Awaitable[None]],
) -> ClientSocket:
    """Open a WebSocket, within CONNECT_S_MAX.

    Raises:
        ConnectFailed: the WebSocket could not be opened; `may_return` and `retry_after_s` say whether to retry, and
            when.
    """
    # Without the argument the library uses the system's certificates for wss; it refuses None.
    tls_options: dict[str, Any] = {} if tls is None else {"ssl": tls}
    try:
        websocket = await open_websocket(
            url,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            max_size=MESSAGE_BYTES_MAX,
            open_timeout=CONNECT_S_MAX,
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
    return ClientSocket(websocket, on_message, on_end)


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
        on_message: called with each binary message, one after the other.
        on_end: called once, when the WebSocket is closed.

    Attributes:
        close_reason: why this side closed the WebSocket; empty if the server or the network did.
        is_protocol_error: the server sent data that cannot be decoded, and would send it again after a reconnect.
        ended: set when the WebSocket is closed.
    """

    def __init__(
        self,
        websocket: ClientConnection,
        on_message: Callable[[bytes], Awaitable[None]],
        on_end: Callable[[], Awaitable[None]],
    ) -> None:
        self.close_reason = ""
        self.is_protocol_error = False
        self.ended = asyncio.Event()
        self._websocket = websocket
        self._on_message = on_message
        self._on_end = on_end
        self._heartbeat = Heartbeat()
        self._tasks = [asyncio.create_task(self._read(), name="client read")]

    @property
    def close_code(self) -> int | None:
        """The close code; None while the connection is open, or if it broke without a close."""
        return self._websocket.close_code

    def is_final(self, goodbye: Goodbye | None) -> bool:
        """Return whether the session cannot continue on another connection.

        Args:
            goodbye: the server's Goodbye on the connection, if it sent one.
        """
        return self.is_protocol_error or is_final_close(self.close_code, goodbye)

    def start_heartbeat(self, interval_s: float, ping: Callable[[], bytes]) -> None:
        """Send a Ping every interval, and end the connection if no message arrives."""
        self._tasks.append(asyncio.create_task(self._send_pings(interval_s, ping), name="client heartbeat"))

    async def send(self, data: bytes) -> None:
        """Send a message.

        Raises:
            Disconnected: the connection is lost, or did not accept the message within SEND_S_MAX.
        """
        try:
            async with asyncio.timeout(SEND_S_MAX):
                await self._websocket.send(data)
        except ConnectionClosed as error:
            raise Disconnected(self.reason) from error
        except TimeoutError as error:
            self._break(f"the server accepted no data for {SEND_S_MAX:g} s")
            raise Disconnected(self.reason) from error

    async def close(self, last: bytes) -> None:
        """Send a last message and close with 1000, which ends the session. Takes at most CLOSE_S_MAX. Idempotent."""
        try:
            with suppress(ConnectionClosed):
                async with asyncio.timeout(CLOSE_S_MAX):
                    await self._websocket.send(last)
                    await self._websocket.close()  # waits for the server's close, at most CLOSE_S_MAX
        except TimeoutError:
            pass  # the server does not read; the data is in its buffers, or lost
        finally:
            await self.drop()

    async def drop(self) -> None:
        """End the connection without a close, so that the session can be resumed. Idempotent."""
        self._websocket.transport.abort()
        for task in self._tasks[1:]:
            task.cancel()
        await asyncio.wait(self._tasks)  # unlike awaiting each task, passes a cancellation of the caller through
        for task in self._tasks:
            if not task.cancelled():
                task.result()

    @property
    def reason(self) -> str:
        """The reason of the close, as a sentence."""
        return f"the connection is lost: {self.close_reason or f'close code {self.close_code}'}"

    def _break(self, close_reason: str) -> None:
        """End the connection immediately: a close would wait for an answer on a path that may be dead."""
        self.close_reason = self.close_reason or close_reason
        self._websocket.transport.abort()

    async def _read(self) -> None:
        try:
            async for data in self._websocket:
                self._heartbeat.record_received()
                if isinstance(data, bytes):
                    await self._on_message(data)
        except ConnectionClosed as error:
            self._record_own_close(error)
        except ClientError as error:
            self.close_reason = self.close_reason or str(error)
        except MalformedMessage as error:
            self.close_reason = f"the server sent a message that cannot be decoded: {error}"
            self.is_protocol_error = True
            await self._websocket.close(CloseCode.PROTOCOL_ERROR, "malformed message")
        finally:
            self._websocket.transport.abort()
            self.ended.set()
            await self._on_end()

    def _record_own_close(self, error: ConnectionClosed) -> None:
        """Record a close by the library, after a frame that violates the protocol or is too large."""
        if error.sent is not None and not error.rcvd_then_sent and error.sent.code != CloseCode.NORMAL_CLOSURE:
            self.is_protocol_error = True
            text = error.sent.reason or f"close code {error.sent.code}"
            if error.sent.code == CloseCode.MESSAGE_TOO_BIG:
                text = f"a message above {MESSAGE_BYTES_MAX} bytes"
            self.close_reason = f"the server sent data that this client cannot process: {text}"

    async def _send_pings(self, interval_s: float, ping: Callable[[], bytes]) -> None:
        with suppress(Disconnected):
            while self._heartbeat.record_ping():
                await self.send(ping())
                await asyncio.sleep(interval_s)
            self._break("the server does not answer pings")
