"""Runs the role `api` in the process of `tickwire dev`, with accounts whose logins outlast a restart."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from tickwire.server.api.role import ApiRole
from tickwire.server.config import Settings
from tickwire.server.errors import ConfigError

SECRET_FILE = "accounts.secret"  # noqa: S105 the name of a file


def read_account_secret(data_dir: Path) -> str:
    """Return the secret of the accounts in a data directory; it is made once, and only the user may read it.

    Raises:
        ConfigError: the file cannot be read or written.
    """
    path = data_dir / SECRET_FILE
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            new = path.with_name(f"{path.name}.{os.getpid()}")
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(48))
            new.replace(path)
        return path.read_text().strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error


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
