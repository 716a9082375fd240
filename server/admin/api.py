"""The admin API: one table of what may be asked, from which the routes and their OpenAPI document are made.

All of it is below /v1, as JSON, and wants `Authorization: Bearer` and `operations.token`. What changes something is
written down in the log, with who asks if the header X-Operator says so. An error is {"error": "a sentence"}.
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
    Administration,
    Affected,
    BanOrder,
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
"""Of what a body holds: deeper values can be stored by MongoDB, and read by no client."""
_STATUS: dict[type[Exception], int] = {LookupError: 404, VersionConflict: 409, Malformed: 422, Unavailable: 503}
Json = dict[str, Any]


class AdminRequest(msgspec.Struct, frozen=True):
    """A request, read: what its path and query say, and its body."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any = None

    @property
    def limit(self) -> int:
        """How many are wanted at most.

        Raises:
            Malformed: it is no number, or too many.
        """
        text = self.query.get("limit", str(LIMIT))
        if not text.isascii() or not text.isdigit() or not 0 < int(text[:9]) <= LIMIT_MAX:
            raise Malformed(f"limit: wants 1 to {LIMIT_MAX}, not {text[:20]!r}")
        return int(text)


class Endpoint(msgspec.Struct, frozen=True):
    """One thing that may be asked.

    Args:
        path: below the prefix; {names} in it are texts.
        answer: what it answers, as a type.
        body: what it wants to be told, as a type; None: nothing.
        query: names in the query that it reads.
    """

    method: str
    path: str
    summary: str
    answer: Any
    run: Callable[[Administration, AdminRequest], Any]
    body: type[RequestBody] | None = None
    query: tuple[str, ...] = ()


OPERATIONS = (
    Endpoint("GET", "/shard", "The shard that answers", ShardDetail, lambda a, ask: a.shard()),
    Endpoint("GET", "/fleet", "All shards, as the directory has them", list[ShardView], lambda a, ask: a.fleet()),
    Endpoint(
        "POST",
        "/fleet/{shard_id}/drain",
        "Has a shard move its rooms and players to other shards, and end; its supervisor starts it again",
        DrainRequested,
        lambda a, ask: a.drain(ask.path["shard_id"]),
    ),
    Endpoint("GET", "/rooms", "The rooms of this shard", list[RoomView], lambda a, ask: a.rooms()),
    Endpoint("GET", "/rooms/{room_id}", "One room", RoomView, lambda a, ask: a.room(ask.path["room_id"])),
    Endpoint(
        "GET",
        "/rooms/{room_id}/state",
        "A room's world, at most `limit` entities a table",
        RoomStateResponse,
        lambda a, ask: a.state(ask.path["room_id"], ask.limit),
        query=("limit",),
    ),
    Endpoint(
        "GET",
        "/rooms/{room_id}/bytes",
        "Which field of a room costs how many bytes",
        Json,
        lambda a, ask: a.bytes_of(ask.path["room_id"]),
    ),
    Endpoint(
        "POST",
        "/rooms/{room_id}/close",
        "Ends a room; a durable one is saved",
        Affected,
        lambda a, ask: a.close_room(ask.path["room_id"], ask.body),
        Close,
    ),
    Endpoint(
        "POST",
        "/rooms/{room_id}/broadcast",
        "Sends an event to all who play in a room",
        Affected,
        lambda a, ask: a.broadcast(ask.path["room_id"], ask.body),
        Broadcast,
    ),
    Endpoint(
        "GET",
        "/sessions",
        "The sessions of this shard, or of a room or player here",
        list[SessionView],
        lambda a, ask: a.sessions(ask.query.get("room_id", ""), ask.query.get("player_id", ""), ask.limit),
        query=("room_id", "player_id", "limit"),
    ),
    Endpoint(
        "POST",
        "/sessions/{session_id}/kick",
        "Ends a session; its player may open another",
        Affected,
        lambda a, ask: a.kick(ask.path["session_id"], ask.body),
        Kick,
    ),
    Endpoint("GET", "/queues", "The modes of the queue", list[str], lambda a, ask: a.modes()),
    Endpoint(
        "GET",
        "/queues/{mode}",
        "How a mode's queue stands, at all shards",
        Json,
        lambda a, ask: a.queue(ask.path["mode"]),
    ),
    Endpoint(
        "GET",
        "/queues/{mode}/players/{player_id}",
        "Why a player waits: which rule keeps it, and what would match it",
        Json,
        lambda a, ask: a.explain(ask.path["mode"], ask.path["player_id"]),
    ),
    Endpoint(
        "GET",
        "/bans",
        "Who is banned, at all shards",
        list[BanView],
        lambda a, ask: a.bans(ask.limit),
        query=("limit",),
    ),
    Endpoint(
        "PUT",
        "/bans/{player_id}",
        "Keeps a player out for a while, at all shards within a second",
        BanView,
        lambda a, ask: a.ban(ask.path["player_id"], ask.body),
        BanOrder,
    ),
    Endpoint(
        "DELETE", "/bans/{player_id}", "Lifts a ban", Affected, lambda a, ask: a.lift_ban(ask.path["player_id"])
    ),
    Endpoint("GET", "/tuning", "All versions, and what may be set", Tunings, lambda a, ask: a.tunings()),
    Endpoint(
        "PUT",
        "/tuning",
        "The next version, for some or all rooms of the fleet, within a second",
        TuningView,
        lambda a, ask: a.tune(ask.body),
        Tune,
    ),
    Endpoint(
        "POST",
        "/tuning/rollback",
        "Makes an older version the newest again",
        TuningView,
        lambda a, ask: a.roll_back(ask.body),
        RollBack,
    ),
    Endpoint(
        "PUT",
        "/log-level",
        "What this shard writes to its log from now on",
        Affected,
        lambda a, ask: a.set_log_level(ask.body),
        LogLevel,
    ),
)


class Admin:
    """The API of one shard.

    Args:
        administration: who answers.
        token: what must be shown; empty: nobody is answered.

    Attributes:
        results: of calls: ok, refused (no token), failed.
    """

    def __init__(self, administration: Administration, token: str) -> None:
        self.results: Counter[str] = Counter()
        self._administration = administration
        self._token = token
        self._resources: list[web.AbstractResource] = []

    def add_to(self, app: web.Application) -> None:
        """Adds the routes."""
        for operation in OPERATIONS:
            # An id may hold anything but a slash.
            path = operation.path.replace("}", ":[^/]+}")
            route = app.router.add_route(operation.method, PREFIX + path, self._handler(operation))
            if route.resource is not None and route.resource not in self._resources:
                self._resources.append(route.resource)
        app.router.add_get(f"{PREFIX}/openapi.json", self._document)
        app.router.add_route("*", PREFIX + "/{rest:.*}", self._unknown)

    def _handler(self, operation: Endpoint) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.Response:
            if refusal := self._refusal(request):
                self.results["refused"] += 1
                return refusal
            try:
                answer = await self._answer(operation, request)
            except (TickwireError, LookupError) as error:
                self.results["failed"] += 1
                return _error(_status_of(error), str(error.args[0] if error.args else error))
            except web.HTTPException as error:  # the library's own: the body is too large
                self.results["failed"] += 1
                return _error(error.status, error.reason)
            except Exception:
                self.results["failed"] += 1
                log.exception("admin_call_failed", operation=f"{operation.method} {operation.path}")
                return _error(500, "the call failed; the shard's log says why")
            self.results["ok"] += 1
            return web.Response(body=msgspec.json.encode(answer), content_type="application/json")

        return handle

    async def _answer(self, operation: Endpoint, request: web.Request) -> Any:
        unknown = set(request.query) - set(operation.query)
        if unknown:
            raise Malformed(f"the query has no {', '.join(sorted(unknown))}")
        ask = AdminRequest(dict(request.match_info), dict(request.query), await _body(operation, request))
        answer = operation.run(self._administration, ask)
        answer = await answer if inspect.isawaitable(answer) else answer
        if operation.method != "GET":
            operator = request.headers.get("X-Operator", "")[:OPERATOR_CHARACTERS_MAX]
            log.info(
                "admin_call",
                operation=f"{operation.method} {operation.path}",
                operator=operator,
                request=msgspec.json.encode(ask.body)[:LOGGED_BYTES_MAX].decode(errors="replace"),
                **ask.path,
            )
        return answer

    def _refusal(self, request: web.Request) -> web.Response | None:
        if not self._token:
            return _error(403, "there is no admin API here: operations.token is not set")
        shown = request.headers.get("Authorization", "")
        # What is no UTF-8 comes as surrogates, which stand for the bytes as they were.
        if hmac.compare_digest(shown.encode(errors="surrogateescape"), f"Bearer {self._token}".encode()):
            return None
        response = _error(401, "Authorization: Bearer and operations.token are wanted")
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
            return _error(404, f"there is no such thing: see {PREFIX}/openapi.json")
        methods_text = ", ".join(sorted(allowed))
        response = _error(405, f"the method must be {methods_text}")
        response.headers["Allow"] = methods_text
        return response

    async def _document(self, request: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(openapi()), content_type="application/json")


async def _body(operation: Endpoint, request: web.Request) -> Any:
    if operation.body is None:
        return None
    data = await request.read()
    try:
        return decode_json(data or b"{}", operation.body)
    except MalformedMessage as error:
        raise Malformed(f"the body is not what is wanted: {error}") from error


def _status_of(error: Exception) -> int:
    return next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 400)


def _error(status: int, words: str) -> web.Response:
    return web.json_response({"error": words}, status=status)


def openapi() -> dict[str, Any]:
    """The document, by OpenAPI 3.1."""
    kinds = [operation.answer for operation in OPERATIONS]
    kinds += [operation.body for operation in OPERATIONS if operation.body is not None]
    schemas, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    answers, bodies = schemas[: len(OPERATIONS)], iter(schemas[len(OPERATIONS) :])
    paths: dict[str, Any] = {}
    for operation, answer in zip(OPERATIONS, answers, strict=True):
        described = {
            "summary": operation.summary,
            "operationId": f"{operation.method.lower()}{operation.path.replace('/', '_').translate(_NO_BRACES)}",
            "parameters": [
                *(_parameter(name, "path") for name in _names_in(operation.path)),
                *(_parameter(name, "query") for name in operation.query),
            ],
            "responses": {
                "200": {"description": "done", "content": {"application/json": {"schema": answer}}},
                "default": {"$ref": "#/components/responses/Error"},
            },
        }
        if operation.body is not None:
            is_required = any(field.required for field in msgspec.structs.fields(operation.body))
            content = {"application/json": {"schema": next(bodies)}}
            described["requestBody"] = {"required": is_required, "content": content}
        paths.setdefault(PREFIX + operation.path, {})[operation.method.lower()] = described
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
                "Error": {"description": "why not", "content": {"application/json": {"schema": error}}},
            },
        },
    }


_NO_BRACES = str.maketrans("", "", "{}")


def _names_in(path: str) -> list[str]:
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]


def _parameter(name: str, place: str) -> dict[str, Any]:
    kind = {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX} if name == "limit" else {"type": "string"}
    return {"name": name, "in": place, "required": place == "path", "schema": kind}
