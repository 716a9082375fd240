"""Runs an ASGI application with uvicorn, inside the event loop of the process.

The process keeps its own signal handlers and its own logging; uvicorn is started and stopped as any other part.
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from litestar.types import ASGIApp

from tickwire.server.errors import ConfigError, listen_error
from tickwire.server.http.connection import ConnectionLimits, create_protocol

BACKLOG = 1024
KEEP_ALIVE_S = 75
"""How long a connection without a request stays open: longer than the idle timeouts of common load balancers, so that
they close connections first and never send a request into a closed one."""


_DEFAULT_LIMITS = ConnectionLimits()


class HttpServer:
    """Serves one application at one address.

    Args:
        app: the application.
        section: the section of the settings with the address, for errors.
        tls: the TLS context; None to serve plain HTTP.
        limits: the limits of connections.

    Attributes:
        port: the port that it listens on, once started.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        section: str,
        tls: ssl.SSLContext | None = None,
        limits: ConnectionLimits = _DEFAULT_LIMITS,
    ) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # mistakes of clients are not logged
        self.port = 0
        self._section = section
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        config.load()
        config.http_protocol_class = create_protocol(limits)  # type: ignore[assignment]  # uvicorn only calls it
        config.ssl = tls
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> None:
        """Start listening; port 0 chooses a free port.

        Raises:
            ConfigError: the address is in use, or this machine does not have it.
        """
        listener = await self._listen(host, port)
        self.port = int(listener.getsockname()[1])
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name=f"{self._section} HTTP server")
        while not self._server.started:
            if self._task.done():
                self._task.result()
                raise ConfigError(f"{self._section}: the HTTP server has ended at its start")
            await asyncio.sleep(0)

    async def stop(self, grace_s: float = 0.0) -> None:
        """Stop listening, finish the requests in flight for at most `grace_s`, and close all connections.

        Idempotent.
        """
        if self._task is None:
            return
        self._server.config.timeout_graceful_shutdown = math.ceil(grace_s)
        self._server.should_exit = True
        task, self._task = self._task, None
        await task

    async def _listen(self, host: str, port: int) -> socket.socket:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return socket.create_server(found[0][4][:2], family=found[0][0], backlog=BACKLOG)
        except OSError as error:
            raise listen_error(self._section, host, port, error) from error


class _Server(uvicorn.Server):
    """Leaves the signals to the process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
