"""The operation that describes the server: its version, its clock, and where players connect."""

from __future__ import annotations

import datetime

import msgspec
from litestar import get

from tickwire.server import __version__
from tickwire.server.http.application import HttpRoutes


class ServerInfo(msgspec.Struct, frozen=True):
    """The server that answers.

    Args:
        version: the version of the build.
        player_url: the URL under which clients connect to the shards; empty if the settings name none.
        time: the server's clock, UTC.
    """

    version: str
    player_url: str
    time: datetime.datetime


def server_info_routes(player_url: str) -> HttpRoutes:
    """Return the operation."""

    @get("/v1/server", summary="Describe the server", tags=["server"])
    async def get_server() -> ServerInfo:
        """Return the version, the clock, and the URL under which clients connect to the shards."""
        return ServerInfo(__version__, player_url, datetime.datetime.now(datetime.UTC))

    return HttpRoutes(handlers=[get_server])
