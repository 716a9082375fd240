"""The errors of the player HTTP API."""

from __future__ import annotations

from typing import Any

from tickwire.client.errors import ClientError


class ApiError(ClientError):
    """The player HTTP API has refused a request (RFC 9457).

    Args:
        status: the HTTP status.
        code: decides how a program handles the error, such as "UNAUTHORIZED", "IDENTITY_TAKEN" or "RATE_LIMITED".
        detail: for a developer.
        retry_after_s: when a retry makes sense; 0 if that is unknown.
    """

    def __init__(self, status: int, code: str, detail: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after_s = retry_after_s

    @property
    def is_temporary(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status in (429, 502, 503, 504) or self.code == "REQUEST_IN_PROGRESS"


class ApiUnreachable(ApiError):
    """The player HTTP API does not answer; whether it has run the request is unknown."""

    def __init__(self, detail: str) -> None:
        super().__init__(503, "UNAVAILABLE", detail)


class NotLoggedIn(ClientError):
    """The player is not logged in, or the server has ended the login: log in again."""


def error_from_response(status: int, body: Any, retry_after: str) -> ApiError:
    """Return the error that a response describes.

    Args:
        status: the HTTP status.
        body: the decoded JSON; anything else than problem details is ignored.
        retry_after: the header Retry-After.
    """
    fields = body if isinstance(body, dict) else {}
    code, detail = fields.get("code"), fields.get("detail")
    seconds = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0
    after_ms = fields.get("retry_after_ms")
    if isinstance(after_ms, int | float) and after_ms > 0:
        seconds = after_ms / 1000
    return ApiError(
        status,
        code if isinstance(code, str) else "INTERNAL",
        detail if isinstance(detail, str) else "",
        retry_after_s=seconds,
    )
