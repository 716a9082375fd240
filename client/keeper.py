"""Keeps a session connected: one link after the other, with back-off, and as the server advises.

connecting -> connected <-> reconnecting
     └------------└--------------└---> closed
"""

from __future__ import annotations

import asyncio
import enum
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from ssl import SSLContext

from websockets.frames import CloseCode

from client.backoff import Backoff
from client.core import ClientCore
from client.errors import Disconnected, RefusedError
from client.link import Link, open_link
from schemas.messages import Error, Goodbye, Welcome

HELLO_S_MAX = 10.0
HEARTBEAT_S_MIN, HEARTBEAT_S_MAX = 0.1, 60.0
"""What the server asks for is kept within these: 0 would make a flood of it."""
ATTEMPTS_BEFORE_HOME = 2
"""A shard that does not answer so often may be gone: then every other attempt goes to where the client began."""

REDIRECTS_MAX = 5
"""A session that is sent on more often without a pause is sent around."""

TokenSource = Callable[[], Awaitable[str]]


class ConnectionState(enum.Enum):
    """Where a client's connection stands."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    CLOSED = "closed"


class Keeper:
    """Connects, says Hello, and comes back when the connection is lost.

    Args:
        url: where to begin.
        core: says Hello, and what must be sent after Welcome.
        token: who the player is; a function is asked at every connection.
        build: the game's version.
        tls: for wss.
        reconnect_s: for how long a lost connection is tried again; 0: never.
        chance: spreads the attempts.
        on_message: gets each binary message.
        on_change: called whenever `state` has changed.

    Attributes:
        state: where the connection stands.
        url: of the shard that the session is on.
        link: the newest connection.
        welcome: what the server said on it; None before, an Error if it refused.
        goodbye: what the server said before it closed.
        close_code: of the last connection; None while it stands, or when it broke.
        connections: how many there were.
    """

    def __init__(
        self,
        url: str,
        *,
        core: ClientCore,
        token: str | TokenSource,
        build: str,
        tls: SSLContext | None,
        reconnect_s: float,
        chance: random.Random,
        on_message: Callable[[bytes], Awaitable[None]],
        on_change: Callable[[], Awaitable[None]],
    ) -> None:
        self.state = ConnectionState.CLOSED
        self.url = url
        self.link: Link | None = None
        self.welcome: Welcome | Error | None = None
        self.goodbye: Goodbye | None = None
        self.close_code: int | None = None
        self.connections = 0
        self._home_url = url
        self._core = core
        self._token = token
        self._build = build
        self._tls = tls
        self._reconnect_s = reconnect_s
        self._chance = chance
        self._on_message = on_message
        self._on_change = on_change
        self._has_news = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None
        self._lost_because = "never connected"
        self._has_moved = False

    async def open(self) -> None:
        """Connects for the first time.

        Raises:
            Disconnected, RefusedError: it cannot be done.
        """
        self.state = ConnectionState.CONNECTING
        try:
            link = await self._connect(self.url)
        except BaseException:
            self.state = ConnectionState.CLOSED
            raise
        self._keeping = asyncio.create_task(self._keep(link), name="client connection")

    async def close(self, because: str) -> None:
        """Closes the connection, and comes back no more. Idempotent."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            await asyncio.wait([keeping])
        if self.link is not None:
            await self.link.close()
            self.close_code = self.link.close_code
        self._lost_because = because
        await self._set_state(ConnectionState.CLOSED)

    async def send(self, data: bytes) -> None:
        """Sends now; what is sent while reconnecting is lost, as it would be on a broken connection.

        Raises:
            Disconnected: the connection is lost for good.
        """
        if self.state is ConnectionState.CLOSED or self.link is None:
            raise self.disconnected()
        if isinstance(self.welcome, Welcome):  # from here on, not only when all that was unanswered is asked again
            with suppress(Disconnected):
                await self.link.send(data)

    def moved(self, url: str) -> None:
        """The session goes on at another shard: the server closes now, and the next connection goes there."""
        if self.url.startswith("wss:") and not url.startswith("wss:"):
            self._lost_because = f"redirected to {url}: the token is not sent over a plain connection"
            return
        self.url, self._has_moved = url, True

    def answered(self, answer: Welcome | Error) -> None:
        """The server has answered the Hello, or refused something before it did."""
        if self.welcome is None:
            self.welcome = answer
            self._has_news.set()

    def disconnected(self) -> Disconnected:
        """Why there is no connection, as an error."""
        return Disconnected(f"the connection is lost: {self._lost_because}")

    # -- one connection -------------------------------------------------------------------------------------

    async def _connect(self, url: str) -> Link:
        """Makes a connection and says Hello on it; the session is there when this returns.

        Raises:
            Disconnected, RefusedError: as `open`.
        """
        token = self._token if isinstance(self._token, str) else await self._token()
        self.welcome = None
        self._has_news.clear()
        link = await open_link(
            url, tls=self._tls, timeout_s=HELLO_S_MAX, on_message=self._on_message, on_end=self._link_ended
        )
        self.goodbye = self.close_code = None
        self.link = link
        try:
            welcome = await self._greet(link, token)
        except BaseException:
            await link.close(CloseCode.GOING_AWAY)  # the server may have the session on this connection already
            raise
        heartbeat_s = min(max(welcome.heartbeat_interval_ms / 1000, HEARTBEAT_S_MIN), HEARTBEAT_S_MAX)
        link.start_heartbeat(heartbeat_s, lambda: self._core.ping(time.monotonic_ns() // 1000))
        self.url = url
        self.connections += 1
        await self._set_state(ConnectionState.CONNECTED)
        return link

    async def _greet(self, link: Link, token: str) -> Welcome:
        await link.send(self._core.hello(build=self._build, token=token))
        try:
            async with asyncio.timeout(HELLO_S_MAX):  # wait_for may swallow a cancellation, before Python 3.12
                await self._has_news.wait()
        except TimeoutError as error:
            raise Disconnected("the server did not answer the Hello") from error
        if isinstance(self.welcome, Error):
            raise RefusedError(self.welcome)
        if self.welcome is None:
            raise Disconnected(link.reason, may_return=link.may_return)
        while self._core.outgoing:
            await link.send(self._core.outgoing.popleft())
        return self.welcome

    async def _link_ended(self) -> None:
        self._has_news.set()

    # -- the next one ---------------------------------------------------------------------------------------

    async def _keep(self, link: Link) -> None:
        """The task that keeps the client connected, until it is closed or cannot be."""
        try:
            while True:
                await link.ended.wait()
                self.close_code = link.close_code
                self._lost_because = link.because or f"close code {link.close_code}"
                await link.close(CloseCode.GOING_AWAY)
                if not self._may_return(link):
                    return
                await self._set_state(ConnectionState.RECONNECTING)
                link = await self._come_back()
        except (Disconnected, RefusedError) as error:
            self._lost_because = str(error)
        finally:
            await self._set_state(ConnectionState.CLOSED)

    def _may_return(self, link: Link) -> bool:
        if not self._reconnect_s or (self.goodbye is not None and not self.goodbye.come_back):
            return False
        return link.may_return

    async def _come_back(self) -> Link:
        """Tries until a connection stands.

        Raises:
            Disconnected, RefusedError: it cannot be made again, or not in time.
        """
        deadline_s = time.monotonic() + self._reconnect_s
        backoff = Backoff(self._chance.random)
        advised_s = self.goodbye.retry_after_ms / 1000 if self.goodbye is not None else 0.0
        attempts = redirects = 0
        stays_home = False
        while True:
            pause_s = backoff.next_s(advised_s)
            if time.monotonic() + pause_s > deadline_s:
                raise Disconnected(f"could not come back within {self._reconnect_s:g} s: {self._lost_because}")
            await asyncio.sleep(pause_s)
            attempts += 1
            is_for_home = stays_home or (attempts > ATTEMPTS_BEFORE_HOME and attempts % 2 == 0)
            try:
                return await self._connect(self._home_url if is_for_home else self.url)
            except Disconnected as error:
                self._lost_because, advised_s = str(error), error.retry_after_s
                if self._has_moved and redirects < REDIRECTS_MAX:
                    attempts, redirects, backoff = 0, redirects + 1, Backoff(self._chance.random)
                    self._has_moved = stays_home = False
                    continue
                if not error.may_return and self.url == self._home_url:
                    raise
            except RefusedError as error:
                self._lost_because, advised_s = str(error), error.error.retry_after_ms / 1000
                stays_home = is_for_home  # it answers, and knows when to come: the shard that was there does not
                if not error.error.retryable:
                    raise

    async def _set_state(self, state: ConnectionState) -> None:
        self.state = state
        await self._on_change()
