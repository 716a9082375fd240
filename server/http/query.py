"""Refuses query parameters that a handler does not declare, so that a misspelled one does not pass silently."""

from __future__ import annotations

from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from tickwire.server.errors import Malformed


def refuse_unknown_query(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Check the names of the query parameters: a guard of Litestar.

    Raises:
        Malformed: the handler does not declare a parameter.
    """
    unknown = connection.query_params.keys() - handler.parsed_fn_signature.parameters.keys()
    if unknown:
        names = ", ".join(sorted(name[:100] for name in unknown)[:10])
        raise Malformed(f"unknown query parameters: {names}")
