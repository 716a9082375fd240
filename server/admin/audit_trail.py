"""Records the requests of operators that can change something: in the log, and in the collection `audit`.

A request runs only once its body has arrived. Both records are written before the response is sent, also for refused,
failed and cancelled requests of a known operator: no change is without a record. If MongoDB
does not answer, the request is answered all the same, because operators must be able to act during an outage: the log
line remains, and `audit_write_failed` says that the collection lacks the entry.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable

import structlog
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from tickwire.server.admin.problems import endpoint_from_request, status_from_error
from tickwire.server.admin.roles import Operator
from tickwire.server.errors import NotSavable, Unavailable
from tickwire.server.http.requests import BoundedRequest
from tickwire.server.storage import AuditEntry, AuditStore

log = structlog.get_logger(__name__)

RECORDED_BYTES_MAX = 2000
"""The most bytes of a request body in an entry."""
NOTE_CHARACTERS_MAX = 64
STATUS_CANCELLED = 503
"""The status in the records of a request that was cancelled."""
_READS = ("GET", "HEAD", "OPTIONS")
_LOGGED_AS = {"shard_id": "target_shard_id"}
"""Parameters of paths that have another name in a log line, where `shard_id` is the shard that writes it."""


class AuditTrail(ASGIMiddleware):
    """Records each request that is not a read.

    Args:
        store: the collection; None to write the log only.
        now_s: the clock: UTC, seconds since 1970.
    """

    scopes = (ScopeType.HTTP,)

    def __init__(self, store: AuditStore | None, now_s: Callable[[], float]) -> None:
        self._store = store
        self._now_s = now_s

    def __deepcopy__(self, memo: object) -> AuditTrail:
        """Return this object: Litestar copies the middleware of its routers, and a store has connections."""
        return self

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """See `ASGIMiddleware.handle`."""
        request = BoundedRequest(scope, receive)
        if request.method in _READS or not isinstance(scope.get("user"), Operator):
            await next_app(scope, receive, send)
            return

        body = b""
        is_recorded = False

        async def record(status: int) -> None:
            nonlocal is_recorded
            if not is_recorded:
                is_recorded = True
                await self._record(request, body, status)

        async def send_recorded(message: Message) -> None:
            if message["type"] == "http.response.start":
                await record(message["status"])
            await send(message)

        try:
            body = await request.body()
            await next_app(scope, receive, send_recorded)
        except asyncio.CancelledError:  # it takes too long, or the shard stops; it may have changed something
            await record(STATUS_CANCELLED)
            raise
        except Exception as error:
            await record(status_from_error(error))
            raise

    async def _record(self, request: BoundedRequest, body: bytes, status: int) -> None:
        entry = AuditEntry(
            at=datetime.datetime.fromtimestamp(self._now_s(), datetime.UTC),
            operator=request.user.name,
            role=request.user.role,
            action=endpoint_from_request(request),
            target={name: str(value) for name, value in request.path_params.items()},
            request=body[:RECORDED_BYTES_MAX].decode(errors="replace"),
            note=request.headers.get("X-Operator", "")[:NOTE_CHARACTERS_MAX],
            result=status,
        )
        log.info(
            "admin_request_completed" if status < 400 else "admin_request_refused",
            endpoint=entry.action,
            operator=entry.operator,
            role=entry.role,
            note=entry.note,
            request=entry.request,
            result=status,
            **{_LOGGED_AS.get(name, name): value for name, value in entry.target.items()},
        )
        if self._store is None:
            return
        try:
            await self._store.add(entry)
        except (Unavailable, NotSavable) as error:
            log.warning("audit_write_failed", endpoint=entry.action, operator=entry.operator, error=error.detail)
