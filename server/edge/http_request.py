"""Reads single headers and the token of a WebSocket's HTTP request. Pure."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from websockets.http11 import Request


def header(request: Request, name: str) -> str | None:
    """Return a header that may occur once: None if it is absent, and an empty string if it occurs twice."""
    values = request.headers.get_all(name)  # the library's `get` raises and catches an exception for an absent header
    if not values:
        return None
    return values[0] if len(values) == 1 else ""


def token_from_request(request: Request, *, in_query: bool) -> str:
    """Return the bearer token of a request; empty if there is no token.

    Args:
        request: the request of the handshake.
        in_query: whether to read `?token=` as well. Off by default, because URLs end up in logs.
    """
    scheme, _, token = (header(request, "Authorization") or "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    if in_query:
        return parse_qs(urlsplit(request.path).query).get("token", [""])[0]
    return ""
