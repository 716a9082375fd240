"""One WebSocket to a server, from its handshake to its end: bytes in, bytes out, a heartbeat, and why it ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from ssl import SSLContext

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException
from websockets.frames import CloseCode
from websockets.typing import Subprotocol

from client.errors import ClientError, Disconnected
from schemas import SUBPROTOCOL
from schemas.errors import MalformedMessage

SEND_S_MAX = 10.0
CLOSE_S_MAX = 2.0
MESSAGE_BYTES_MAX = 4 * 1024 * 1024
SILENT_INTERVALS_MAX = 3
"""Each heartbeat is answered; after so many without a word the server is taken for gone."""
_DO_NOT_RETURN = {1000, 1002, 1003, 1007, 1008, 1009}
_COME_BACK_STATUS = {408, 425, 429, 500, 502, 503, 504}


async def open_link(
    url: str,
    *,
    tls: SSLContext | None,
    timeout_s: float,
    on_message: Callable[[bytes], Awaitable[None]],
    on_end: Callable[[], Awaitable[None]],
) -> Link:
    """Connects.

    Raises:
        Disconnected: it cannot be done; says whether, and when, to try again.
    """
    try:
        socket = await open_websocket(
            url,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            max_size=MESSAGE_BYTES_MAX,
            open_timeout=timeout_s,
            close_timeout=CLOSE_S_MAX,
            ping_interval=None,
            ssl=tls,
        )
    except InvalidStatus as error:
        response = error.response
        retry_after = response.headers.get("Retry-After", "0")
        raise Disconnected(
            f"cannot connect to {url}: {error}",
            may_return=response.status_code in _COME_BACK_STATUS,
            retry_after_s=float(retry_after) if retry_after.isdigit() else 0.0,
        ) from error
    except InvalidHandshake as error:
        raise Disconnected(f"cannot connect to {url}: {error}", may_return=False) from error
    except (OSError, WebSocketException) as error:  # TimeoutError is an OSError
        raise Disconnected(f"cannot connect to {url}: {error}") from error
    return Link(socket, on_message, on_end)


class Link:
    """An open WebSocket.

    Args:
        socket: the WebSocket.
        on_message: called with each binary message, one after the other.
        on_end: called once, when it is over.

    Attributes:
        because: why it ended, if it was not the server that closed it.
        ended: set when it is over.
    """

    def __init__(
        self,
        socket: ClientConnection,
        on_message: Callable[[bytes], Awaitable[None]],
        on_end: Callable[[], Awaitable[None]],
    ) -> None:
        self.because = ""
        self.ended = asyncio.Event()
        self._socket = socket
        self._on_message = on_message
        self._on_end = on_end
        self._heard_s = time.monotonic()
        self._tasks = [asyncio.create_task(self._read(), name="client read")]

    @property
    def close_code(self) -> int | None:
        """The close code; None while the connection stands, or when it broke."""
        return self._socket.close_code

    @property
    def may_return(self) -> bool:
        """Whether the close code leaves the door open: docs/protocol.md has the table."""
        code = self.close_code
        return code is None or (code not in _DO_NOT_RETURN and code < 4500)

    def start_heartbeat(self, interval_s: float, ping: Callable[[], bytes]) -> None:
        """Says something every interval, and closes when nothing comes back: the deadline of all reading."""
        self._tasks.append(asyncio.create_task(self._beat(interval_s, ping), name="client heartbeat"))

    async def send(self, data: bytes) -> None:
        """Sends a message.

        Raises:
            Disconnected: the connection is lost, or takes nothing any more.
        """
        try:
            async with asyncio.timeout(SEND_S_MAX):
                await self._socket.send(data)
        except ConnectionClosed as error:
            raise Disconnected(self.reason) from error
        except TimeoutError as error:
            self.because = f"the server took nothing for {SEND_S_MAX:g} s"
            await self._socket.close(CloseCode.GOING_AWAY)
            raise Disconnected(self.reason) from error

    async def close(self, code: CloseCode = CloseCode.NORMAL_CLOSURE) -> None:
        """Close the connection, in at most CLOSE_S_MAX. Idempotent.

        Args:
            code: 1000 ends the session at the server; any other code leaves it to be resumed.
        """
        for task in self._tasks[1:]:
            task.cancel()
        await self._socket.close(code)  # after it the reading task ends
        await asyncio.wait(self._tasks)  # unlike awaiting each, lets a cancellation of ours through
        for task in self._tasks:
            if not task.cancelled():
                task.result()

    def abort(self) -> None:
        """Drops the connection without a word, as a network does."""
        self._socket.transport.abort()

    @property
    def reason(self) -> str:
        """Why it ended, in a sentence."""
        return f"the connection is lost: {self.because or f'close code {self.close_code}'}"

    async def _read(self) -> None:
        try:
            async for data in self._socket:
                self._heard_s = time.monotonic()
                if isinstance(data, bytes):
                    await self._on_message(data)
        except (ConnectionClosed, ClientError):
            pass  # told below: every waiter sees that the connection is lost
        except MalformedMessage as error:
            self.because = f"the server sent what is no message: {error}"
            await self._socket.close(CloseCode.PROTOCOL_ERROR, "malformed message")
        finally:
            await self._socket.close(CloseCode.GOING_AWAY)
            self.ended.set()
            await self._on_end()

    async def _beat(self, interval_s: float, ping: Callable[[], bytes]) -> None:
        silent_s_max = SILENT_INTERVALS_MAX * interval_s
        with suppress(Disconnected):
            while time.monotonic() - self._heard_s <= silent_s_max:
                await self.send(ping())
                await asyncio.sleep(interval_s)
            self.because = f"the server has been silent for {silent_s_max:g} s"
            await self._socket.close(CloseCode.GOING_AWAY)
