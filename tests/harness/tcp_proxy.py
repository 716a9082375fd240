"""A TCP proxy with the faults of a network: delays, stalls, cuts, and connections that die without a close."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress

CHUNK_BYTES = 64 * 1024


class TcpProxy:
    """Forwards connections to a port of this machine. Use it as an async context manager.

    Args:
        target_port: where connections are forwarded to.
        tls: the context with which clients connect; None: plain TCP.

    Attributes:
        target_port: the target of new connections; may be changed at any time.
        delay_s: the delay of every response; may be changed at any time.
        connections: the number of connections that were accepted.
    """

    def __init__(self, target_port: int, tls: ssl.SSLContext | None = None) -> None:
        self.target_port = target_port
        self.delay_s = 0.0
        self.connections = 0
        self._tls = tls
        self._dead: set[int] = set()
        self._ends_stalled = False
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
        self._ends_stalled = False
        self._may_pass.clear()

    def deliver(self) -> None:
        """Deliver everything that was held back, and forward again."""
        self._may_pass.set()

    def reconnect(self) -> None:
        """End the connections of which bytes are held back, and forward new ones."""
        self._ends_stalled = True
        self._may_pass.set()

    def drop_silently(self) -> None:
        """Drop everything on the connections that exist, their closes too. New connections work."""
        self._dead.update(range(1, self.connections + 1))

    async def __aenter__(self) -> TcpProxy:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        await self._may_pass.wait()  # a stalled connection reaches the target of the time at which it passes
        there, back = await asyncio.open_connection("127.0.0.1", self.target_port)
        for source, sink, is_response in ((reader, back, False), (there, writer, True)):
            work = self._forward(number, source, sink, is_response=is_response)
            task = asyncio.create_task(work, name=f"proxy {number}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(
        self, number: int, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_response: bool
    ) -> None:
        with suppress(ConnectionError, ssl.SSLError):  # the other end has closed the connection
            while data := await source.read(CHUNK_BYTES):
                if not self._may_pass.is_set():
                    await self._may_pass.wait()
                    if self._ends_stalled:
                        break
                if is_response and self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if number not in self._dead:
                    sink.write(data)
                    await sink.drain()
        if number not in self._dead:
            sink.close()
