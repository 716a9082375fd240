"""Wires the parts of the role `api`. A service joins it in `create_services`.

A service needs no other change here: it gets the parts that it uses, and returns its handlers, the dependencies of
their parameters, and its background tasks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import msgspec
from litestar.types import ASGIApp

from tickwire.matchmaking.loop_timeout import LoopTimeout
from tickwire.matchmaking.redis_connection import RedisConnection
from tickwire.server import __version__
from tickwire.server.admin.http_server import OperationsServer
from tickwire.server.api.fleet_time import FleetTime
from tickwire.server.api.request_rules import CallerRules, RequestRules
from tickwire.server.api.server_info import server_info_routes
from tickwire.server.assembly import create_redis_connection
from tickwire.server.config import Settings
from tickwire.server.edge.certificates import TlsCertificate
from tickwire.server.edge.origins import OriginPolicy
from tickwire.server.edge.trusted_proxies import TrustedProxies
from tickwire.server.errors import ConfigError
from tickwire.server.http.application import HttpOptions, HttpRoutes, create_application
from tickwire.server.http.connection import ConnectionLimits
from tickwire.server.http.http_server import HttpServer
from tickwire.server.http.idempotency import LEASE_MARGIN_S
from tickwire.server.observability import logs
from tickwire.server.observability.health import Health
from tickwire.server.observability.metrics import Metrics
from tickwire.server.storage import CallSettings, MongoStore, StoredRequests
from tickwire.services.accounts.account_parts import create_player_accounts
from tickwire.services.accounts.ban_check import BanCheck
from tickwire.services.accounts.bearer import find_caller, needs_caller
from tickwire.services.accounts.key_controller import KeyController
from tickwire.services.accounts.token_parts import TokenDatabase, create_token_parts


class ApiContext(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The parts that the services of the API share."""

    process_id: str
    settings: Settings
    health: Health
    metrics: Metrics
    redis: RedisConnection
    store: MongoStore


class ApiService(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The contribution of one service to the role.

    Args:
        routes: its operations.
        tasks: its background tasks, by name. They run until the process stops, and wait while a store does not
            answer; one that ends by itself ends the process.
        collect: copies its counters to the metrics at each scrape.
    """

    routes: HttpRoutes
    tasks: Mapping[str, Callable[[], Coroutine[Any, Any, None]]] = {}
    collect: Callable[[Metrics], None] = lambda metrics: None


class ApiParts(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The parts of one process of the role; `tickwire.server.api.role.ApiRole` starts and stops them."""

    context: ApiContext
    services: Sequence[ApiService]
    rules: RequestRules
    app: ASGIApp
    certificate: TlsCertificate | None
    server: HttpServer
    operations: OperationsServer


class ApiServices(msgspec.Struct, frozen=True, eq=False):
    """The services of one process.

    Args:
        services: the contribution of each service.
        callers: how requests are authenticated.
    """

    services: Sequence[ApiService]
    callers: CallerRules = CallerRules()


def create_services(context: ApiContext) -> ApiServices:
    """Create the services of the API."""
    server_info = ApiService(routes=server_info_routes(context.settings.api.player_url))
    if not context.settings.accounts.secret:
        return ApiServices([server_info])
    accounts = _create_account_services(context)
    return msgspec.structs.replace(accounts, services=[server_info, *accounts.services])


def _create_account_services(context: ApiContext) -> ApiServices:
    time = FleetTime(context.redis)
    store, settings = context.store, context.settings
    token_database = TokenDatabase(store.database, store.calls, store.revocations)
    tokens = create_token_parts(token_database, settings.accounts, time.now_s, BanCheck(store.bans, time.now_s).check)
    accounts = create_player_accounts(store, tokens, settings.accounts, settings.api.player_url, time.now_s)

    def collect_tokens(metrics: Metrics) -> None:
        metrics.set_totals("token_results", tokens.service.results)
        metrics.set_totals("token_refusals", tokens.check.refusals)

    def collect_accounts(metrics: Metrics) -> None:
        metrics.set_operation_totals("account_operations", accounts.counters.operations)
        metrics.set_totals("login_lockouts", accounts.counters.locked_out)
        metrics.set_totals("bearer_results", accounts.bearer.results)
        metrics.set_total("password_hashes_refused", accounts.hasher.refused)

    return ApiServices(
        [
            ApiService(
                routes=HttpRoutes(handlers=[KeyController], dependencies={"signing_keys": tokens.keys}),
                tasks={"fleet time": time.run, "signing keys": tokens.keys.run},
                collect=collect_tokens,
            ),
            ApiService(routes=accounts.routes, tasks={"accounts": accounts.run}, collect=collect_accounts),
        ],
        CallerRules([accounts.bearer], find_caller, needs_caller),
    )


def build_api(settings: Settings, *, process_id: str) -> ApiParts:
    """Create all parts; nothing is started or connected.

    Raises:
        ConfigError: a setting cannot be used.
    """
    metrics = Metrics(__version__)
    metrics.set_gauge("ready", math.nan)  # it is not a shard
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
    created = create_services(context)
    services = created.services
    rules = _create_rules(context, created.callers)
    options = _create_options(settings, metrics, rules)
    app = create_application(options, [service.routes for service in services])
    certificate = load_api_certificate(settings)
    return ApiParts(
        context=context,
        services=services,
        rules=rules,
        app=app,
        certificate=certificate,
        server=HttpServer(
            app,
            section="api",
            tls=None if certificate is None else certificate.context,
            limits=ConnectionLimits(settings.api.request_timeout_s, settings.api.connections_max),
        ),
        operations=OperationsServer(_create_scrape(context, services, rules), context.health),
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


def _create_rules(context: ApiContext, callers: CallerRules) -> RequestRules:
    settings, store = context.settings, context.store
    requests = StoredRequests(
        store.database,
        store.calls,
        lease_s=settings.api.request_timeout_s + LEASE_MARGIN_S,
        stored_s=settings.api.answers_stored_s,
    )
    return RequestRules(settings.api, context.redis, settings.redis.namespace, requests, callers)


def _create_options(settings: Settings, metrics: Metrics, rules: RequestRules) -> HttpOptions:
    api = settings.api
    origins = OriginPolicy(api.origins)
    return HttpOptions(
        title="Tickwire player API",
        body_bytes_max=api.body_bytes_max,
        allows_origin=(lambda origin: origins.allows(origin, None)) if api.origins else None,
        bearer="the access token of a login",
        request_timeout_s=api.request_timeout_s,
        find_address=TrustedProxies(api.trusted_proxies).client_address,
        observe=metrics.observe_http_request,
        middleware=rules.middleware,
    )


def _create_scrape(context: ApiContext, services: Sequence[ApiService], rules: RequestRules) -> Callable[[], bytes]:
    def scrape() -> bytes:
        metrics = context.metrics
        metrics.set_gauge("api_ready", context.health.is_ready)
        metrics.set_total("log_lines_lost", logs.writer.lines_lost)
        rules.collect(metrics)
        for service in services:
            service.collect(metrics)
        return metrics.render()

    return scrape
