"""The operator of a request, so that a console can hide actions that the operator may not do."""

from __future__ import annotations

from typing import Any

from litestar import Controller, Request, get

from tickwire.server.admin.roles import Operator


class OperatorController(Controller):
    """Describes operators."""

    tags = ("operators",)

    @get("/operator", summary="Return the name and the role of the operator that sends the request", role="read")
    async def get_operator(self, request: Request[Operator, Any, Any]) -> Operator:
        """Return the operator of the request."""
        return request.user
