"""Problem details: the body of every HTTP error (RFC 9457, `application/problem+json`).

    {"title": "Not Found", "status": 404, "code": "NOT_FOUND", "detail": "...", "request_id": "..."}

`code` has the codes of the protocol (server/errors.py) and a few of HTTP alone. Clients decide by `code`; `title` and
`detail` are for developers. No problem contains a secret or a detail that only operators may see.
"""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import Send

from tickwire.matchmaking import MatchmakingError
from tickwire.matchmaking.errors import MatchmakerUnavailable
from tickwire.server.errors import TickwireError
from tickwire.server.http.request_log import operation_name

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1
"""`Retry-After` of an error that can be retried and does not know when."""
_STATUS_BY_CODE = {
    "MALFORMED": 400,
    "INVALID_ARGUMENT": 400,
    "UNSUPPORTED": 400,
    "UNAUTHORIZED": 401,
    "BANNED": 403,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "NO_SUCH_ROOM_TYPE": 404,
    "NO_SUCH_ROOM": 404,
    "NO_SUCH_MODE": 404,
    "REQUEST_TIMEOUT": 408,
    "ALREADY_CONNECTED": 409,
    "CONFLICT": 409,
    "IDENTITY_TAKEN": 409,
    "OUT_OF_ORDER": 409,
    "ROOM_LOCKED": 409,
    "ROOM_FULL": 409,
    "STALE_EPOCH": 409,
    "REQUEST_IN_PROGRESS": 409,
    "ROOM_CLOSED": 410,
    "COMMAND_FAILED": 422,
    "ROOM_FAILED": 422,
    "KEY_REUSED": 422,
    "IDEMPOTENCY_KEY_REUSED": 422,
    "RATE_LIMITED": 429,
    "UNAVAILABLE": 503,
}
"""All other codes are failures of the server: 500."""
_CODE_BY_STATUS = {
    400: "MALFORMED",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    406: "NOT_ACCEPTABLE",
    408: "REQUEST_TIMEOUT",
    409: "CONFLICT",
    413: "TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    429: "RATE_LIMITED",
    503: "UNAVAILABLE",
}


class FieldProblem(msgspec.Struct, frozen=True):
    """One invalid field of a request.

    Args:
        field: the path of the field, such as `device_id`.
        message: for a developer.
        source: where the field is: body, query, path, header or cookie.
    """

    field: str
    message: str
    source: str = "body"


class ProblemDetails(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of an error.

    Args:
        title: the phrase of the status.
        status: the status of the response.
        code: decides what a client does.
        detail: the message for a developer.
        errors: the fields that are wrong.
        retry_after_ms: when a retry makes sense; absent if it does not, or if that is unknown.
        request_id: the id of the request in the server's log.
    """

    title: str
    status: int
    code: str
    detail: str = ""
    errors: tuple[FieldProblem, ...] = ()
    retry_after_ms: int = 0
    request_id: str = ""


def problem_from_error(error: Exception) -> ProblemDetails:
    """Return the problem for an exception of a handler or of the framework; unknown ones are INTERNAL."""
    match error:
        case TickwireError():
            status = _STATUS_BY_CODE.get(error.code, 500)
            code = error.code if status != 500 else "INTERNAL"
            retry_ms = error.retry_after_ms or (RETRY_AFTER_S * 1000 if error.retryable else 0)
            return _problem(status, code, str(error) if status != 500 else "", retry_after_ms=retry_ms)
        case MatchmakerUnavailable():
            return _problem(503, "UNAVAILABLE", str(error), retry_after_ms=error.retry_after_ms)
        case MatchmakingError() | TimeoutError():
            return _problem(503, "UNAVAILABLE", "a store does not answer", retry_after_ms=RETRY_AFTER_S * 1000)
        case ValidationException():
            return _problem(400, "INVALID_ARGUMENT", "the request is not valid", errors=_field_problems(error.extra))
        case HTTPException() if error.status_code < 500 or error.status_code == 503:
            code = _CODE_BY_STATUS.get(error.status_code, "MALFORMED")
            return _problem(error.status_code, code, error.detail)
        case _:
            return _problem(500, "INTERNAL", "")


def problem_response(problem: ProblemDetails, headers: dict[str, str] | None = None) -> Response[bytes]:
    """Return the response with a problem as its body."""
    sent = dict(headers or {})
    if problem.status == 401:
        sent.setdefault("WWW-Authenticate", "Bearer")
    if problem.retry_after_ms:
        sent["Retry-After"] = str(math.ceil(problem.retry_after_ms / 1000))
    return Response(msgspec.json.encode(problem), status_code=problem.status, media_type=MEDIA_TYPE, headers=sent)


async def send_problem(problem: ProblemDetails, send: Send, *, close: bool = False) -> None:
    """Send a problem as the response of an ASGI application, where there is no request of Litestar's."""
    body = msgspec.json.encode(problem)
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    if problem.retry_after_ms:
        headers.append((b"retry-after", str(math.ceil(problem.retry_after_ms / 1000)).encode()))
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def handle_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer an exception of a handler or of the framework; log it if the server is at fault."""
    problem = problem_from_error(error)
    if problem.status == 500:
        log.error("http_request_failed", operation=operation_name(request.scope), exc_info=error)
    elif problem.status == 503:
        detail = error.detail if isinstance(error, TickwireError | MatchmakingError) else str(error)
        log.warning("http_request_unavailable", operation=operation_name(request.scope), error=detail)
    headers = error.headers if isinstance(error, HTTPException) else None
    return problem_response(problem, headers)


def _problem(status: int, code: str, detail: str, **fields: Any) -> ProblemDetails:
    request_id = structlog.contextvars.get_contextvars().get("request_id", "")
    return ProblemDetails(HTTPStatus(status).phrase, status, code, detail, request_id=request_id, **fields)


def _field_problems(extra: Any) -> tuple[FieldProblem, ...]:
    """Return the problems that Litestar found in the parameters and the body."""
    found = []
    for item in extra if isinstance(extra, list) else ():
        if isinstance(item, dict):
            source = item.get("source", "body")
            found.append(
                FieldProblem(
                    str(item.get("key", "")), str(item.get("message", "")), str(getattr(source, "value", source))
                )
            )
    return tuple(found)
