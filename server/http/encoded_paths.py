"""Lets parameters of paths contain any character, also a slash: `/v1/bans/google%2F42` names the player google/42.

ASGI's `path` is decoded, so `%2F` could not be distinguished from a slash that separates two parts. Routes are found
by the path as it was sent; the values of its parameters are decoded after that.
"""

from __future__ import annotations

from urllib.parse import unquote

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send


def route_by_encoded_path(app: ASGIApp) -> ASGIApp:
    """Return the application; it finds routes by the path as the client has sent it."""

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and (raw := scope.get("raw_path")):
            scope["path"] = raw.decode("ascii", errors="replace")
        await app(scope, receive, send)

    return route


class DecodedPathParameters(ASGIMiddleware):
    """Decodes the parameters of the path of a request."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """See `ASGIMiddleware.handle`."""
        # The router caches the dictionary, so it is replaced, not changed.
        scope["path_params"] = {
            name: unquote(value) if isinstance(value, str) else value for name, value in scope["path_params"].items()
        }
        await next_app(scope, receive, send)
