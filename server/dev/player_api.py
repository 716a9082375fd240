"""Runs the role `api` in the process of `tickwire dev`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from tickwire.server.api.role import ApiRole
from tickwire.server.config import Settings


@asynccontextmanager
async def running_api(settings: Settings, player_url: str, on_failed: Callable[[], None]) -> AsyncIterator[ApiRole]:
    """Run the player API.

    Args:
        settings: the settings for local use.
        player_url: where players connect, unless `api.player_url` is set.
        on_failed: called when the API cannot continue.

    Raises:
        ConfigError: a setting cannot be used, or a port is in use.
    """
    api = msgspec.structs.replace(settings.api, player_url=settings.api.player_url or player_url)
    role = ApiRole(msgspec.structs.replace(settings, api=api), on_failed=on_failed)
    await role.start()
    try:
        yield role
    finally:
        await role.stop()
    if role.refusal is not None:
        raise role.refusal
