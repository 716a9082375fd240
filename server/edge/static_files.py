"""Serves a folder of files over HTTP at the players' address, for the demo in development.

All files are read once and held in memory. There are no listings, ranges or compression, so it is not for production.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from tickwire.server.errors import ConfigError
from tickwire.server.http.security_headers import security_headers

INDEX = "index.html"
BYTES_MAX = 16 * 1024 * 1024
_HEADERS = security_headers(connect="'self' ws: wss: http: https:")
"""The headers of all files. Scripts may connect to any host, because a client may be redirected to any shard."""


class StaticFile(NamedTuple):
    """A file with its content type."""

    content_type: str
    body: bytes

    def response(self) -> Response:
        """Return the HTTP response."""
        headers = Headers(
            [
                ("Content-Type", self.content_type),
                ("Content-Length", str(len(self.body))),
                ("Cache-Control", "no-cache"),
                ("Connection", "close"),
                *_HEADERS.items(),
            ]
        )
        return Response(200, "OK", headers, self.body)


def load(folder: str) -> dict[str, StaticFile]:
    """Return the files of a folder by their URL path; no files for an empty name.

    Raises:
        ConfigError: the folder does not exist, cannot be read, or is too large.
    """
    if not folder:
        return {}
    root = Path(folder)
    if not root.is_dir():
        raise ConfigError(f"listen.pages: must be a directory that exists; got {folder}")
    try:
        return _load(root)
    except OSError as error:
        raise ConfigError(f"listen.pages: {error.filename} cannot be read: {error.strerror}") from error


def _load(root: Path) -> dict[str, StaticFile]:
    pages: dict[str, StaticFile] = {}
    total = 0
    for path in sorted(root.rglob("*")):
        if not path.is_file():
            continue
        body = path.read_bytes()
        total += len(body)
        if total > BYTES_MAX:
            raise ConfigError(f"listen.pages: {root} must hold at most {BYTES_MAX} bytes")
        name = "/" + path.relative_to(root).as_posix()
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        page = StaticFile(f"{kind}; charset=utf-8" if kind.startswith("text/") else kind, body)
        pages[name] = page
        if path.name == INDEX:
            pages[name.removesuffix(INDEX)] = page
    return pages


def find(pages: Mapping[str, StaticFile], request: Request) -> StaticFile | None:
    """Return the file that a request names; None for a WebSocket request, or if there is no such file."""
    if not pages or "Upgrade" in request.headers:
        return None
    return pages.get(request.path.partition("?")[0])
