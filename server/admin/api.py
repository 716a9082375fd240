"""The admin API: one table of endpoints, from which the routes and the OpenAPI document are generated.

All endpoints are below /v1, use JSON, and require `Authorization: Bearer` with `operations.token`. Requests that
change something are logged, with the operator's name from the header X-Operator. Errors have the form {"error": "a
sentence"}.
"""

from __future__ import annotations

import hmac
import inspect
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import structlog
from aiohttp import web

from tickwire.schemas.errors import MalformedMessage
from tickwire.schemas.payloads import decode_json
from tickwire.server import __version__
from tickwire.server.admin.views import (
    AdminOperations,
    Affected,
    BanPlayer,
    BanView,
    Broadcast,
    Close,
    DrainRequested,
    Kick,
    LogLevel,
    RequestBody,
    RollBack,
    RoomStateResponse,
    RoomView,
    SessionView,
    ShardDetail,
    ShardView,
    Tune,
    Tunings,
    TuningView,
)
from tickwire.server.errors import Malformed, TickwireError, Unavailable, VersionConflict

log = structlog.get_logger(__name__)

PREFIX = "/v1"
LIMIT, LIMIT_MAX = 1000, 10_000
OPERATOR_CHARACTERS_MAX = 64
LOGGED_BYTES_MAX = 2000
"""The most bytes of a request body in a log line."""
_LOGGED_AS = {"shard_id": "target_shard_id"}
"""Parameters of paths that have another name in a log line, where `shard_id` is the shard that writes it."""
_STATUS: dict[type[Exception], int] = {LookupError: 404, VersionConflict: 409, Malformed: 422, Unavailable: 503}
Json = dict[str, Any]


class AdminRequest(msgspec.Struct, frozen=True):
    """A decoded request: the parameters of its path and query, and its body."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any = None

    @property
    def limit(self) -> int:
        """The most items to return.

        Raises:
            Malformed: the parameter is not a whole number from 1 to LIMIT_MAX.
        """
        text = self.query.get("limit", str(LIMIT))
        is_short = len(text) <= len(str(LIMIT_MAX))
        if not is_short or not text.isascii() or not text.isdigit() or not 0 < int(text) <= LIMIT_MAX:
            raise Malformed(f"limit: must be a whole number from 1 to {LIMIT_MAX}, not {text[:20]!r}")
        return int(text)


class Endpoint(msgspec.Struct, frozen=True):
    """One endpoint of the API.

    Args:
        method: the HTTP method.
        path: below PREFIX; {names} are parameters, as text.
        summary: for the OpenAPI document.
        response: the type of the response.
        run: calls the operation and returns its response, or an awaitable of it.
        body: the type of the request body; None without one.
        query: the names of the query parameters.
    """

    method: str
    path: str
    summary: str
    response: Any
    run: Callable[[AdminOperations, AdminRequest], Any]
    body: type[RequestBody] | None = None
    query: tuple[str, ...] = ()


ENDPOINTS = (
    Endpoint(
        "GET", "/shard", "Describe the shard that answers", ShardDetail, lambda admin, request: admin.get_shard()
    ),
    Endpoint(
        "GET",
        "/fleet",
        "List all shards in the directory",
        list[ShardView],
        lambda admin, request: admin.list_shards(),
    ),
    Endpoint(
        "POST",
        "/fleet/{shard_id}/drain",
        "Drain a shard: it moves its rooms and players to other shards and stops; its supervisor restarts it",
        DrainRequested,
        lambda admin, request: admin.drain_shard(request.path["shard_id"]),
    ),
    Endpoint(
        "GET", "/rooms", "List the rooms of this shard", list[RoomView], lambda admin, request: admin.list_rooms()
    ),
    Endpoint(
        "GET",
        "/rooms/{room_id}",
        "Describe a room",
        RoomView,
        lambda admin, request: admin.get_room(request.path["room_id"]),
    ),
    Endpoint(
        "GET",
        "/rooms/{room_id}/state",
        "Return a room's world, at most `limit` entities per table",
        RoomStateResponse,
        lambda admin, request: admin.get_room_state(request.path["room_id"], request.limit),
        query=("limit",),
    ),
    Endpoint(
        "GET",
        "/rooms/{room_id}/bandwidth",
        "Return the bandwidth of a room by field",
        Json,
        lambda admin, request: admin.get_room_bandwidth(request.path["room_id"]),
    ),
    Endpoint(
        "POST",
        "/rooms/{room_id}/close",
        "Close a room; a durable one is saved",
        Affected,
        lambda admin, request: admin.close_room(request.path["room_id"], request.body),
        Close,
    ),
    Endpoint(
        "POST",
        "/rooms/{room_id}/broadcast",
        "Send an event to all players in a room",
        Affected,
        lambda admin, request: admin.broadcast(request.path["room_id"], request.body),
        Broadcast,
    ),
    Endpoint(
        "GET",
        "/sessions",
        "List the sessions of this shard, of a room or of a player",
        list[SessionView],
        lambda admin, request: admin.list_sessions(
            request.query.get("room_id", ""), request.query.get("player_id", ""), request.limit
        ),
        query=("room_id", "player_id", "limit"),
    ),
    Endpoint(
        "POST",
        "/sessions/{session_id}/kick",
        "End a session; its player may open another",
        Affected,
        lambda admin, request: admin.kick_session(request.path["session_id"], request.body),
        Kick,
    ),
    Endpoint(
        "GET",
        "/queues",
        "List the modes of the matchmaking queue",
        list[str],
        lambda admin, request: admin.list_modes(),
    ),
    Endpoint(
        "GET",
        "/queues/{mode}",
        "Describe a mode's queue, across all shards",
        Json,
        lambda admin, request: admin.get_queue(request.path["mode"]),
    ),
    Endpoint(
        "GET",
        "/queues/{mode}/players/{player_id}",
        "Explain why a player waits: which rule blocks the match, and when it would match",
        Json,
        lambda admin, request: admin.explain_wait(request.path["mode"], request.path["player_id"]),
    ),
    Endpoint(
        "GET",
        "/bans",
        "List the bans in force",
        list[BanView],
        lambda admin, request: admin.list_bans(request.limit),
        query=("limit",),
    ),
    Endpoint(
        "PUT",
        "/bans/{player_id}",
        "Ban a player for a time, on all shards within a second",
        BanView,
        lambda admin, request: admin.ban_player(request.path["player_id"], request.body),
        BanPlayer,
    ),
    Endpoint(
        "DELETE",
        "/bans/{player_id}",
        "Lift a ban",
        Affected,
        lambda admin, request: admin.lift_ban(request.path["player_id"]),
    ),
    Endpoint(
        "GET",
        "/tuning",
        "List the newest tuning versions and the schemas of their values",
        Tunings,
        lambda admin, request: admin.list_tunings(),
    ),
    Endpoint(
        "PUT",
        "/tuning",
        "Add a tuning version for some or all rooms of the fleet, within a second",
        TuningView,
        lambda admin, request: admin.publish_tuning(request.body),
        Tune,
    ),
    Endpoint(
        "POST",
        "/tuning/rollback",
        "Roll back: add a version with the values of an older one",
        TuningView,
        lambda admin, request: admin.roll_back_tuning(request.body),
        RollBack,
    ),
    Endpoint(
        "PUT",
        "/log-level",
        "Set the log level of this shard",
        Affected,
        lambda admin, request: admin.set_log_level(request.body),
        LogLevel,
    ),
)


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
        return web.Response(body=msgspec.json.encode(openapi()), content_type="application/json")


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


def openapi() -> dict[str, Any]:
    """Return the API's description as an OpenAPI 3.1 document."""
    types = [endpoint.response for endpoint in ENDPOINTS]
    types += [endpoint.body for endpoint in ENDPOINTS if endpoint.body is not None]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    responses, bodies = schemas[: len(ENDPOINTS)], iter(schemas[len(ENDPOINTS) :])
    paths: dict[str, Any] = {}
    for endpoint, response in zip(ENDPOINTS, responses, strict=True):
        description = {
            "summary": endpoint.summary,
            "operationId": f"{endpoint.method.lower()}{endpoint.path.replace('/', '_').translate(_NO_BRACES)}",
            "parameters": [
                *(_parameter(name, "path") for name in _path_parameters(endpoint.path)),
                *(_parameter(name, "query") for name in endpoint.query),
            ],
            "responses": {
                "200": {"description": "success", "content": {"application/json": {"schema": response}}},
                "default": {"$ref": "#/components/responses/Error"},
            },
        }
        if endpoint.body is not None:
            is_required = any(field.required for field in msgspec.structs.fields(endpoint.body))
            content = {"application/json": {"schema": next(bodies)}}
            description["requestBody"] = {"required": is_required, "content": content}
        paths.setdefault(PREFIX + endpoint.path, {})[endpoint.method.lower()] = description
    error = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tickwire admin API", "version": __version__},
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {
                "Error": {"description": "the reason", "content": {"application/json": {"schema": error}}},
            },
        },
    }


_NO_BRACES = str.maketrans("", "", "{}")


def _path_parameters(path: str) -> list[str]:
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]


def _parameter(name: str, location: str) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX} if name == "limit" else {"type": "string"}
    return {"name": name, "in": location, "required": location == "path", "schema": schema}
