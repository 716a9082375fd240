"""One WebSocket to a server, from its handshake to its end: bytes in, bytes out, a heartbeat, and why it ended."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable
from contextlib import suppress
from ssl import SSLContext

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


async def open_link(
    url: str,
    *,
    tls: SSLContext | None,
    on_message: Callable[[bytes], Awaitable[None]],
    on_end: Callable[[], Awaitable[None]],
) -> ClientSocket:
    """Connect, within CONNECT_S_MAX.

    Raises:
        ConnectFailed: with the reason, and whether and when trying again makes sense.
    """
    try:
        socket = await open_websocket(
            url,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            max_size=MESSAGE_BYTES_MAX,
            open_timeout=CONNECT_S_MAX,
            close_timeout=CLOSE_S_MAX,
            ping_interval=None,
            ssl=tls,
            proxy=None if is_loopback(url) else True,
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
    except (OSError, WebSocketException, ImportError) as error:  # ImportError: a SOCKS proxy without python-socks
        raise ConnectFailed(f"cannot connect to {url}: {str(error) or type(error).__name__}") from error
    return ClientSocket(socket, on_message, on_end)


def is_loopback(url: str) -> bool:
    """Return whether a URL leads to this machine: no proxy of the environment is used then."""
    try:
        host = parse_uri(url).host
        return host == "localhost" or host.endswith(".localhost") or ipaddress.ip_address(host).is_loopback
    except (InvalidURI, ValueError):
        return False


class ClientSocket:
    """An open WebSocket.

    Args:
        socket: the WebSocket.
        on_message: called with each binary message, one after the other.
        on_end: called once, when it is over.

    Attributes:
        because: why this side ended it; empty if the server did, or the network.
        is_broken_off: the server sent something that cannot be read. Reconnecting would bring it again.
        ended: set when it is over.
    """

    def __init__(
        self,
        socket: ClientConnection,
        on_message: Callable[[bytes], Awaitable[None]],
        on_end: Callable[[], Awaitable[None]],
    ) -> None:
        self.because = ""
        self.is_broken_off = False
        self.ended = asyncio.Event()
        self._socket = socket
        self._on_message = on_message
        self._on_end = on_end
        self._heartbeat = Heartbeat()
        self._tasks = [asyncio.create_task(self._read(), name="client read")]

    @property
    def close_code(self) -> int | None:
        """The close code; None while the connection is open, or when it broke."""
        return self._socket.close_code

    def is_final(self, goodbye: Goodbye | None) -> bool:
        """Return whether the session cannot continue on another connection.

        Args:
            goodbye: the server's last message, if there was one.
        """
        return self.is_broken_off or is_final_close(self.close_code, goodbye)

    def start_heartbeat(self, interval_s: float, ping: Callable[[], bytes]) -> None:
        """Send a Ping every interval, and end the connection when nothing comes back."""
        self._tasks.append(asyncio.create_task(self._beat(interval_s, ping), name="client heartbeat"))

    async def send(self, data: bytes) -> None:
        """Send a message.

        Raises:
            Disconnected: the connection is lost, or takes nothing any more.
        """
        try:
            async with asyncio.timeout(SEND_S_MAX):
                await self._socket.send(data)
        except ConnectionClosed as error:
            raise Disconnected(self.reason) from error
        except TimeoutError as error:
            self._break(f"the server took nothing for {SEND_S_MAX:g} s")
            raise Disconnected(self.reason) from error

    async def close(self, last: bytes) -> None:
        """Send a last message and close with 1000, which ends the session; at most CLOSE_S_MAX. Idempotent."""
        try:
            with suppress(ConnectionClosed):
                async with asyncio.timeout(CLOSE_S_MAX):
                    await self._socket.send(last)
                    await self._socket.close()  # waits for the server's close, at most CLOSE_S_MAX
        except TimeoutError:
            pass  # the server takes nothing: it has the rest when, and if, it reads again
        finally:
            await self.drop()

    async def drop(self) -> None:
        """End the connection without a close, which leaves the session to be resumed. Idempotent."""
        self._socket.transport.abort()
        for task in self._tasks[1:]:
            task.cancel()
        await asyncio.wait(self._tasks)  # unlike awaiting each, lets a cancellation of ours through
        for task in self._tasks:
            if not task.cancelled():
                task.result()

    @property
    def reason(self) -> str:
        """Why it ended, in a sentence."""
        return f"the connection is lost: {self.because or f'close code {self.close_code}'}"

    def _break(self, because: str) -> None:
        """End the connection at once: a close would wait for an answer on a path that may be dead."""
        self.because = self.because or because
        self._socket.transport.abort()

    async def _read(self) -> None:
        try:
            async for data in self._socket:
                self._heartbeat.received()
                if isinstance(data, bytes):
                    await self._on_message(data)
        except ConnectionClosed as error:
            self._note_own_close(error)
        except ClientError as error:
            self.because = self.because or str(error)
        except MalformedMessage as error:
            self.because = f"the server sent a message that cannot be read: {error}"
            self.is_broken_off = True
            await self._socket.close(CloseCode.PROTOCOL_ERROR, "malformed message")
        finally:
            self._socket.transport.abort()
            self.ended.set()
            await self._on_end()

    def _note_own_close(self, error: ConnectionClosed) -> None:
        """The library closes by itself when a frame breaks the protocol, or is too large."""
        if error.sent is not None and not error.rcvd_then_sent and error.sent.code != CloseCode.NORMAL_CLOSURE:
            self.is_broken_off = True
            text = error.sent.reason or f"close code {error.sent.code}"
            if error.sent.code == CloseCode.MESSAGE_TOO_BIG:
                text = f"a message above {MESSAGE_BYTES_MAX} bytes"
            self.because = f"the server sent what this client cannot take: {text}"

    async def _beat(self, interval_s: float, ping: Callable[[], bytes]) -> None:
        with suppress(Disconnected):
            while self._heartbeat.beat():
                await self.send(ping())
                await asyncio.sleep(interval_s)
            self._break("the server does not answer pings")
