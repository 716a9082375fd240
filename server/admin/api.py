"""The admin API: serves the endpoints of server/admin/endpoints.py over HTTP.

All endpoints are below /v1, use JSON except for the download of a recording, and require `Authorization: Bearer` with
`operations.token`. Requests that change something are logged, with the operator's name from the header X-Operator.
Errors have the form {"error": "a sentence"}.
"""

from __future__ import annotations

import hmac
import inspect
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from aiohttp import web

from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.payloads import decode_json
from tickwire.server.admin.endpoints import ENDPOINTS, PREFIX, AdminRequest, Endpoint
from tickwire.server.admin.openapi import create_openapi
from tickwire.server.admin.views import AdminOperations
from tickwire.server.errors import Malformed, TickwireError, Unavailable, VersionConflict

log = structlog.get_logger(__name__)

OPERATOR_CHARACTERS_MAX = 64
LOGGED_BYTES_MAX = 2000
"""The most bytes of a request body in a log line."""
_LOGGED_AS = {"shard_id": "target_shard_id"}
"""Parameters of paths that have another name in a log line, where `shard_id` is the shard that writes it."""
_AS_FILE = {"Content-Disposition": "attachment"}
"""A browser stores the response instead of showing it."""
_STATUS: dict[type[Exception], int] = {LookupError: 404, VersionConflict: 409, Malformed: 422, Unavailable: 503}


class AdminApi:
    """The API of one shard.

    Args:
        operations: runs the requests.
        token: the bearer token that requests must have; if empty, all requests are refused.

    Attributes:
        results: requests by result: ok, refused (wrong token), failed.
    """

    def __init__(self, operations: AdminOperations, token: str) -> None:
        self.results: Counter[str] = Counter()
        self._operations = operations
        self._token = token
        self._resources: list[web.AbstractResource] = []

    def add_to(self, app: web.Application) -> None:
        """Add the routes to an application."""
        for endpoint in ENDPOINTS:
            # An id may contain any character but a slash.
            path = endpoint.path.replace("}", ":[^/]+}")
            route = app.router.add_route(endpoint.method, PREFIX + path, self._handler(endpoint))
            if route.resource is not None and route.resource not in self._resources:
                self._resources.append(route.resource)
        app.router.add_get(f"{PREFIX}/openapi.json", self._document)
        app.router.add_route("*", PREFIX + "/{rest:.*}", self._unknown)

    def _handler(self, endpoint: Endpoint) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.Response:
            if refusal := self._refusal(request):
                self.results["refused"] += 1
                return refusal
            try:
                response = await self._run(endpoint, request)
            except (TickwireError, LookupError) as error:
                self.results["failed"] += 1
                return _error(_status_from_error(error), _message_from_error(error))
            except web.HTTPException as error:  # raised by aiohttp, for example if the body is too large
                self.results["failed"] += 1
                return _error(error.status, error.reason)
            except Exception:
                self.results["failed"] += 1
                log.exception("admin_request_failed", endpoint=f"{endpoint.method} {endpoint.path}")
                return _error(500, "the request failed; the shard's log has the reason")
            self.results["ok"] += 1
            if isinstance(response, bytes):
                return web.Response(body=response, content_type="application/octet-stream", headers=_AS_FILE)
            return web.Response(body=msgspec.json.encode(response), content_type="application/json")

        return handle

    async def _run(self, endpoint: Endpoint, http_request: web.Request) -> Any:
        unknown = set(http_request.query) - set(endpoint.query)
        if unknown:
            raise Malformed(f"unknown query parameters: {', '.join(sorted(unknown))}")
        body = await _decode_body(endpoint, http_request)
        request = AdminRequest(dict(http_request.match_info), dict(http_request.query), body)
        response = endpoint.run(self._operations, request)
        response = await response if inspect.isawaitable(response) else response
        if endpoint.method != "GET":
            log.info(
                "admin_request_completed",
                endpoint=f"{endpoint.method} {endpoint.path}",
                operator=http_request.headers.get("X-Operator", "")[:OPERATOR_CHARACTERS_MAX],
                request=msgspec.json.encode(request.body)[:LOGGED_BYTES_MAX].decode(errors="replace"),
                **{_LOGGED_AS.get(name, name): value for name, value in request.path.items()},
            )
        return response

    def _refusal(self, request: web.Request) -> web.Response | None:
        if not self._token:
            return _error(403, "the admin API is disabled: operations.token is not set")
        authorization = request.headers.get("Authorization", "")
        # aiohttp decodes bytes that are not UTF-8 to surrogates.
        if hmac.compare_digest(authorization.encode(errors="surrogateescape"), f"Bearer {self._token}".encode()):
            return None
        response = _error(401, "missing or invalid bearer token")
        response.headers["WWW-Authenticate"] = "Bearer"
        return response

    async def _unknown(self, request: web.Request) -> web.Response:
        if refusal := self._refusal(request):
            return refusal
        allowed: set[str] = set()
        for resource in self._resources:
            _, methods = await resource.resolve(request)
            allowed |= methods
        if not allowed:
            return _error(404, f"unknown endpoint; see {PREFIX}/openapi.json")
        methods_text = ", ".join(sorted(allowed))
        response = _error(405, f"method not allowed; use {methods_text}")
        response.headers["Allow"] = methods_text
        return response

    async def _document(self, request: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(create_openapi()), content_type="application/json")


async def _decode_body(endpoint: Endpoint, request: web.Request) -> Any:
    if endpoint.body is None:
        return None
    data = await request.read()
    try:
        return decode_json(data or b"{}", endpoint.body)
    except MalformedMessage as error:
        raise Malformed(f"the request body is invalid: {error}") from error


def _status_from_error(error: Exception) -> int:
    return next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 400)


def _message_from_error(error: Exception) -> str:
    """Return the message for operators, which has the host of a store and the reason; players never receive it."""
    if isinstance(error, TickwireError):
        return error.detail
    return str(error.args[0] if error.args else error)  # the text of a KeyError has quotes around its message


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)
