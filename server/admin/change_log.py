"""Logs the requests of operators that have changed something, with the operator and the request."""

from __future__ import annotations

from typing import Any

import structlog
from litestar import Request
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from tickwire.server.admin.roles import Operator

log = structlog.get_logger(__name__)

LOGGED_BYTES_MAX = 2000
"""The most bytes of a request body in a log line."""
NOTE_CHARACTERS_MAX = 64
_LOGGED_AS = {"shard_id": "target_shard_id"}
"""Parameters of paths that have another name in a log line, where `shard_id` is the shard that writes it."""


class ChangeLog(ASGIMiddleware):
    """Writes a log line before the response to each successful request that is not a GET."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """See `ASGIMiddleware.handle`."""
        request: Request[Operator, Any, Any] = Request(scope, receive)
        if request.method == "GET":
            await next_app(scope, receive, send)
            return

        async def send_logged(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400:
                await _write(request)
            await send(message)

        await next_app(scope, receive, send_logged)


async def _write(request: Request[Operator, Any, Any]) -> None:
    body = await request.body()  # kept since the handler has read it
    log.info(
        "admin_request_completed",
        endpoint=endpoint_from_request(request),
        operator=request.user.name,
        note=request.headers.get("X-Operator", "")[:NOTE_CHARACTERS_MAX],
        request=body[:LOGGED_BYTES_MAX].decode(errors="replace"),
        **{_LOGGED_AS.get(name, name): value for name, value in request.path_params.items()},
    )


def endpoint_from_request(request: Request[Any, Any, Any]) -> str:
    """Return the method and the path of the endpoint of a request, with the names of its parameters."""
    return f"{request.method} {request.scope.get('path_template', '').removeprefix('/v1')}"
