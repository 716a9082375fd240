"""Describes the admin API as an OpenAPI 3.1 document. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from tickwire.server import __version__
from tickwire.server.admin.endpoints import ENDPOINTS, LIMIT_MAX, PREFIX

_NO_BRACES = str.maketrans("", "", "{}")


def create_openapi() -> dict[str, Any]:
    """Return the API's description as an OpenAPI 3.1 document."""
    types = [endpoint.response for endpoint in ENDPOINTS]
    types += [endpoint.body for endpoint in ENDPOINTS if endpoint.body is not None]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    responses, bodies = schemas[: len(ENDPOINTS)], iter(schemas[len(ENDPOINTS) :])
    paths: dict[str, Any] = {}
    for endpoint, response in zip(ENDPOINTS, responses, strict=True):
        description = {
            "summary": endpoint.summary,
            "operationId": f"{endpoint.method.lower()}{endpoint.path.replace('/', '_').translate(_NO_BRACES)}",
            "parameters": [
                *(_parameter(name, "path") for name in _path_parameters(endpoint.path)),
                *(_parameter(name, "query") for name in endpoint.query),
            ],
            "responses": {
                "200": {"description": "success", "content": _content(endpoint.response, response)},
                "default": {"$ref": "#/components/responses/Error"},
            },
        }
        if endpoint.body is not None:
            is_required = any(field.required for field in msgspec.structs.fields(endpoint.body))
            content = {"application/json": {"schema": next(bodies)}}
            description["requestBody"] = {"required": is_required, "content": content}
        paths.setdefault(PREFIX + endpoint.path, {})[endpoint.method.lower()] = description
    error = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tickwire admin API", "version": __version__},
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {
                "Error": {"description": "the reason", "content": {"application/json": {"schema": error}}},
            },
        },
    }


def _content(kind: Any, schema: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a response: JSON, or a file."""
    return {"application/octet-stream": {}} if kind is bytes else {"application/json": {"schema": schema}}


def _path_parameters(path: str) -> list[str]:
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]


def _parameter(name: str, location: str) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX} if name == "limit" else {"type": "string"}
    return {"name": name, "in": location, "required": location == "path", "schema": schema}
