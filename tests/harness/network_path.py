"""A network path between a client and a server that a test can hold up or let die. TCP, in both directions."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit


class NetworkPath:
    """A TCP proxy in front of one server.

    Args:
        url: the address of the server.

    Attributes:
        connections: the number of connections so far.
    """

    def __init__(self, url: str) -> None:
        self.connections = 0
        self._target_port = urlsplit(url).port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._is_dead: asyncio.Event = asyncio.Event()

    @property
    def url(self) -> str:
        """The address that clients connect to."""
        assert self._server is not None
        return f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def hold(self) -> None:
        """Hold all data back, in both directions, until `release`."""
        self._flows.clear()

    def release(self) -> None:
        """Deliver all data that was held back."""
        self._flows.set()

    def die(self) -> None:
        """Drop all data of the open connections without closing them. New connections work."""
        self._is_dead.set()
        self._is_dead = asyncio.Event()

    async def __aenter__(self) -> NetworkPath:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(OSError):
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
            for source, target in ((reader, target_writer), (target_reader, writer)):
                task = asyncio.create_task(self._carry(source, target, self._is_dead))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _carry(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, is_dead: asyncio.Event
    ) -> None:
        try:
            while data := await source.read(65536):
                await self._flows.wait()
                if not is_dead.is_set():
                    target.write(data)
                    await target.drain()
        except ConnectionError:
            pass  # the other end closed the connection
        if is_dead.is_set():
            await asyncio.Event().wait()  # without closing either side
        target.close()
