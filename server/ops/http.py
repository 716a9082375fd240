"""The operations port: /metrics, /livez, /readyz, rooms and queues. For operators and their tools, never for players.

/rooms, /rooms/ID/bytes             the rooms of this shard, and what one's fields cost
/queues, /queues/MODE               how the queues stand, at all shards
/queues/MODE/players/PLAYER         why a player waits: which rule keeps it, and what would match it
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from server.errors import ConfigError, Unavailable
from server.ops.health import Health

STOP_S_MAX = 2.0


class QueueViews(Protocol):
    """How the queues stand. Raises Unavailable when Redis does not answer."""

    @property
    def modes(self) -> Sequence[str]:
        """All modes, by name."""
        ...

    async def view(self, mode: str) -> dict[str, Any] | None:
        """One mode's queue; None when there is no such mode."""
        ...

    async def explain(self, mode: str, player_id: str) -> dict[str, Any] | None:
        """Why a player waits; None when it does not, or there is no such mode."""
        ...


class OperationsServer:
    """An HTTP server.

    Args:
        scrape: gives the metrics in Prometheus's text format.
        health: what /readyz tells.
        rooms: gives the rooms that are here.
        bytes_of: gives what a room's fields cost; None when there is no such room.
        queues: gives how the queues stand; None where there are none.
    """

    def __init__(
        self,
        scrape: Callable[[], bytes],
        health: Health,
        rooms: Callable[[], list[dict[str, Any]]] = list,
        bytes_of: Callable[[str], dict[str, Any] | None] = lambda room_id: None,
        queues: QueueViews | None = None,
    ) -> None:
        self._scrape = scrape
        self._health = health
        self._rooms = rooms
        self._bytes_of = bytes_of
        self._queues = queues
        app = web.Application(client_max_size=1024)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/rooms", self._list_rooms)
        app.router.add_get("/rooms/{room_id}/bytes", self._room_bytes)
        app.router.add_get("/queues", self._list_queues)
        app.router.add_get("/queues/{mode}", self._queue)
        app.router.add_get("/queues/{mode}/players/{player_id}", self._explain)
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
            return _not_found("there is no such room on this shard")
        return web.json_response(report)

    async def _list_queues(self, request: web.Request) -> web.Response:
        return web.json_response(list(self._queues.modes) if self._queues else [])

    async def _queue(self, request: web.Request) -> web.Response:
        if self._queues is None:
            return _not_found("there are no queues here")
        return await _answer(self._queues.view(request.match_info["mode"]), "there is no such mode")

    async def _explain(self, request: web.Request) -> web.Response:
        if self._queues is None:
            return _not_found("there are no queues here")
        mode, player_id = request.match_info["mode"], request.match_info["player_id"]
        return await _answer(self._queues.explain(mode, player_id), "the player does not wait in this queue")


async def _answer(found: Awaitable[dict[str, Any] | None], if_none: str) -> web.Response:
    try:
        answer = await found
    except Unavailable as error:
        return web.json_response({"error": str(error)}, status=503)
    return _not_found(if_none) if answer is None else web.json_response(answer)


def _not_found(words: str) -> web.Response:
    return web.json_response({"error": words}, status=404)
