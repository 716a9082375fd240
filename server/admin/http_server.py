"""The HTTP server of the operations port, for operators and their tools; players must not reach it.

/livez, /readyz   whether the shard is alive, and whether it accepts players: probes for Kubernetes.
                  /readyz?exclude=mongo ignores a store that has stopped answering
/metrics          metrics in Prometheus's text format
/v1/...           the admin API, which requires a token: server/admin/api.py
/console/         the console: static files that call the admin API
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from tickwire.server.admin.api import AdminApi
from tickwire.server.errors import ConfigError, listen_error
from tickwire.server.http.security_headers import security_headers
from tickwire.server.observability.health import Health

STOP_S_MAX = 2.0
BODY_BYTES_MAX = 256 * 1024
_HEADERS = security_headers()


class OperationsServer:
    """Serves the operations port.

    Args:
        scrape: returns the metrics in Prometheus's text format.
        health: the state that /livez and /readyz report.
        admin: the admin API; None to serve none.
        console: the folder of the console's files; empty to serve none.

    Raises:
        ConfigError: the folder has no index.html.
    """

    def __init__(
        self, scrape: Callable[[], bytes], health: Health, admin: AdminApi | None = None, console: str = ""
    ) -> None:
        self._scrape = scrape
        self._health = health
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.on_response_prepare.append(_add_headers)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        if admin is not None:
            admin.add_to(app)
        if console:
            self._add_console(app, Path(console))
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_S_MAX)
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Start listening.

        Raises:
            ConfigError: the address is in use, or this machine does not have it.
        """
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise listen_error("operations", host, port, error) from error
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening. Idempotent."""
        await self._runner.cleanup()

    def _add_console(self, app: web.Application, folder: Path) -> None:
        check_console(str(folder))

        async def index(request: web.Request) -> web.FileResponse:
            return web.FileResponse(folder / "index.html")

        async def to_index(request: web.Request) -> web.Response:
            raise web.HTTPFound("/console/")

        app.router.add_get("/console", to_index)
        app.router.add_get("/console/", index)
        app.router.add_static("/console/", folder)

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self._scrape(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _livez(self, request: web.Request) -> web.Response:
        failures = self._health.failures
        if failures:
            return web.json_response({"alive": False, "reasons": failures}, status=503)
        return web.Response(text="alive\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        excluded = request.query.getall("exclude", [])
        reasons = self._health.reasons_without(excluded)
        response: dict[str, object] = {"ready": not reasons, "reasons": reasons}
        if excluded:
            all_reasons = self._health.reasons
            response["excluded"] = {name: all_reasons[name] for name in all_reasons.keys() - reasons}
        return web.json_response(response, status=503 if reasons else 200)


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
    response.headers.setdefault("Cache-Control", "no-cache" if request.path.startswith("/console") else "no-store")
    response.headers["Server"] = "tickwire"  # aiohttp's default has the versions of aiohttp and Python


def check_console(folder: str) -> None:
    """Check that a folder has the console's files; an empty path means that no console is served.

    Raises:
        ConfigError: the folder has no index.html.
    """
    if folder and not (Path(folder) / "index.html").is_file():
        raise ConfigError(f"operations.console: must be a directory with an index.html; got {folder}")
