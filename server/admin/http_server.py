"""The HTTP server of the operations port, for operators and their tools; players must not reach it.

/livez, /readyz   whether the shard is alive, and whether it accepts players: probes for Kubernetes.
                  /readyz?exclude=mongo ignores a store that has stopped answering
/metrics          metrics in Prometheus's text format
/v1/...           the admin API, which requires a token: server/admin/api.py
/console/         the console: static files that call the admin API
"""

from __future__ import annotations

from collections.abc import Callable

from tickwire.server.admin.api import EXCEPTION_HANDLERS, AdminApi
from tickwire.server.admin.console import check_console, create_console
from tickwire.server.admin.probes import create_probes
from tickwire.server.http.application import HttpOptions, HttpRoutes, create_application
from tickwire.server.http.http_server import HttpServer
from tickwire.server.observability.health import Health

STOP_S_MAX = 2.0
BODY_BYTES_MAX = 256 * 1024
REQUEST_S_MAX = 120.0
"""Long enough for the download of a recording."""


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
        check_console(console)
        routes = [HttpRoutes(handlers=create_probes(scrape, health))]
        if admin is not None:
            routes.append(admin.routes)
        if console:
            routes.append(HttpRoutes(handlers=create_console(console)))
        options = HttpOptions(
            title="Tickwire admin API",
            body_bytes_max=BODY_BYTES_MAX,
            bearer="the token of an operator",
            request_timeout_s=REQUEST_S_MAX,
            is_log_quiet=True,
            exception_handlers=EXCEPTION_HANDLERS,
        )
        app = create_application(options, routes)
        self._server = HttpServer(app if admin is None else admin.authenticated(app), section="operations")

    @property
    def port(self) -> int:
        """The port that it listens on, once started."""
        return self._server.port

    async def start(self, host: str, port: int) -> None:
        """Start listening.

        Raises:
            ConfigError: the address is in use, or this machine does not have it.
        """
        await self._server.start(host, port)

    async def stop(self) -> None:
        """Stop listening. Idempotent."""
        await self._server.stop(STOP_S_MAX)
