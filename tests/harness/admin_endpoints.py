"""The endpoints of the admin API, as its controllers declare them: for tests that go through all of them."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from tickwire.server.admin.api import CONTROLLERS
from tickwire.server.http.application import provide


class Endpoint(NamedTuple):
    """One endpoint; the path is below /v1, with the names of its parameters in braces. `body` is a type, or None."""

    method: str
    path: str
    role: str
    body: Any


def _list_endpoints() -> list[Endpoint]:
    found = []
    dependencies = {name: provide(None) for name in ("admin", "audit", "players")}
    app = Litestar(CONTROLLERS, dependencies=dependencies, openapi_config=None, logging_config=None)
    for route in app.routes:
        assert isinstance(route, HTTPRoute)
        for method, (handler, _) in route.route_handler_map.items():
            if method != "OPTIONS":
                found.append(_endpoint(method, route.path, handler))
    return sorted(found, key=lambda one: (one.path, one.method))


def _endpoint(method: str, path: str, handler: HTTPRouteHandler) -> Endpoint:
    body = handler.parsed_fn_signature.parameters.get("data")
    return Endpoint(method, re.sub(r":\w+}", "}", path), handler.opt["role"], body and body.annotation)


ENDPOINTS = _list_endpoints()
