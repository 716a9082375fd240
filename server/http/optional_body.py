"""Describes request bodies that may be missing."""

from __future__ import annotations

from dataclasses import dataclass

from litestar.openapi.spec import Operation, RequestBody


@dataclass
class OptionalBody(Operation):
    """An operation whose request body may be missing: `operation_class` of a handler with a default for it.

    Litestar describes every body as required.
    """

    def __post_init__(self) -> None:
        """Describe the body as optional."""
        if isinstance(self.request_body, RequestBody):
            self.request_body.required = False
