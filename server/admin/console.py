"""Serves the files of the console, which call the admin API with the operator's token."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from litestar import Request, Response
from litestar.datastructures import CacheControlHeader
from litestar.exceptions import HTTPException, NotFoundException
from litestar.response import Redirect
from litestar.static_files import create_static_files_router
from litestar.types import ControllerRouterHandler

from tickwire.server.errors import ConfigError
from tickwire.server.http.problems import problem_from_error, problem_response

INDEX = "index.html"
PATH = "/console"


def check_console(folder: str) -> None:
    """Check that a folder has the console's files; an empty path means that no console is served.

    Raises:
        ConfigError: the folder has no index.html.
    """
    if folder and not (Path(folder) / INDEX).is_file():
        raise ConfigError(f"operations.console: must be a directory with an index.html; got {folder}")


def create_console(folder: str) -> Sequence[ControllerRouterHandler]:
    """Return the handlers of the files in a folder."""
    return (
        create_static_files_router(
            PATH,
            [folder],
            html_mode=True,
            cache_control=CacheControlHeader(no_cache=True),
            before_request=_to_folder,
            exception_handlers={Exception: _handle_missing, NotFoundException: _handle_missing},
        ),
    )


def _to_folder(request: Request[Any, Any, Any]) -> Redirect | None:
    """Redirect from /console to /console/, below which the addresses of the page's files lead."""
    if request.scope["raw_path"] != PATH.encode():
        return None
    return Redirect(f"{PATH}/", headers={"Cache-Control": "no-cache"})


def _handle_missing(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer a request for a file that does not exist or has an impossible name, without paths of this machine."""
    if not isinstance(error, HTTPException) or isinstance(error, NotFoundException):
        error = NotFoundException(detail="the console has no such file")
    return problem_response(problem_from_error(error), {"Cache-Control": "no-cache"})
