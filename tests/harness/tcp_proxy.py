"""A TCP proxy that a test can make silent: bytes are held back or dropped, and nothing is closed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType

CHUNK_BYTES = 64 * 1024


class TcpProxy:
    """Forwards connections to a port of this machine. Use it as an async context manager.

    Args:
        target_port: where connections are forwarded to.

    Attributes:
        connections: the number of connections that were accepted.
    """

    def __init__(self, target_port: int) -> None:
        self.connections = 0
        self._target_port = target_port
        self._dead: set[int] = set()
        self._may_pass = asyncio.Event()
        self._may_pass.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def stall(self) -> None:
        """Hold everything back, on connections that exist and on new ones."""
        self._may_pass.clear()

    def deliver(self) -> None:
        """Deliver everything that was held back, and forward again."""
        self._may_pass.set()

    def drop_silently(self) -> None:
        """Drop everything on the connections that exist, their closes too. New connections work."""
        self._dead.update(range(1, self.connections + 1))

    async def __aenter__(self) -> TcpProxy:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        there, back = await asyncio.open_connection("127.0.0.1", self._target_port)
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._forward(number, source, sink), name=f"proxy {number}")
            self._tasks.add(task)

    async def _forward(self, number: int, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await source.read(CHUNK_BYTES):
                await self._may_pass.wait()
                if number not in self._dead:
                    sink.write(data)
                    await sink.drain()
        if number not in self._dead:
            sink.close()
