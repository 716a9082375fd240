"""Renders an OpenAPI document as one HTML page without scripts. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

Json = Mapping[str, Any]
_METHODS = ("get", "post", "put", "patch", "delete")
_LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "matches {}",
    "format": "{}",
    "default": "default {}",
}
STYLE = """\
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; color: #1b1f24;
  background: #fff; }
h1, h2, h3 { line-height: 1.2; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #d0d7de; }
code { font-family: ui-monospace, monospace; font-size: 0.95em; overflow-wrap: anywhere; }
a { color: #0550ae; }
table { border-collapse: collapse; width: 100%; margin: 0.5rem 0 1rem; }
th, td { text-align: left; vertical-align: top; padding: 0.25rem 0.75rem 0.25rem 0;
  border-bottom: 1px solid #eaeef2; }
.method { display: inline-block; min-width: 4.5rem; font-weight: 700; }
@media (prefers-color-scheme: dark) {
  body { color: #e6edf3; background: #0d1117; }
  a { color: #79c0ff; }
  h2, th, td { border-color: #30363d; }
}
"""


def render_page(document: Json, *, document_path: str, style_path: str) -> str:
    """Return the page.

    Args:
        document: an OpenAPI 3.1 document.
        document_path: where the document is served.
        style_path: where STYLE is served.
    """
    title = escape(f"{document['info']['title']} {document['info']['version']}")
    operations = list(_operations(document))
    tags = dict.fromkeys(tag for _, _, operation in operations for tag in operation.get("tags", ["other"]))
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<link rel="stylesheet" href="{escape(style_path)}"></head><body><h1>{title}</h1>',
        f'<p>The same as an OpenAPI document: <a href="{escape(document_path)}">{escape(document_path)}</a>. ',
        'Every error is a <a href="#schema-ProblemDetails">problem</a> (RFC 9457).</p><ul>',
        *(f'<li><a href="#tag-{escape(tag)}">{escape(tag)}</a></li>' for tag in tags),
        '<li><a href="#schemas">schemas</a></li></ul>',
    ]
    for tag in tags:
        parts.append(f'<h2 id="tag-{escape(tag)}">{escape(tag)}</h2>')
        parts += [
            part
            for method, path, operation in operations
            if tag in operation.get("tags", ["other"])
            for part in _operation(method, path, operation)
        ]
    parts.append('<h2 id="schemas">schemas</h2>')
    for name, schema in document.get("components", {}).get("schemas", {}).items():
        parts += [f'<h3 id="schema-{escape(name)}"><code>{escape(name)}</code></h3>', *_schema(schema)]
    return "\n".join([*parts, "</body></html>\n"])


def _operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, item in document.get("paths", {}).items():
        for method in _METHODS:
            if method in item:
                yield method, path, item[method]


def _operation(method: str, path: str, operation: Json) -> Iterator[str]:
    yield f'<section id="{escape(operation.get("operationId", path))}">'
    yield f'<h3><span class="method">{method.upper()}</span> <code>{escape(path)}</code></h3>'
    for text in dict.fromkeys((operation.get("summary", ""), operation.get("description", ""))):
        if text:
            yield f"<p>{escape(text)}</p>"
    if operation.get("security"):
        names = ", ".join(name for scheme in operation["security"] for name in scheme)
        yield f"<p>Requires a token: {escape(names)}.</p>"
    parameters = operation.get("parameters", ())
    if parameters:
        yield from _table(
            (
                f"<code>{escape(one['name'])}</code>",
                escape(one["in"]) + ("" if one.get("required") else ", optional"),
                f"{_type(one.get('schema', {}))} {escape(one.get('description') or '')}",
            )
            for one in parameters
        )
    body = operation.get("requestBody")
    if body:
        yield f"<p>Body: {_content(body)}</p>"
    rows = [(f"<code>{escape(status)}</code>", _response(one)) for status, one in operation["responses"].items()]
    yield from _table(rows)
    yield "</section>"


def _response(response: Json) -> str:
    if "$ref" in response:
        return 'a <a href="#schema-ProblemDetails">problem</a>'
    return f"{escape(response.get('description', ''))} {_content(response)}"


def _content(holder: Json) -> str:
    return ", ".join(
        f"{_type(content.get('schema', {}))} <code>{escape(media_type)}</code>"
        for media_type, content in holder.get("content", {}).items()
    )


def _schema(schema: Json) -> Iterator[str]:
    if schema.get("description"):
        yield f"<p>{escape(schema['description'])}</p>"
    required = schema.get("required", ())
    if "properties" in schema:
        yield from _table(
            (
                f"<code>{escape(name)}</code>",
                "required" if name in required else "optional",
                f"{_type(one)} {escape(one.get('description', ''))}",
            )
            for name, one in schema["properties"].items()
        )
    else:
        yield f"<p>{_type(schema)}</p>"


def _type(schema: Json) -> str:
    """Return the type of a value with its bounds, as HTML."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#schema-{name}"><code>{name}</code></a>'
    for key in ("oneOf", "anyOf"):
        if key in schema:
            return " or ".join(_type(one) for one in schema[key])
    kind = schema.get("type", "any")
    text = escape(" or ".join(kind) if isinstance(kind, list) else str(kind))
    if "items" in schema and isinstance(schema["items"], Mapping):
        text += f" of {_type(schema['items'])}"
    if "enum" in schema:
        text += f": {escape(', '.join(map(str, schema['enum'])))}"
    limits = [escape(words.format(schema[name])) for name, words in _LIMITS.items() if name in schema]
    return f"{text} ({', '.join(limits)})" if limits else text


def _table(rows: Any) -> Iterator[str]:
    yield "<table>"
    for row in rows:
        yield "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>"
    yield "</table>"
