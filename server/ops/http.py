"""The operations port: /metrics, /livez, /readyz, and the rooms. For operators and their tools, never for players."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from server.errors import ConfigError
from server.ops.health import Health

STOP_S_MAX = 2.0


class OperationsServer:
    """An HTTP server.

    Args:
        scrape: gives the metrics in Prometheus's text format.
        health: what /readyz tells.
        rooms: gives the rooms that are here.
        bytes_of: gives what a room's fields cost; None when there is no such room.
    """

    def __init__(
        self,
        scrape: Callable[[], bytes],
        health: Health,
        rooms: Callable[[], list[dict[str, Any]]] = list,
        bytes_of: Callable[[str], dict[str, Any] | None] = lambda room_id: None,
    ) -> None:
        self._scrape = scrape
        self._health = health
        self._rooms = rooms
        self._bytes_of = bytes_of
        app = web.Application(client_max_size=1024)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/rooms", self._list_rooms)
        app.router.add_get("/rooms/{room_id}/bytes", self._room_bytes)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_S_MAX)
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Begins to answer.

        Raises:
            ConfigError: the address is in use or cannot be had.
        """
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigError(f"cannot listen on {host}:{port} (operations): {error.strerror or error}") from error
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Answers no more."""
        await self._runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self._scrape(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _livez(self, request: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        reasons = self._health.reasons
        return web.json_response({"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200)

    async def _list_rooms(self, request: web.Request) -> web.Response:
        return web.json_response(self._rooms())

    async def _room_bytes(self, request: web.Request) -> web.Response:
        report = self._bytes_of(request.match_info["room_id"])
        if report is None:
            return web.json_response({"error": "there is no such room on this shard"}, status=404)
        return web.json_response(report)
