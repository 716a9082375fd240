"""The admin API: the controllers below /v1, for authenticated operators.

A request without a valid token receives 401, also for a path or a method that does not exist; the OpenAPI document
and its page are public. Errors are problems (RFC 9457) with details for operators, such as the hosts of stores.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from litestar import Request, Response, Router
from litestar.enums import ScopeType
from litestar.exceptions import MethodNotAllowedException, NotFoundException
from litestar.types import ASGIApp, ExceptionHandlersMap, Message, Receive, Scope, Send
from litestar.utils import normalize_path

from tickwire.server.admin.audit_trail import AuditTrail
from tickwire.server.admin.controllers.audit import AuditController
from tickwire.server.admin.controllers.operators import OperatorController
from tickwire.server.admin.controllers.players import PlayerController
from tickwire.server.admin.controllers.policy import BanController, TuningController
from tickwire.server.admin.controllers.rooms import RecordingController, RoomController, RoomErrorController
from tickwire.server.admin.controllers.sessions import QueueController, SessionController
from tickwire.server.admin.controllers.shards import ShardController
from tickwire.server.admin.operators import Operators
from tickwire.server.admin.player_views import PlayerOperations
from tickwire.server.admin.problems import handle_operator_error
from tickwire.server.admin.roles import check_authenticated, check_role
from tickwire.server.admin.views import AdminOperations
from tickwire.server.errors import TickwireError
from tickwire.server.http.application import HttpRoutes
from tickwire.server.http.openapi import BEARER, DOCUMENT_PATH, PAGE_PATH, STYLE_PATH
from tickwire.server.http.problems import handle_error
from tickwire.server.http.query import refuse_unknown_query
from tickwire.server.storage import AuditStore

PREFIX = "/v1"
_PUBLIC = (DOCUMENT_PATH, PAGE_PATH, STYLE_PATH)
CONTROLLERS = (
    ShardController,
    RoomController,
    RoomErrorController,
    RecordingController,
    SessionController,
    QueueController,
    BanController,
    TuningController,
    AuditController,
    PlayerController,
    OperatorController,
)


class AdminApi:
    """The API of one shard.

    Args:
        operations: runs the requests.
        operators: authenticates them.
        players: runs the requests on players; None to refuse them all.
        audit: records them; None to write the log only.
        now_s: the clock of the audit trail: UTC, seconds since 1970.

    Attributes:
        results: requests by result: ok, refused (no operator, or the role does not suffice), failed.
    """

    def __init__(
        self,
        operations: AdminOperations,
        operators: Operators,
        players: PlayerOperations | None = None,
        audit: AuditStore | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self.results: Counter[str] = Counter()
        self._operations = operations
        self._operators = operators
        self._players = players
        self._audit = audit
        self._now_s = now_s

    @property
    def routes(self) -> HttpRoutes:
        """The routes of the API, for an application with EXCEPTION_HANDLERS."""
        router = Router(
            PREFIX,
            route_handlers=CONTROLLERS,
            guards=[check_role, refuse_unknown_query],
            middleware=[AuditTrail(self._audit, self._now_s)],
            exception_handlers={Exception: handle_operator_error},
            security=[{BEARER: []}],
        )
        services = {"admin": self._operations, "players": self._players, "audit": self._audit}
        return HttpRoutes(handlers=[router], dependencies=services)

    def authenticated(self, app: ASGIApp) -> ASGIApp:
        """Return the application with authentication in front of it.

        The operator, or the reason why there is none, is in the scope of each request below PREFIX. Guards and
        handlers of exceptions raise the reason, so that no path is open because it was forgotten here.
        """

        async def authenticate(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != ScopeType.HTTP or not _is_api(scope):
                await app(scope, receive, send)
                return

            async def send_counted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    self.results[_result_from_status(message["status"])] += 1
                await send(message)

            authorization = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
            try:
                scope["user"] = await self._operators.authenticate(authorization)
            except TickwireError as error:
                scope["auth"] = error
            await app(scope, receive, send_counted)

        return authenticate


def _is_api(scope: Scope) -> bool:
    path = normalize_path(scope["path"])
    return (path == PREFIX or path.startswith(f"{PREFIX}/")) and path not in _PUBLIC


def _result_from_status(status: int) -> str:
    return "ok" if status < 400 else "refused" if status in (401, 403) else "failed"


def _handle_unknown(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer a request for an unknown path or method; below PREFIX only operators learn that it is unknown."""
    if not _is_api(request.scope):
        return handle_error(request, error)
    try:
        check_authenticated(request)
    except TickwireError as refusal:
        return handle_operator_error(request, refusal)
    if isinstance(error, MethodNotAllowedException):
        allowed = (error.headers or {}).get("allow", "")
        error = MethodNotAllowedException(detail=f"method not allowed; use {allowed}", headers=error.headers)
    else:
        error = NotFoundException(detail=f"unknown endpoint; see {DOCUMENT_PATH}")
    return handle_operator_error(request, error)


EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    NotFoundException: _handle_unknown,
    MethodNotAllowedException: _handle_unknown,
}
"""Of the application that has the routes: those of its router do not see the requests that no route matches."""
