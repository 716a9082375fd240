"""Creates Litestar applications: the one place that chooses how every HTTP API of Tickwire behaves.

Every error is a problem (server/http/problems.py), bodies are bounded, responses have security headers and are not
cached, and no header names the server or its version. Handlers are async functions or controllers; they receive
services as dependencies by the name of the parameter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import structlog
from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.datastructures import Headers, MutableScopeHeaders
from litestar.di import Provide
from litestar.types import (
    ASGIApp,
    ControllerRouterHandler,
    ExceptionHandlersMap,
    Message,
    Middleware,
    Receive,
    Scope,
    Send,
)

from tickwire.server.errors import Forbidden, RequestTimeout, Unavailable
from tickwire.server.http.encoded_paths import DecodedPathParameters, route_by_encoded_path
from tickwire.server.http.idempotency import provide_operation_key
from tickwire.server.http.openapi import create_document_handlers, create_openapi_config
from tickwire.server.http.problems import handle_error, problem_from_error, send_problem
from tickwire.server.http.request_log import FindAddress, Observe, RequestLog, operation_name
from tickwire.server.http.requests import BoundedRequest
from tickwire.server.http.security_headers import security_headers

log = structlog.get_logger(__name__)

BODY_BYTES_MAX = 64 * 1024
EXPOSED_HEADERS = ["Idempotent-Replayed", "RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-ID"]
"""The headers that pages of other origins may read, beside those that browsers always allow."""


class HttpRoutes(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The part of an application that one service adds.

    Args:
        handlers: Litestar's controllers, routers and handlers, with their full paths.
        dependencies: the services that the handlers' parameters receive, by name.
    """

    handlers: Sequence[ControllerRouterHandler]
    dependencies: Mapping[str, object] = {}


class HttpOptions(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """How an application behaves.

    Args:
        title: the title of the OpenAPI document.
        body_bytes_max: the largest request body; larger ones are refused with 413.
        allows_origin: whether pages of an origin may call this API and read its responses; None for no such pages.
        bearer: the description of the bearer token, for the OpenAPI document; empty without one.
        request_timeout_s: the longest time for a request, from its head to the end of its response.
        find_address: returns the address of a client, from that of the socket and the values of X-Forwarded-For.
        observe: receives the operation, the status and the duration of each request.
        middleware: runs around every handler, the first outermost.
        is_log_quiet: log requests at the level debug, because probes and scrapes are most of them.
        exception_handlers: answer some exceptions in another way than handle_error does.
    """

    title: str
    body_bytes_max: int = BODY_BYTES_MAX
    allows_origin: Callable[[str], bool] | None = None
    bearer: str = ""
    request_timeout_s: float = 10.0
    find_address: FindAddress = lambda peer, forwarded_for: peer
    observe: Observe = lambda operation, status, duration_s: None
    middleware: Sequence[Middleware] = ()
    is_log_quiet: bool = False
    exception_handlers: ExceptionHandlersMap = {}


def create_application(options: HttpOptions, routes: Sequence[HttpRoutes]) -> ASGIApp:
    """Create an application.

    Args:
        options: how it behaves.
        routes: the routes of the services; each name of a dependency must be unique.
    """
    dependencies: dict[str, Provide] = {"operation_key": Provide(provide_operation_key)}
    handlers = create_document_handlers()
    for part in routes:
        handlers += part.handlers
        assert dependencies.keys().isdisjoint(part.dependencies), "each name means one service"
        dependencies |= {name: provide(service) for name, service in part.dependencies.items()}
    app = Litestar(
        handlers,
        dependencies=dependencies,
        cors_config=None if options.allows_origin is None else _create_cors(options.allows_origin),
        before_send=[_set_allow],
        exception_handlers={Exception: handle_error, **options.exception_handlers},
        logging_config=None,
        middleware=[DecodedPathParameters(), *options.middleware],
        openapi_config=create_openapi_config(options.title, options.bearer),
        request_class=BoundedRequest,
        request_max_body_size=options.body_bytes_max,
    )
    routed = route_by_encoded_path(app)
    if options.allows_origin is not None:
        routed = _refuse_preflight(routed, options.allows_origin)
    boundary = _Boundary(routed, options.request_timeout_s)
    return RequestLog(boundary, options.find_address, options.observe, is_quiet=options.is_log_quiet)


def provide(service: object) -> Provide:
    """Return a dependency that is the same object for every request."""
    return Provide(lambda: service, use_cache=True, sync_to_thread=False)


class _Cors(CORSConfig):
    """Compares origins by a function of ours, which knows more forms than Litestar's patterns."""

    allows: Callable[[str], bool]

    def is_origin_allowed(self, origin: str) -> bool:
        return self.allows(origin)


def _create_cors(allows: Callable[[str], bool]) -> CORSConfig:
    cors = _Cors(allow_origins=[], expose_headers=EXPOSED_HEADERS)
    cors.allows = allows
    return cors


def _refuse_preflight(app: ASGIApp, allows: Callable[[str], bool]) -> ASGIApp:
    """Return the application; preflights of other origins receive a problem, instead of Litestar's text."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        origin = Headers.from_scope(scope).get("origin") if scope.get("method") == "OPTIONS" else None
        if origin and not allows(origin):
            error = Forbidden("pages of this origin may not call the API; see the setting of its origins")
            await send_problem(problem_from_error(error), send)
            return
        await app(scope, receive, send)

    return handle


async def _set_allow(message: Message, scope: Scope) -> None:
    """Name all methods of a path in an answer to OPTIONS; Litestar's misses those of handlers registered later."""
    template = scope.get("path_template")
    if message["type"] == "http.response.start" and scope.get("method") == "OPTIONS" and template:
        routes = [route for route in scope["litestar_app"].routes if route.path_format == template]
        methods = sorted({method for route in routes for method in getattr(route, "methods", ())})
        headers = MutableScopeHeaders.from_message(message)
        if "Allow" in headers and methods:
            headers["Allow"] = ", ".join(methods)


def _has_body(scope: Scope) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0 \t"))
        for name, value in scope["headers"]
    )


class _Boundary:
    """Adds the headers that every response has, and ends requests that take too long.

    Args:
        app: the application.
        timeout_s: the longest time for a request.
    """

    def __init__(self, app: ASGIApp, timeout_s: float) -> None:
        self._app = app
        self._timeout_s = timeout_s
        headers = {**security_headers(), "Cache-Control": "no-store"}
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_started = False
        is_received = not _has_body(scope)

        async def receive_noted() -> Any:
            nonlocal is_received
            message = await receive()
            is_received = not message.get("more_body", False)
            return message

        async def send_with_headers(message: Message) -> None:
            nonlocal is_started
            if message["type"] == "http.response.start":
                is_started = True
                sent = list(message.get("headers", ()))
                names = {name.lower() for name, _ in sent}
                message["headers"] = sent + [item for item in self._headers if item[0] not in names]
            await send(message)

        try:
            async with asyncio.timeout(self._timeout_s):
                await self._app(scope, receive_noted, send_with_headers)
            return
        except TimeoutError:
            error: Exception = RequestTimeout("the request did not arrive in time")
            if is_received:
                error = Unavailable("the request has taken too long")
                log.warning("http_request_timed_out", operation=operation_name(scope), timeout_s=self._timeout_s)
        except asyncio.CancelledError:
            # The server cancels requests that outlast its stop. This is the end of their task: no other part needs to
            # learn of it, and the client gets an answer that says so.
            error = Unavailable("the server is stopping")
        if not is_started:
            await send_problem(problem_from_error(error), send_with_headers, close=True)
