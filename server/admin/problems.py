"""The problems of the admin API: those of server/http/problems.py, with details that only operators may see."""

from __future__ import annotations

from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException

from tickwire.server.errors import TickwireError, VersionConflict
from tickwire.server.http.problems import ProblemDetails, problem_from_error, problem_response

log = structlog.get_logger(__name__)


def handle_operator_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer an exception of a handler or of the framework; log it if the shard is at fault."""
    problem = _problem_for_operators(error)
    if problem.status == 500:
        log.error("admin_request_failed", endpoint=endpoint_from_request(request), exc_info=error)
    return problem_response(problem, error.headers if isinstance(error, HTTPException) else None)


def _problem_for_operators(error: Exception) -> ProblemDetails:
    problem = problem_from_error(error)
    match error:
        case VersionConflict():
            return ProblemDetails("Conflict", 409, "CONFLICT", error.detail, request_id=problem.request_id)
        case TickwireError():
            return msgspec.structs.replace(problem, detail=error.detail)
    if problem.status == 500:
        return msgspec.structs.replace(problem, detail="the request failed; the shard's log has the reason")
    if problem.errors:
        fields = "; ".join(f"{one.field}: {one.message}" for one in problem.errors)
        return msgspec.structs.replace(problem, detail=f"{problem.detail}: {fields}")
    return problem


def status_from_error(error: Exception) -> int:
    """Return the status with which an exception is answered."""
    return _problem_for_operators(error).status


def endpoint_from_request(request: Request[Any, Any, Any]) -> str:
    """Return the method and the path of the endpoint of a request, with the names of its parameters."""
    return f"{request.method} {request.scope.get('path_template', '').removeprefix('/v1')}"
