"""Assigns an id to each request, and records it: one line in the log, a span, and an observation for the metrics.

A client may send its own id as `X-Request-ID`; the response has the id, and so has every line that the request logs.
Records name the operation and never the path, the query, headers or bodies, which may contain secrets and personal
data.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from typing import Any

import structlog
from litestar.connection import ASGIConnection
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from tickwire.server.observability import traces

log = structlog.get_logger(__name__)

REQUEST_ID = b"x-request-id"
UNKNOWN_OPERATION = "unknown"
"""The operation of requests that no route matches."""
STATUS_NOT_SENT = 499
"""The status in the records of a request whose client has left before the response."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:=-]{1,64}")
_ADDRESS = "tickwire_client_address"

FindAddress = Callable[[str, list[str]], str]
"""Returns the address of a client, from that of the socket and the values of X-Forwarded-For."""
Observe = Callable[[str, int, float], None]
"""Receives the operation, the status, and the duration in seconds of each request."""


class RequestLog:
    """Wraps an application, outside of everything else.

    Args:
        app: the application.
        find_address: returns the address of a client.
        observe: receives each request.
        is_quiet: log at the level debug instead of info.
    """

    def __init__(self, app: ASGIApp, find_address: FindAddress, observe: Observe, *, is_quiet: bool = False) -> None:
        self._is_quiet = is_quiet
        self._app = app
        self._find_address = find_address
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request."""
        started_s = time.perf_counter()
        request_id = _request_id(scope)
        address = _client_address(scope, self._find_address)
        scope["state"][_ADDRESS] = address
        status = STATUS_NOT_SENT

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (REQUEST_ID, request_id.encode())]
            await send(message)

        method = str(scope["method"])  # type: ignore[typeddict-item]  # the server refuses WebSockets
        with (
            structlog.contextvars.bound_contextvars(request_id=request_id),
            traces.span("http_request", http_method=method, request_id=request_id),
        ):
            try:
                await self._app(scope, receive, send_with_id)
            finally:
                operation = operation_name(scope)
                traces.set_attributes(operation=operation, http_status=status)
                duration_s = time.perf_counter() - started_s
                self._observe(operation, status, duration_s)
                write = log.debug if self._is_quiet else log.info
                write(
                    "http_request_completed",
                    operation=operation,
                    http_method=method,
                    http_status=status,
                    duration_ms=round(duration_s * 1000, 1),
                    address=address,
                )


def get_client_address(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """Return the address of the client of a request; behind trusted proxies the one that they report."""
    return find_client_address(connection.scope)


def find_client_address(scope: Scope) -> str:
    """Return the address of the client, as `get_client_address` does."""
    return str(scope["state"][_ADDRESS])


def _request_id(scope: Scope) -> str:
    """Return the client's id if it is well-formed, else a new one."""
    sent = [value for name, value in scope["headers"] if name == REQUEST_ID]
    if len(sent) == 1:
        text = sent[0].decode("latin-1")
        if _REQUEST_ID.fullmatch(text):
            return text
    return secrets.token_hex(8)


def _client_address(scope: Scope, find_address: FindAddress) -> str:
    client = scope.get("client")
    forwarded = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return find_address(client[0] if client else "", forwarded)


def operation_name(scope: Scope) -> str:
    """Return the name of the handler's function, which is also the operation's id in the OpenAPI document."""
    handler = scope.get("route_handler")
    return UNKNOWN_OPERATION if handler is None else str(handler.handler_name)
