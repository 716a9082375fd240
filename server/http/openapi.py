"""The OpenAPI 3.1 document of an application, and the page that shows it.

Litestar derives the document from the handlers; this module adds what all operations share, the error, and what the
docstrings of our structs say of their fields. The page has no script and loads nothing from other sites, so it works
under the strict policy of all our responses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import msgspec
from litestar import Litestar, MediaType, Request, get
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.routes import HTTPRoute
from litestar.types import ControllerRouterHandler

from tickwire.server import __version__
from tickwire.server.codegen.docstrings import arguments_of, first_paragraph
from tickwire.server.http.openapi_page import STYLE, render_page
from tickwire.server.http.problems import MEDIA_TYPE, ProblemDetails

DOCUMENT_PATH = "/v1/openapi.json"
PAGE_PATH = "/v1/openapi.html"
STYLE_PATH = "/v1/openapi.css"
BEARER = "bearer"
"""The name of the security scheme: `security=[{BEARER: []}]` declares that an operation requires a token."""
_SHARED = ("ProblemDetails", "FieldProblem")
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


def complete_document(document: dict[str, Any], types: Sequence[Any] = ()) -> dict[str, Any]:
    """Return a document with descriptions, and with the problem as the response of every operation that fails.

    Args:
        document: the document as Litestar creates it.
        types: the types of the bodies and responses.
    """
    _, known = msgspec.json.schema_components([*types, ProblemDetails], ref_template=_REF)
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name, schema in known.items():
        if name in schemas or name in _SHARED:
            _describe(schemas.setdefault(name, schema), schema)
    _translate_patterns(document)
    content = {MEDIA_TYPE: {"schema": {"$ref": _REF.format(name="ProblemDetails")}}}
    components["responses"] = {"Error": {"description": "the reason, as RFC 9457 describes it", "content": content}}
    for item in document.get("paths", {}).values():
        for operation in item.values():
            if isinstance(operation, dict) and "responses" in operation:
                operation["responses"].pop("400", None)  # Litestar's own form of an error
                operation["responses"]["default"] = _ERROR
    return document


def types_of(app: Litestar) -> list[Any]:
    """Return the structs that are bodies and responses of the operations."""
    fields = [
        field
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        if handler.include_in_schema
        for field in (handler.parsed_data_field, handler.parsed_return_field)
        if field is not None
    ]
    return [field.annotation for field in fields if _has_struct(field.annotation)]


def _has_struct(annotation: Any) -> bool:
    kinds = (annotation, *get_args(annotation))
    return any(isinstance(kind, type) and issubclass(kind, msgspec.Struct) for kind in kinds)


def _describe(target: dict[str, Any], known: dict[str, Any]) -> None:
    """Add what msgspec knows of a struct to Litestar's schema of it."""
    doc = known.get("description", "")
    if doc:
        target["description"] = first_paragraph(doc)
    if known.get("additionalProperties") is False:
        target["additionalProperties"] = False
    for name, text in arguments_of(doc).items():
        if name in target.get("properties", ()):
            target["properties"][name].setdefault("description", text)


def _translate_patterns(node: Any) -> None:
    r"""Replace Python's \A and \Z, which JSON Schema does not know, in all patterns."""
    if isinstance(node, dict):
        pattern = node.get("pattern")
        if isinstance(pattern, str):
            node["pattern"] = pattern.removeprefix("(?s)").replace(r"\A", "^").replace(r"\Z", "$")
        for inner in node.values():
            _translate_patterns(inner)
    elif isinstance(node, list):
        for inner in node:
            _translate_patterns(inner)


def create_document_handlers() -> list[ControllerRouterHandler]:
    """Return the handlers of the document and its page; each application needs handlers of its own."""
    cache: dict[str, bytes] = {}

    def render(app: Litestar) -> dict[str, bytes]:
        if not cache:
            document = complete_document(app.openapi_schema.to_schema(), types_of(app))
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
