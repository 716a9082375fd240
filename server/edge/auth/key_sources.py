"""The sources of the keys of an external issuer that the settings name: a file or a URL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import jwt

from tickwire.server.edge.auth.settings import AuthSettings
from tickwire.server.errors import ConfigError
from tickwire.server.tokens.fetch import fetch
from tickwire.server.tokens.jwks import JwksCache, Read, parse_jwks


def create_jwks_cache(settings: AuthSettings, now_s: Callable[[], float]) -> JwksCache | None:
    """Create the cache of the source that the settings name; return None if they name no source."""
    read: Read
    if settings.jwks_file:
        read = _file_reader(Path(settings.jwks_file), settings.jwks_deadline_s)
    elif settings.jwks_url:
        read = _url_reader(settings.jwks_url, settings.jwks_deadline_s)
    else:
        return None
    return JwksCache(read, refresh_s=settings.jwks_refresh_s, now_s=now_s)


def check_file(settings: AuthSettings) -> None:
    """Read the file of keys once, as a start-up check.

    Raises:
        ConfigError: the file cannot be read, is not a JWKS, or has no keys.
    """
    if not settings.jwks_file:
        return
    try:
        keys = parse_jwks(Path(settings.jwks_file).read_bytes())
    except OSError as error:
        raise ConfigError(f"auth.jwks_file: {settings.jwks_file} cannot be read: {error.strerror}") from error
    except (ValueError, jwt.PyJWTError) as error:
        raise ConfigError(f"auth.jwks_file: {settings.jwks_file} must be a JWKS (RFC 7517): {error}") from error
    if not keys:
        raise ConfigError(f"auth.jwks_file: {settings.jwks_file} must hold at least one key for signatures")


def _file_reader(path: Path, deadline_s: float) -> Read:
    async def read() -> bytes:
        async with asyncio.timeout(deadline_s):
            return await asyncio.to_thread(path.read_bytes)

    return read


def _url_reader(url: str, deadline_s: float) -> Read:
    async def read() -> bytes:
        return await fetch(url, deadline_s)

    return read
