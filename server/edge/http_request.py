"""What the edge reads of a WebSocket's HTTP request: single headers, and a token. Pure."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from websockets.datastructures import MultipleValuesError
from websockets.http11 import Request


def header(request: Request, name: str) -> str | None:
    """A header that may stand there once; None when it is absent, and empty when it stands there twice."""
    try:
        return request.headers.get(name)
    except MultipleValuesError:
        return ""


def token_of(request: Request, *, in_query: bool) -> str:
    """The token that came with a request; empty when there is none.

    Args:
        in_query: whether `?token=` is looked at; what stands in a URL ends up in logs, so only when asked for.
    """
    scheme, _, token = (header(request, "Authorization") or "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    if in_query:
        return parse_qs(urlsplit(request.path).query).get("token", [""])[0]
    return ""
