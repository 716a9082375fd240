"""Authenticates requests by the access token in `Authorization: Bearer`.

A handler opts in with `opt=AUTHENTICATED`. The middleware verifies the token before the handler and the middleware
inside of it run, so that those know the caller. All other handlers never see the header.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from litestar import Request
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from tickwire.server.errors import Unauthorized
from tickwire.services.accounts.ports import AccessTokenVerifier, TokenHolder

OPTION = "authenticated"
AUTHENTICATED: dict[str, Any] = {OPTION: True}
"""The `opt` of a handler that needs an access token."""
_STATE = "tickwire_token_holder"


class BearerMiddleware(ASGIMiddleware):
    """Verifies access tokens.

    Args:
        verifier: verifies a token.

    Attributes:
        results: the number of requests with the option, by result: accepted, missing, refused.
    """

    scopes = (ScopeType.HTTP,)

    def __init__(self, verifier: AccessTokenVerifier) -> None:
        self._verifier = verifier
        self.results: Counter[str] = Counter()

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Verify the token of a request whose handler needs one."""
        if needs_caller(scope):
            scope["state"][_STATE] = await self._verify(scope)
        await next_app(scope, receive, send)

    async def _verify(self, scope: Scope) -> TokenHolder:
        token = find_bearer(scope)
        if not token:
            self.results["missing"] += 1
            raise Unauthorized("the request needs an access token: Authorization: Bearer TOKEN")
        try:
            holder = await self._verifier.verify(token)
        except Unauthorized:
            self.results["refused"] += 1
            raise
        self.results["accepted"] += 1
        return holder


def find_bearer(scope: Scope) -> str:
    """Return the bearer token of a request; "" if it has none, or more than one header."""
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(values) != 1:
        return ""
    scheme, _, token = values[0].decode("latin-1").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def needs_caller(scope: Scope) -> bool:
    """Return whether the handler of a request needs an access token."""
    return bool(scope["route_handler"].opt.get(OPTION))


def find_caller(scope: Scope) -> str:
    """Return the player of a request; "" if its handler needs no access token."""
    holder = scope["state"].get(_STATE)
    return holder.player_id if isinstance(holder, TokenHolder) else ""


async def provide_caller(request: Request[Any, Any, Any]) -> TokenHolder:
    """Provide the parameter `caller` of handlers with the option.

    Raises:
        Unauthorized: the handler lacks the option.
    """
    holder = request.scope["state"].get(_STATE)
    if not isinstance(holder, TokenHolder):
        raise Unauthorized("the request needs an access token: Authorization: Bearer TOKEN")
    return holder
