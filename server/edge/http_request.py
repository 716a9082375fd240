"""Parses a WebSocket's HTTP request, and reads single headers and its token. Pure."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

from websockets.datastructures import Headers
from websockets.http11 import Request

_BYTES_MAX = 4096
_HEADERS_MAX = 64
_USUAL = re.compile(
    rb"GET ([!-~]+) HTTP/1\.1\r\n"
    rb"((?:[-!#$%&'*+.^_`|~0-9a-zA-Z]+:[\t -~]*\r\n)+)\r\n"  # RFC 9112, section 5, without obs-text and obs-fold
)
_BODY_HEADERS = ("Content-Length", "Transfer-Encoding")


def parse_request(data: bytes) -> Request | None:
    """Parse a request of the usual form, which takes the WebSocket library four times as long.

    Returns:
        The request as the library parses it; None for any other form, which is left to the library.
    """
    usual = _USUAL.fullmatch(data) if len(data) <= _BYTES_MAX else None
    if usual is None:
        return None
    lines = usual[2].decode("ascii").split("\r\n")[:-1]
    if len(lines) > _HEADERS_MAX:
        return None
    pairs = [line.partition(":") for line in lines]
    headers = Headers([(name, value.strip(" \t")) for name, _, value in pairs])
    if any(name in headers for name in _BODY_HEADERS):
        return None
    return Request(usual[1].decode("ascii"), headers)


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
