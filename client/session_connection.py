"""Keeps a session connected: one link after the other, as `tickwire.client.reconnect` plans it.

connecting <--another shard-- connected <-> reconnecting
     └----------------------------└--------------└---> closed

One task does all of it, so that a caller who is cancelled leaves nothing half done.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from collections.abc import Awaitable, Callable
from ssl import SSLContext

import msgspec

from tickwire.client.connection import ClientSocket, open_link
from tickwire.client.core import ClientCore
from tickwire.client.errors import ClientError, ConnectFailed, Disconnected, Refused
from tickwire.client.heartbeat import ping_interval_s
from tickwire.client.reconnect import HELLO_S_MAX, ReconnectPlan, advice_s
from tickwire.schemas.messages import Error, Goodbye, Welcome

log = logging.getLogger("tickwire.client")

TokenSource = Callable[[], Awaitable[str]]


class ConnectionState(enum.Enum):
    """Where a client's connection stands."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    CLOSED = "closed"


class ConnectionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a client connects.

    Args:
        url: where it begins.
        token: who the player is; a function is called at every connection.
        build: the game's version.
        tls: for wss; None: the system's own trust.
        reconnect_s: for how long it tries to reconnect; 0: never.
    """

    url: str
    token: str | TokenSource = ""
    build: str = ""
    tls: SSLContext | None = None
    reconnect_s: float = 60.0


class SessionConnection:
    """Connects, says Hello, and reconnects when the connection is lost.

    Args:
        options: how.
        core: encodes Hello, and what must be sent after Welcome.
        random: returns random numbers from 0 to 1; spreads the attempts.
        on_message: called with each binary message.
        on_change: called whenever `state` has changed.

    Attributes:
        state: where the connection stands.
        link: the newest connection.
        welcome: the server's answer to Hello on it; None before, an Error if it refused.
        goodbye: the server's last message on it, if there was one.
        close_code: of the last connection; None while it is open.
        connections: how many there were.
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
        self.link: ClientSocket | None = None
        self.welcome: Welcome | Error | None = None
        self.goodbye: Goodbye | None = None
        self.close_code: int | None = None
        self.connections = 0
        self._options = options
        self._core = core
        self._on_message = on_message
        self._on_change = on_change
        self._plan = ReconnectPlan(options.url, reconnect_s=options.reconnect_s, random=random)
        self._has_answer = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._refusal: Error | None = None
        self._lost_because = "never connected"

    @property
    def url(self) -> str:
        """Of the shard that the session is on."""
        return self._plan.url

    @property
    def has_resumed(self) -> bool:
        """Whether the newest connection has the session of the one before."""
        return isinstance(self.welcome, Welcome) and self.welcome.generation > 1

    @property
    def lost_because(self) -> str:
        """Why the connection was lost, in words."""
        return self._lost_because

    async def open(self) -> None:
        """Connect for the first time.

        Raises:
            Disconnected, Refused: it is not possible.
        """
        self.state = ConnectionState.CONNECTING
        try:
            link = await self._connect(self.url)
        except BaseException:
            self.state = ConnectionState.CLOSED
            raise
        self._task = asyncio.create_task(self._run(link), name="client connection")

    async def close(self, because: str) -> None:
        """End the session and the connection. Idempotent."""
        try:
            await self._stop()
            if self.link is not None:
                await self.link.close(self._core.end_session())
                self.close_code = self.link.close_code
        finally:
            self._lost_because = because
            await self._set_state(ConnectionState.CLOSED)

    async def _stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def send(self, data: bytes = b"") -> bool:
        """Send what the core has to send by itself, and then a message.

        Args:
            data: the message; empty: none.

        Returns:
            Whether it was sent: while reconnecting it is not.

        Raises:
            Disconnected: the connection is lost for good.
        """
        if self.state is ConnectionState.CLOSED or self.link is None:
            raise self.disconnected()
        if not isinstance(self.welcome, Welcome):
            return False
        try:
            await self._flush(self.link)
            if data:
                await self.link.send(data)
        except Disconnected:
            return False
        return True

    async def _flush(self, link: ClientSocket) -> None:
        while self._core.outgoing:
            await link.send(self._core.outgoing.popleft())

    def moved(self, url: str) -> None:
        """Record that the session continues at another shard. The server closes; the next connection goes there."""
        if self._is_downgrade(url):
            self._lost_because = f"redirected to {url}: the token is not sent over a plain connection"
            return
        self._plan.redirected(url)

    def visit(self, url: str) -> None:
        """End this session and begin another on another shard; where the client began, if that shard does not answer.

        `connections` says when there is another session, and `url` where.

        Raises:
            ClientError: the token would be sent over a plain connection.
            Disconnected: the connection is lost for good.
        """
        if self._is_downgrade(url):
            raise ClientError(f"redirected to {url}: the token is not sent over a plain connection")
        if self.state is ConnectionState.CLOSED or self.link is None:
            raise self.disconnected()
        self.state, self.welcome = ConnectionState.CONNECTING, None
        self._task = asyncio.create_task(self._run_elsewhere(url, self._task, self.link), name="client connection")

    def _is_downgrade(self, url: str) -> bool:
        return self.url.startswith("wss:") and not url.startswith("wss:")

    def answered(self, answer: Welcome | Error) -> None:
        """Record the server's answer to Hello, or a refusal at any time."""
        if self.welcome is None:
            self.welcome = answer
            self._has_answer.set()
        elif isinstance(answer, Error):
            self._refusal = answer

    def disconnected(self) -> Disconnected:
        """Return why there is no connection, as an error."""
        return Disconnected(f"the connection is lost: {self._lost_because}")

    # -- one connection -------------------------------------------------------------------------------------

    async def _connect(self, url: str) -> ClientSocket:
        """Connect and say Hello; the session is there when this returns.

        Raises:
            Disconnected, Refused: as `open`.
        """
        token = await self._get_token()
        self.welcome = None
        self._has_answer.clear()
        link = await open_link(url, tls=self._options.tls, on_message=self._on_message, on_end=self._link_ended)
        self.goodbye = self.close_code = self._refusal = None
        self.link = link
        try:
            welcome = await self._say_hello(link, token)
        except BaseException:
            await link.drop()  # a close with 1000 would end the session that the next attempt resumes
            raise
        interval_s = ping_interval_s(welcome.heartbeat_interval_ms)
        link.start_heartbeat(interval_s, lambda: self._core.ping(time.monotonic_ns() // 1000))
        self._plan.connected(url, time.monotonic())
        self.connections += 1
        await self._set_state(ConnectionState.CONNECTED)
        return link

    async def _get_token(self) -> str:
        """Return the player's token.

        Raises:
            Disconnected: the game's function has raised or takes too long; it is called again at the next attempt.
        """
        token = self._options.token
        if isinstance(token, str):
            return token
        try:
            async with asyncio.timeout(HELLO_S_MAX):
                return await token()
        except Exception as error:  # the game's code; what it raised stays attached
            raise Disconnected(f"the token source has raised {type(error).__name__}") from error

    async def _say_hello(self, link: ClientSocket, token: str) -> Welcome:
        await link.send(self._core.hello(build=self._options.build, token=token))
        try:
            async with asyncio.timeout(HELLO_S_MAX):  # wait_for may swallow a cancellation, before Python 3.12
                await self._has_answer.wait()
        except TimeoutError as error:
            raise Disconnected("the server did not answer the Hello") from error
        if isinstance(self.welcome, Error):
            raise Refused(self.welcome)
        if self.welcome is None:
            raise Disconnected(link.reason, may_return=not link.is_final(self.goodbye))
        await self._flush(link)
        return self.welcome

    async def _link_ended(self) -> None:
        self._has_answer.set()

    # -- the next one ---------------------------------------------------------------------------------------

    async def _run(self, link: ClientSocket) -> None:
        """The task that keeps the client connected, until that is not possible. Whoever cancels it sets the state."""
        try:
            while True:
                await link.ended.wait()
                self.close_code = link.close_code
                await link.drop()
                if not self._may_reconnect(link):
                    break
                await self._set_state(ConnectionState.RECONNECTING)
                link = await self._reconnect()
        except (Disconnected, Refused) as error:
            self._lost_because = str(error)
        except Exception as error:
            log.exception("the client's connection task has failed")
            self._lost_because = f"an internal error: {type(error).__name__}"
        await self._set_state(ConnectionState.CLOSED)

    async def _run_elsewhere(self, url: str, before: asyncio.Task[None] | None, link: ClientSocket) -> None:
        """The task after `visit`: ends what there was, connects to `url` or goes home, and goes on as `_run`."""
        await self._on_change()
        if before is not None:
            before.cancel()
            await asyncio.wait([before])
        await link.close(self._core.end_session())
        self._core.forget_session()
        self._plan.visit(url, time.monotonic())
        try:
            link = await self._reconnect(visited_url=url)
        except (Disconnected, Refused) as error:
            self._lost_because = str(error)
            await self._set_state(ConnectionState.CLOSED)
            return
        await self._run(link)

    def _may_reconnect(self, link: ClientSocket) -> bool:
        self._lost_because = link.because or f"close code {link.close_code}"
        if not self._options.reconnect_s or link.is_final(self.goodbye):
            return False
        self._plan.lost(time.monotonic(), advice_s(link.close_code, self.goodbye, self._refusal))
        return True

    async def _reconnect(self, *, visited_url: str = "") -> ClientSocket:
        """Try until there is a connection.

        Args:
            visited_url: nothing that happens there is final, for the client can go home.

        Raises:
            Disconnected, Refused: there can be none any more, or there was none in time.
        """
        while (attempt := self._plan.next(time.monotonic())) is not None:
            await asyncio.sleep(attempt.pause_s)
            try:
                return await self._connect(attempt.url)
            except ConnectFailed as error:  # never final: a front may refuse the handshake while it is reloaded
                self._lost_because = str(error)
                self._plan.failed(error.retry_after_s)
            except Disconnected as error:
                self._lost_because = str(error)
                if not error.may_return and attempt.url != visited_url:
                    raise
                self._plan.failed(error.retry_after_s)
            except Refused as error:
                self._lost_because = str(error)
                if not error.error.retryable and attempt.url != visited_url:
                    raise
                self._plan.failed(error.error.retry_after_ms / 1000, was_refused=True)
        raise Disconnected(f"could not reconnect within {self._options.reconnect_s:g} s: {self._lost_because}")

    async def _set_state(self, state: ConnectionState) -> None:
        self.state = state
        await self._on_change()
