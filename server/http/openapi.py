"""The OpenAPI 3.1 document of an application, and the page that shows it.

Litestar derives the document from the handlers; this module adds what all operations share: the error. The page has
no script and loads nothing from other sites, so it works under the strict policy of all our responses.
"""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Litestar, MediaType, Request, get
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ControllerRouterHandler

from tickwire.server import __version__
from tickwire.server.http.openapi_page import STYLE, render_page
from tickwire.server.http.problems import MEDIA_TYPE, ProblemDetails

DOCUMENT_PATH = "/v1/openapi.json"
PAGE_PATH = "/v1/openapi.html"
STYLE_PATH = "/v1/openapi.css"
BEARER = "bearer"
"""The name of the security scheme: `security=[{BEARER: []}]` declares that an operation requires a token."""
_ERROR = {"$ref": "#/components/responses/Error"}
_REF = "#/components/schemas/{name}"


def create_openapi_config(title: str, bearer: str) -> OpenAPIConfig:
    """Return Litestar's settings of the document.

    Args:
        title: the title of the document.
        bearer: the description of the bearer token; empty without one.
    """
    schemes: dict[str, Any] = {}
    if bearer:
        schemes[BEARER] = SecurityScheme(type="http", scheme="bearer", description=bearer)
    return OpenAPIConfig(
        title=title,
        version=__version__,
        path="/v1/openapi",
        components=Components(security_schemes=schemes),
        operation_id_creator=lambda handler, method, path: handler.handler_name,
        render_plugins=[JsonRenderPlugin()],
        use_handler_docstrings=True,
    )


def complete_document(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document with the problem as the response of every operation that fails."""
    _, problems = msgspec.json.schema_components([ProblemDetails], ref_template=_REF)
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(problems)
    content = {MEDIA_TYPE: {"schema": {"$ref": _REF.format(name="ProblemDetails")}}}
    components["responses"] = {"Error": {"description": "the reason, as RFC 9457 describes it", "content": content}}
    for item in document.get("paths", {}).values():
        for operation in item.values():
            if isinstance(operation, dict) and "responses" in operation:
                operation["responses"].pop("400", None)  # Litestar's own form of an error
                operation["responses"]["default"] = _ERROR
    return document


def create_document_handlers() -> list[ControllerRouterHandler]:
    """Return the handlers of the document and its page; each application needs handlers of its own."""
    cache: dict[str, bytes] = {}

    def render(app: Litestar) -> dict[str, bytes]:
        if not cache:
            document = complete_document(app.openapi_schema.to_schema())
            cache[DOCUMENT_PATH] = msgspec.json.encode(document)
            cache[PAGE_PATH] = render_page(document, document_path=DOCUMENT_PATH, style_path=STYLE_PATH).encode()
        return cache

    @get(DOCUMENT_PATH, include_in_schema=False, media_type=MediaType.JSON)
    async def get_openapi_document(request: Request[Any, Any, Any]) -> bytes:
        return render(request.app)[DOCUMENT_PATH]

    @get(PAGE_PATH, include_in_schema=False, media_type=MediaType.HTML)
    async def get_openapi_page(request: Request[Any, Any, Any]) -> bytes:
        return render(request.app)[PAGE_PATH]

    @get(STYLE_PATH, include_in_schema=False, media_type=MediaType.CSS)
    async def get_openapi_style() -> bytes:
        return STYLE.encode()

    return [get_openapi_document, get_openapi_page, get_openapi_style]
