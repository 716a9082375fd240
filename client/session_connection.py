"""Keeps a session connected over successive sockets, as planned by `tickwire.client.reconnect`.

connecting <--another shard-- connected <-> reconnecting
     └----------------------------└--------------└---> closed

One task does all of it, so that a cancelled caller leaves no transition incomplete.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from ssl import SSLContext

import msgspec

from tickwire.client.connection import ClientSocket, open_socket
from tickwire.client.connection_state import ConnectionState
from tickwire.client.core import ClientCore
from tickwire.client.errors import ClientError, ConnectFailed, Disconnected, Refused
from tickwire.client.heartbeat import ping_interval_s
from tickwire.client.reconnect import HELLO_S_MAX, ReconnectPlan, advice_ms
from tickwire.schemas.messages import Error, Goodbye, Welcome

log = logging.getLogger("tickwire.client")

TokenSource = Callable[[], Awaitable[str]]


class ConnectionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a client's connections.

    Args:
        url: the address of the first connection.
        token: the player's token, or a function that returns a token for every connection.
        build: the game's version.
        tls: the TLS settings for wss; None: the system's trusted certificates.
        reconnect_s: how long the client tries to reconnect; 0 disables reconnecting.
    """

    url: str
    token: str | TokenSource = ""
    build: str = ""
    tls: SSLContext | None = None
    reconnect_s: float = 60.0


class SessionConnection:
    """Connects, sends Hello, and reconnects when the connection is lost.

    Args:
        options: the options of the connections.
        core: encodes Hello and the messages after Welcome.
        random: returns random numbers from 0 to 1; spreads the attempts.
        on_message: called with each binary message.
        on_change: called after each change of `state`.

    Attributes:
        state: the state of the connection.
        socket: the newest socket.
        welcome: the server's answer to Hello on it; None before the answer, an Error if the server refused.
        goodbye: the server's Goodbye on it, if it sent one.
        close_code: the close code of the last connection; None while it is open.
        connections: the number of connections so far.
    """

    def __init__(
        self,
        options: ConnectionOptions,
        *,
        core: ClientCore,
        random: Callable[[], float],
        on_message: Callable[[bytes], Awaitable[None]],
        on_change: Callable[[], Awaitable[None]],
    ) -> None:
        self.state = ConnectionState.CLOSED
        self.socket: ClientSocket | None = None
        self.welcome: Welcome | Error | None = None
        self.goodbye: Goodbye | None = None
        self.close_code: int | None = None
        self.connections = 0
        self._options = options
        self._core = core
        self._on_message = on_message
        self._on_change = on_change
        self._plan = ReconnectPlan(options.url, reconnect_ms=options.reconnect_s * 1000, random=random)
        self._answered = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._refusal: Error | None = None
        self._close_reason = "never connected"

    @property
    def url(self) -> str:
        """The address of the session's shard."""
        return self._plan.url

    @property
    def has_resumed(self) -> bool:
        """Whether the newest connection resumed the previous session."""
        return isinstance(self.welcome, Welcome) and self.welcome.generation > 1

    @property
    def close_reason(self) -> str:
        """The reason why the last connection ended, as text."""
        return self._close_reason

    async def open(self) -> None:
        """Connect for the first time.

        Raises:
            Disconnected, Refused: the client cannot connect.
        """
        self.state = ConnectionState.CONNECTING
        try:
            socket = await self._connect(self.url)
        except BaseException:
            self.state = ConnectionState.CLOSED
            raise
        self._task = asyncio.create_task(self._run(socket), name="client connection")

    async def close(self, reason: str) -> None:
        """End the session and the connection. Idempotent."""
        try:
            await self._stop()
            if self.socket is not None:
                await self.socket.close(self._core.end_session())
                self.close_code = self.socket.close_code
        finally:
            self._close_reason = reason
            await self._set_state(ConnectionState.CLOSED)

    async def _stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def send(self, data: bytes = b"") -> bool:
        """Send the core's own messages, and then a message.

        Args:
            data: the message; empty: only the core's own messages.

        Returns:
            Whether it was sent; False while reconnecting.

        Raises:
            Disconnected: the connection is closed for good.
        """
        if self.state is ConnectionState.CLOSED or self.socket is None:
            raise self.disconnected()
        if not isinstance(self.welcome, Welcome):
            return False
        try:
            await self._flush(self.socket)
            if data:
                await self.socket.send(data)
        except Disconnected:
            return False
        return True

    async def _flush(self, socket: ClientSocket) -> None:
        while self._core.outgoing:
            await socket.send(self._core.outgoing.popleft())

    def redirected(self, url: str) -> None:
        """Record that the session moved to another shard. The server closes, and the next connection goes there."""
        if self._is_downgrade(url):
            self._close_reason = f"redirected to {url}: the token is not sent over a plain connection"
            return
        self._plan.redirected(url)

    def visit(self, url: str) -> None:
        """End this session and begin a new one on another shard, or at the initial URL if that shard does not answer.

        `connections` increases when the new session is open; `url` is then its address.

        Raises:
            ClientError: the token would be sent over a plain connection.
            Disconnected: the connection is closed for good.
        """
        if self._is_downgrade(url):
            raise ClientError(f"redirected to {url}: the token is not sent over a plain connection")
        if self.state is ConnectionState.CLOSED or self.socket is None:
            raise self.disconnected()
        self.state, self.welcome = ConnectionState.CONNECTING, None
        self._task = asyncio.create_task(
            self._run_on_other_shard(url, self._task, self.socket), name="client connection"
        )

    def _is_downgrade(self, url: str) -> bool:
        return self.url.startswith("wss:") and not url.startswith("wss:")

    def record_answer(self, answer: Welcome | Error) -> None:
        """Record the server's answer to Hello, or a later Error."""
        if self.welcome is None:
            self.welcome = answer
            self._answered.set()
        elif isinstance(answer, Error):
            self._refusal = answer

    def disconnected(self) -> Disconnected:
        """Return the reason of the last close as an exception."""
        return Disconnected(f"the connection is lost: {self._close_reason}")

    # -- one connection -------------------------------------------------------------------------------------

    async def _connect(self, url: str) -> ClientSocket:
        """Connect and open the session.

        Raises:
            Disconnected, Refused: as `open`.
        """
        token = await self._get_token()
        self.welcome = None
        self._answered.clear()
        socket = await open_socket(url, tls=self._options.tls, on_message=self._on_message, on_end=self._socket_ended)
        self.goodbye = self.close_code = self._refusal = None
        self.socket = socket
        try:
            welcome = await self._say_hello(socket, token)
        except BaseException:
            await socket.drop()  # a close with 1000 would end the session that the next attempt resumes
            raise
        interval_s = ping_interval_s(welcome.heartbeat_interval_ms)
        socket.start_heartbeat(interval_s, lambda: self._core.ping(time.monotonic_ns() // 1000))
        self._plan.connected(url, _now_ms())
        self.connections += 1
        await self._set_state(ConnectionState.CONNECTED)
        return socket

    async def _get_token(self) -> str:
        """Return the player's token.

        Raises:
            Disconnected: the token function raised or took too long. It is called again at the next attempt.
        """
        token = self._options.token
        if isinstance(token, str):
            return token
        try:
            async with asyncio.timeout(HELLO_S_MAX):
                return await token()
        except Exception as error:  # any exception of the game's function; it stays attached as the cause
            raise Disconnected(f"the token source raised {type(error).__name__}") from error

    async def _say_hello(self, socket: ClientSocket, token: str) -> Welcome:
        await socket.send(self._core.hello(build=self._options.build, token=token))
        try:
            async with asyncio.timeout(HELLO_S_MAX):  # wait_for may swallow a cancellation, before Python 3.12
                await self._answered.wait()
        except TimeoutError as error:
            raise Disconnected("the server did not answer the Hello") from error
        if isinstance(self.welcome, Error):
            raise Refused(self.welcome)
        if self.welcome is None:
            raise Disconnected(socket.reason, may_return=not socket.is_final(self.goodbye))
        await self._flush(socket)
        return self.welcome

    async def _socket_ended(self) -> None:
        self._answered.set()

    # -- reconnecting ---------------------------------------------------------------------------------------

    async def _run(self, socket: ClientSocket) -> None:
        """Keep the client connected while possible. Runs as a task; a caller that cancels it sets the state."""
        try:
            while True:
                await socket.ended.wait()
                self.close_code = socket.close_code
                await socket.drop()
                if not self._may_reconnect(socket):
                    break
                await self._set_state(ConnectionState.RECONNECTING)
                socket = await self._reconnect()
        except (Disconnected, Refused) as error:
            self._close_reason = str(error)
        except Exception as error:
            log.exception("the client's connection task failed")
            self._close_reason = f"an internal error: {type(error).__name__}"
        await self._set_state(ConnectionState.CLOSED)

    async def _run_on_other_shard(self, url: str, before: asyncio.Task[None] | None, socket: ClientSocket) -> None:
        """End the session, connect to `url` or to the initial URL, and continue as `_run`. Runs as a task."""
        await self._on_change()
        if before is not None:
            before.cancel()
            await asyncio.wait([before])
        await socket.close(self._core.end_session())
        self._core.discard_session()
        self._plan.visit(url, _now_ms())
        try:
            socket = await self._reconnect(visited_url=url)
        except (Disconnected, Refused) as error:
            self._close_reason = str(error)
            await self._set_state(ConnectionState.CLOSED)
            return
        await self._run(socket)

    def _may_reconnect(self, socket: ClientSocket) -> bool:
        self._close_reason = socket.close_reason or f"close code {socket.close_code}"
        if not self._options.reconnect_s or socket.is_final(self.goodbye):
            return False
        self._plan.lost(_now_ms(), advice_ms(socket.close_code, self.goodbye, self._refusal))
        return True

    async def _reconnect(self, *, visited_url: str = "") -> ClientSocket:
        """Connect, with as many attempts as the plan allows.

        Args:
            visited_url: errors at this address are never final, because the initial URL remains.

        Raises:
            Disconnected, Refused: an error was final, or the time is over.
        """
        while (attempt := self._plan.next(_now_ms())) is not None:
            await asyncio.sleep(attempt.pause_ms / 1000)
            try:
                return await self._connect(attempt.url)
            except ConnectFailed as error:  # never final: a proxy may refuse the handshake while it is reloaded
                self._close_reason = str(error)
                self._plan.failed(int(error.retry_after_s * 1000))
            except Disconnected as error:
                self._close_reason = str(error)
                if not error.may_return and attempt.url != visited_url:
                    raise
                self._plan.failed(int(error.retry_after_s * 1000))
            except Refused as error:
                self._close_reason = str(error)
                if not error.error.retryable and attempt.url != visited_url:
                    raise
                self._plan.failed(error.error.retry_after_ms, was_refused=True)
        raise Disconnected(f"could not reconnect within {self._options.reconnect_s:g} s: {self._close_reason}")

    async def _set_state(self, state: ConnectionState) -> None:
        self.state = state
        await self._on_change()


def _now_ms() -> float:
    return time.monotonic() * 1000
