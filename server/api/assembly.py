"""Wires the parts of the role `api`. A service joins it in `create_routes`.

A service needs no other change here: it gets the parts that it uses, and returns its handlers, the dependencies of
their parameters, and its background tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from litestar.types import ASGIApp

from tickwire.matchmaking.loop_timeout import LoopTimeout
from tickwire.matchmaking.redis_connection import RedisConnection
from tickwire.server import __version__
from tickwire.server.admin.http_server import OperationsServer
from tickwire.server.api.server_info import server_info_routes
from tickwire.server.assembly import create_redis_connection
from tickwire.server.config import Settings
from tickwire.server.edge.certificates import TlsCertificate
from tickwire.server.edge.origins import OriginPolicy
from tickwire.server.errors import ConfigError
from tickwire.server.http.application import HttpOptions, HttpRoutes, create_application
from tickwire.server.http.http_server import HttpServer
from tickwire.server.observability import logs
from tickwire.server.observability.health import Health
from tickwire.server.observability.metrics import Metrics
from tickwire.server.storage import CallSettings, MongoStore


class ApiContext(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What the services of the API share."""

    process_id: str
    settings: Settings
    health: Health
    metrics: Metrics
    redis: RedisConnection
    store: MongoStore


class ApiParts(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The parts of one process of the role; `tickwire.server.api.role.ApiRole` starts and stops them."""

    context: ApiContext
    app: ASGIApp
    certificate: TlsCertificate | None
    server: HttpServer
    operations: OperationsServer


def create_routes(context: ApiContext) -> Sequence[HttpRoutes]:
    """Return what each service adds to the API."""
    return (server_info_routes(context.settings.api.player_url),)


def build_api(settings: Settings, *, process_id: str) -> ApiParts:
    """Create all parts; nothing is started or connected.

    Raises:
        ConfigError: a setting cannot be used.
    """
    metrics = Metrics(__version__)
    context = ApiContext(
        process_id=process_id,
        settings=settings,
        health=Health(),
        metrics=metrics,
        redis=create_redis_connection(settings.redis, observe=metrics.observe_redis),
        store=MongoStore(
            settings.mongo.url,
            settings.mongo.database,
            calls=CallSettings(settings.mongo.deadline_s, LoopTimeout, metrics.observe_mongo),
        ),
    )
    app = create_application(_create_options(settings), create_routes(context))
    certificate = load_api_certificate(settings)
    return ApiParts(
        context=context,
        app=app,
        certificate=certificate,
        server=HttpServer(
            app,
            section="api",
            tls=None if certificate is None else certificate.context,
            connections_max=settings.api.connections_max,
        ),
        operations=OperationsServer(_create_scrape(context), context.health),
    )


def load_api_certificate(settings: Settings) -> TlsCertificate | None:
    """Load the TLS certificate; return None if `api.plaintext` is set instead.

    Raises:
        ConfigError: the files cannot be read, or neither is set.
    """
    api = settings.api
    if api.certificate:
        return TlsCertificate(api.certificate, api.key, section="api")
    if not api.plaintext:
        raise ConfigError("api.certificate: is not set; where something else speaks TLS, set api.plaintext")
    return None


def _create_options(settings: Settings) -> HttpOptions:
    api = settings.api
    origins = OriginPolicy(api.origins)
    return HttpOptions(
        title="Tickwire player API",
        body_bytes_max=api.body_bytes_max,
        allows_origin=(lambda origin: origins.allows(origin, None)) if api.origins else None,
        bearer="the access token of a login",
    )


def _create_scrape(context: ApiContext) -> Callable[[], bytes]:
    def scrape() -> bytes:
        metrics = context.metrics
        metrics.set_gauge("ready", context.health.is_ready)
        metrics.set_total("log_lines_lost", logs.writer.lines_lost)
        return metrics.render()

    return scrape
